//! What every neighbour index promises, and the answers it fills.
//!
//! The nearest `k` points of a pool by squared Euclidean distance. All indexes return distances of the
//! same kernel and order equal distances by position, so two indexes that find the same points give the
//! same bytes. A call runs on the calling thread; an index is `Sync`, and the caller divides the queries.

use crate::numerics::blocks::LANES;
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

/// An index that trades time for recall by one number: cells probed, or the width of a graph search.
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

    /// Empties the answers for a search of `k` neighbours.
    pub(super) fn begin(&mut self, k: usize) {
        self.k = k;
        self.counts.clear();
        self.positions.clear();
        self.distances.clear();
    }

    /// Adds the next queries' answers.
    pub(super) fn extend(&mut self, best: &Nearest) {
        for query in 0..best.counts.len() {
            let keys = best.keys(query);
            let unused = best.k - keys.len();
            self.counts.push(keys.len() as u32);
            self.positions.extend(keys.iter().map(|&key| key as u32));
            self.positions.extend(std::iter::repeat_n(NOTHING, unused));
            self.distances.extend(keys.iter().map(|&key| distance_of(key)));
            self.distances.extend(std::iter::repeat_n(f32::INFINITY, unused));
        }
    }

    /// Adds the answers to later queries of the same search.
    pub(super) fn append(&mut self, later: &Neighbours) {
        self.counts.extend_from_slice(&later.counts);
        self.positions.extend_from_slice(&later.positions);
        self.distances.extend_from_slice(&later.distances);
    }
}

/// The nearest points found so far of each query of a batch.
///
/// A candidate is one integer, the bits of its distance above its position: squared distances are
/// never negative, so integers order by (distance, position). The list is kept sorted, because after
/// the first few blocks a candidate is rare, and moving 160 bytes costs less than a heap's branches.
pub(super) struct Nearest<'a> {
    k: usize,
    keys: Vec<u64>,
    counts: Vec<u32>,
    thresholds: Vec<f32>,
    exclude: Option<&'a [u32]>,
}

impl<'a> Nearest<'a> {
    pub fn new(queries: usize, k: usize, exclude: Option<&'a [u32]>) -> Self {
        let (keys, counts) = (vec![0; queries * k], vec![0; queries]);
        Self { k, keys, counts, thresholds: vec![f32::INFINITY; queries], exclude }
    }

    /// Candidates of one query, nearest first.
    pub fn keys(&self, query: usize) -> &[u64] {
        &self.keys[query * self.k..][..self.counts[query] as usize]
    }

    /// The distance above which nothing can be among the nearest: infinite until there are `k`.
    pub fn threshold(&self, query: usize) -> f32 {
        self.thresholds[query]
    }

    /// Whether the query has as many neighbours as a pool of `points` can give it.
    pub fn is_full(&self, query: usize, points: usize) -> bool {
        let excluded = self.exclude.is_some_and(|exclude| (exclude[query] as usize) < points);
        self.keys(query).len() >= self.k.min(points - usize::from(excluded))
    }

    /// Offers one point that the query has not been offered before.
    pub fn offer(&mut self, query: usize, position: u32, distance: f32) {
        if self.exclude.is_some_and(|exclude| exclude[query] == position) {
            return;
        }
        let key = u64::from(distance.to_bits()) << 32 | u64::from(position);
        let count = self.counts[query] as usize;
        let keys = &mut self.keys[query * self.k..][..self.k];
        let place = keys[..count].partition_point(|&other| other < key);
        if place == self.k {
            return;
        }
        let kept = count.min(self.k - 1);
        keys.copy_within(place..kept, place + 1);
        keys[place] = key;
        self.counts[query] = kept as u32 + 1;
        if kept + 1 == self.k {
            self.thresholds[query] = distance_of(keys[kept]);
        }
    }

    /// Offers the points of a block that are near enough, named by `position(lane)`, `None` for a lane
    /// without a point; returns the query's new threshold.
    pub fn offer_block(
        &mut self,
        query: usize,
        distances: &[f32; LANES],
        position: impl Fn(usize) -> Option<u32>,
    ) -> f32 {
        let threshold = self.threshold(query);
        let mut near = 0u32;
        for (lane, &distance) in distances.iter().enumerate() {
            near |= u32::from(distance <= threshold) << lane;
        }
        // Few lanes are near, so their bits are walked rather than all lanes asked.
        while near != 0 {
            let lane = near.trailing_zeros() as usize;
            near &= near - 1;
            if distances[lane] <= self.threshold(query)
                && let Some(position) = position(lane)
            {
                self.offer(query, position, distances[lane]);
            }
        }
        self.threshold(query)
    }
}

/// The distance in a candidate's upper half.
pub(super) fn distance_of(key: u64) -> f32 {
    f32::from_bits((key >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_kept_in_order_of_distance_then_position() {
        let mut best = Nearest::new(2, 3, Some(&[7, NOTHING]));
        for (position, distance) in [(4, 2.0), (7, 0.0), (1, 2.0), (9, 3.0), (2, 0.5), (0, 2.0)] {
            best.offer(0, position, distance);
        }
        assert_eq!(best.threshold(1), f32::INFINITY);
        best.offer(1, 3, f32::INFINITY);
        let mut out = Neighbours::new();
        out.begin(3);
        out.extend(&best);
        assert_eq!(out.of(0), (&[2, 0, 1][..], &[0.5, 2.0, 2.0][..]));
        assert_eq!(out.of(1), (&[3][..], &[f32::INFINITY][..]), "an overflow is still a neighbour");
        assert_eq!((best.threshold(0), out.k(), out.queries()), (2.0, 3, 2));
    }

    #[test]
    fn a_query_is_full_when_the_pool_has_no_others() {
        let mut best = Nearest::new(1, 5, Some(&[1]));
        best.offer(0, 0, 1.0);
        assert!(best.is_full(0, 2) && !best.is_full(0, 3));
    }
}
