//! What every neighbour index promises, and the answers it fills.
//!
//! The nearest `k` points of a pool by squared Euclidean distance. All indexes return distances of the
//! same kernel and order equal distances by position, so two indexes that find the same points give the
//! same bytes. A call runs on the calling thread; an index is `Sync`, and the caller divides the queries.

use super::nearest::{Nearest, distance_of};
use crate::numerics::kmeans::KMeansError;

/// In `exclude`: this query excludes nothing.
pub const NOTHING: u32 = u32::MAX;

/// A pool of points that can be asked for the nearest of them.
pub trait NeighbourIndex: Send + Sync {
    /// Points in the pool.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn dims(&self) -> usize;

    /// Fills `out` with the `k` nearest points of each row of `queries` (row-major, `dims` columns).
    ///
    /// `exclude` has one pool position a query that must not be returned, its own when the query is a
    /// member of the pool, or [`NOTHING`]. A query gets fewer than `k` answers only when the pool has
    /// fewer others. A query's answer does not depend on the queries beside it.
    fn search(
        &self,
        queries: &[f32],
        k: usize,
        exclude: Option<&[u32]>,
        out: &mut Neighbours,
    ) -> Result<(), SearchError>;
}

/// An index that trades time for recall by one number: how far cells are probed, or the width of a graph search.
pub trait Tunable: NeighbourIndex {
    fn effort(&self) -> usize;

    /// Takes the nearest value between 1 and [`Tunable::most_effort`].
    fn set_effort(&mut self, effort: usize);

    fn most_effort(&self) -> usize;
}

/// Why an index cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("the pool is empty")]
    Empty,
    #[error("the points have no dimensions")]
    NoDimensions,
    #[error("{values} values do not fill points of {dims} dimensions")]
    Ragged { values: usize, dims: usize },
    #[error("the pool has {points} points, the largest index takes {most}")]
    TooMany { points: usize, most: usize },
    #[error("point {point}, dimension {dimension} is {value}, not a finite number")]
    NotFinite { point: usize, dimension: usize, value: f32 },
    #[error("`{option}` is {value}, it must be {expected}")]
    Option { option: &'static str, value: f64, expected: &'static str },
    #[error("the cells could not be trained")]
    Training(#[source] KMeansError),
    #[error("the sample of queries cannot be answered")]
    Sample(#[source] SearchError),
}

/// Why a search cannot be answered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SearchError {
    #[error("{values} values are not queries of {dims} dimensions")]
    Dimensions { values: usize, dims: usize },
    #[error("query {query}, dimension {dimension} is {value}, not a finite number")]
    NotFinite { query: usize, dimension: usize, value: f32 },
    #[error("0 neighbours were asked")]
    NoNeighbours,
    #[error("{given} exclusions for {queries} queries")]
    Exclusions { given: usize, queries: usize },
}

/// What every index checks before it takes points. Returns their number.
pub(super) fn check_points(points: &[f32], dims: usize) -> Result<usize, IndexError> {
    // Positions are u32, one value means nothing, and padding to blocks must fit too.
    const MOST: usize = u32::MAX as usize / 2;
    if dims == 0 {
        return Err(IndexError::NoDimensions);
    }
    if !points.len().is_multiple_of(dims) {
        return Err(IndexError::Ragged { values: points.len(), dims });
    }
    match points.len() / dims {
        0 => return Err(IndexError::Empty),
        points if points > MOST => return Err(IndexError::TooMany { points, most: MOST }),
        _ => {}
    }
    match points.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(IndexError::NotFinite { point: at / dims, dimension: at % dims, value: points[at] }),
        None => Ok(points.len() / dims),
    }
}

/// What every index checks before it answers. Returns the number of queries.
pub(super) fn check_queries(
    queries: &[f32],
    dims: usize,
    k: usize,
    exclude: Option<&[u32]>,
) -> Result<usize, SearchError> {
    if !queries.len().is_multiple_of(dims) {
        return Err(SearchError::Dimensions { values: queries.len(), dims });
    }
    if k == 0 {
        return Err(SearchError::NoNeighbours);
    }
    let count = queries.len() / dims;
    if let Some(given) = exclude.map(<[u32]>::len).filter(|&given| given != count) {
        return Err(SearchError::Exclusions { given, queries: count });
    }
    match queries.iter().position(|value| !value.is_finite()) {
        Some(at) => {
            Err(SearchError::NotFinite { query: at / dims, dimension: at % dims, value: queries[at] })
        }
        None => Ok(count),
    }
}

/// The answers of a search: `k` slots a query, nearest first, equal distances by position.
///
/// Memory: 8 bytes a slot and 4 a query; kept between calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neighbours {
    k: usize,
    counts: Vec<u32>,
    positions: Vec<u32>,
    distances: Vec<f32>,
}

impl Neighbours {
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of queries answered.
    pub fn queries(&self) -> usize {
        self.counts.len()
    }

    /// Slots a query.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Positions and squared distances of one query's neighbours, `k` of them at most.
    ///
    /// # Panics
    /// When there is no such query.
    pub fn of(&self, query: usize) -> (&[u32], &[f32]) {
        let slots = query * self.k..query * self.k + self.counts[query] as usize;
        (&self.positions[slots.clone()], &self.distances[slots])
    }

    /// Slots a query, answers by query, and the positions and squared distances in all slots.
    pub fn parts(&self) -> (usize, &[u32], &[u32], &[f32]) {
        (self.k, &self.counts, &self.positions, &self.distances)
    }

    /// Answers from what [`Self::parts`] gave.
    pub fn from_parts(k: usize, counts: Vec<u32>, positions: Vec<u32>, distances: Vec<f32>) -> Self {
        Self { k, counts, positions, distances }
    }

    /// Empties the answers for a search of `k` neighbours.
    pub(super) fn begin(&mut self, k: usize) {
        self.k = k;
        self.counts.clear();
        self.positions.clear();
        self.distances.clear();
    }

    /// Makes place for the answers of so many queries, which have none yet.
    pub(super) fn resize(&mut self, queries: usize) {
        self.counts.resize(queries, 0);
        self.positions.resize(queries * self.k, NOTHING);
        self.distances.resize(queries * self.k, f32::INFINITY);
    }

    /// Takes the sorted candidates of a query that has no answers yet.
    pub(super) fn put(&mut self, query: usize, sorted: &[u64]) {
        let slots = query * self.k..query * self.k + sorted.len();
        self.counts[query] = sorted.len() as u32;
        for ((position, distance), key) in
            self.positions[slots.clone()].iter_mut().zip(&mut self.distances[slots]).zip(sorted)
        {
            (*position, *distance) = (*key as u32, distance_of(*key));
        }
    }

    /// Adds the next queries' answers.
    pub(super) fn extend(&mut self, best: &mut Nearest) {
        let first = self.queries();
        self.resize(first + best.queries());
        for query in 0..best.queries() {
            self.put(first + query, best.sorted(query));
        }
    }

    /// Adds the answers to later queries of the same search.
    pub(super) fn append(&mut self, later: &Neighbours) {
        self.counts.extend_from_slice(&later.counts);
        self.positions.extend_from_slice(&later.positions);
        self.distances.extend_from_slice(&later.distances);
    }
}
