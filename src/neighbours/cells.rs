//! Search in k-means cells: the pool divided by nearest centroid, the nearest cells scanned.
//!
//! An inverted file (Jégou, Douze, Schmid 2011, "Product quantization for nearest neighbor search",
//! section IV): √n cells trained on a sample, points stored cell by cell in blocks, all centroids ranked for a
//! query, `probes` cells scanned (`search`). What makes it fast:
//!
//! - queries that want the same cell scan it together, four at a time;
//! - a cell is skipped when the triangle inequality says that no point of it can be among the nearest, and so are
//!   its inner points, which are stored last;
//! - of a query that has met many points, further ones are first compared in a byte a dimension
//!   ([`crate::numerics::coarse`]).
//!
//! All of these leave out only what is certainly too far, with room for rounding, so that with all cells probed the
//! answers equal exact search bit for bit.
//!
//! The segments of the customers were tried as cells and are too coarse: a pool of the best customers
//! can lie in two of them.

use self::search::Desk;
use super::desks::Desks;
use super::index::{
    IndexError, NeighbourIndex, Neighbours, SearchError, Tunable, check_points, check_queries,
};
use super::nearest::distance_of;
use crate::numerics::blocks::{self, Blocks, LANES, VACANT};
use crate::numerics::coarse::Coarse;
use crate::numerics::kmeans::{self, Options, Start, hash_sample};

/// Rows a cell in the sample that trains the centroids: 128 saved 7 % of the probes that 64 need.
const TRAINING_ROWS: usize = 128;

/// k-means iterations: 4, 8 and 16 needed the same probes within the noise.
const TRAINING_ITERATIONS: usize = 4;

/// A pool divided into cells.
#[derive(Clone, Debug)]
pub struct Cells {
    len: usize,
    probes: usize,
    centroids: Blocks,
    /// Points cell by cell, every cell from a block of its own.
    points: Blocks,
    /// The pool position of each slot, [`VACANT`] between cells.
    positions: Vec<u32>,
    /// First block of each cell, and one past the last.
    firsts: Vec<usize>,
    /// Upper bound of the distance of a block's points from its cell's centroid, the largest of a cell first.
    radii: Vec<f32>,
    /// Upper bound of the distance of every centroid from every other, cells × cells.
    between: Vec<f32>,
    /// The points in a byte a dimension, where the machine is quick with them.
    coarse: Option<Coarse>,
    desks: Desks<Desk>,
}

impl Cells {
    /// Divides row-major points of `dims` columns into at most √n cells, or `cells` if given; probes
    /// all of them until told otherwise.
    ///
    /// Cost: n × cells distances and a few k-means iterations over 128 rows a cell. Memory: the pool once
    /// more while it builds, then the pool, dims + 4 bytes a point where there are codes, and 4 × cells² bytes. The
    /// same bits on any number of threads.
    /// √n is where 0.95 and 0.99 recall are fastest (200,000 and 1,000,000 × 16; 2 √n costs a tenth, and
    /// a fifth of the lookups a second when all cells are probed).
    pub fn build(
        points: &[f32],
        dims: usize,
        cells: Option<usize>,
        seed: u64,
        threads: usize,
    ) -> Result<Self, IndexError> {
        let n = check_points(points, dims)?;
        let wanted = cells.unwrap_or(n.isqrt());
        if wanted == 0 {
            return Err(IndexError::Option { option: "cells", value: 0.0, expected: "at least 1" });
        }
        let threads = threads.max(1);
        let centroids = train(points, dims, wanted.min(n), seed, threads)?;
        let (labels, distances) = assign(points, dims, &centroids, threads);

        let mut order: Vec<u32> = (0..n as u32).collect();
        // The outermost points of a cell first: a query beside it can be near to no others.
        let out = |row: u32| std::cmp::Reverse(distances[row as usize].to_bits());
        order.sort_by_key(|&row| (labels[row as usize], out(row)));
        let (mut positions, mut firsts, mut radii, mut kept) = (Vec::new(), vec![0], Vec::new(), Vec::new());
        for cell in order.chunk_by(|&a, &b| labels[a as usize] == labels[b as usize]) {
            positions.extend_from_slice(cell);
            positions.resize(positions.len().next_multiple_of(LANES), VACANT);
            firsts.push(positions.len() / LANES);
            kept.push(labels[cell[0] as usize]);
            let farthest =
                |block: &[u32]| (above(distances[block[0] as usize], dims).sqrt() as f32).next_up();
            radii.extend(cell.chunks(LANES).map(farthest));
        }
        let centroids = Blocks::from_slots(&centroids, dims, &kept);
        let between = distances_between(&centroids);
        let probes = kept.len();
        let points = Blocks::from_slots(points, dims, &positions);
        let coarse = Coarse::build(&points, &firsts, &centroids);
        Ok(Self {
            len: n,
            probes,
            centroids,
            points,
            positions,
            firsts,
            radii,
            between,
            coarse,
            desks: Desks::default(),
        })
    }

    /// Number of cells that hold points.
    pub fn cells(&self) -> usize {
        self.firsts.len() - 1
    }
}

impl Tunable for Cells {
    fn effort(&self) -> usize {
        self.probes
    }

    fn set_effort(&mut self, probes: usize) {
        self.probes = probes.clamp(1, self.cells());
    }

    fn most_effort(&self) -> usize {
        self.cells()
    }
}

impl NeighbourIndex for Cells {
    fn len(&self) -> usize {
        self.len
    }

    fn dims(&self) -> usize {
        self.points.dims()
    }

    fn search(
        &self,
        queries: &[f32],
        k: usize,
        exclude: Option<&[u32]>,
        out: &mut Neighbours,
    ) -> Result<(), SearchError> {
        let dims = self.dims();
        check_queries(queries, dims, k, exclude)?;
        out.begin(k);
        self.desks.lend(|desk| desk.search(self, queries, k, exclude, out));
        Ok(())
    }
}

impl Cells {
    /// Whether every point of the ranked cell is certainly farther than `worst`, given the nearest cell.
    ///
    /// Two bounds. By the triangle inequality a point is at least |query − centroid| − radius away. And
    /// the point lies on its centroid's side of the plane half-way to the nearest cell's centroid, the
    /// query on the other, so it is at least as far as that plane: (|q − c|² − |q − n|²) / 2 |c − n|.
    ///
    /// A computed square differs from the true one by a factor of 1 ± (dims + 2) / 2²⁴, and by a few of
    /// the smallest floats when squares underflow; `above` and `below` allow for twice that. A point
    /// may by such an error lie beyond the plane, which `stray` allows for.
    fn is_beyond(&self, nearest: u64, cell: u64, worst: Worst) -> bool {
        let dims = self.dims();
        let to_centroid = distance_of(cell);
        if !(to_centroid.is_finite() && worst.square.is_finite()) {
            return false;
        }
        let (nearest, to_nearest) = (nearest as u32 as usize, distance_of(nearest));
        let cell = cell as u32 as usize;
        let (radius, to_centroid) = (f64::from(self.radii[self.firsts[cell]]), below(to_centroid, dims));
        // Squares on both sides: a root a query instead of one a cell.
        if to_centroid > (radius + worst.distance).powi(2) {
            return true;
        }
        let apart = f64::from(self.between[nearest * self.cells() + cell]);
        let stray = 4.0 * slack(dims) * (radius + apart).powi(2) + dims as f64 * f64::from(f32::MIN_POSITIVE);
        let margin = to_centroid - above(to_nearest, dims) - stray;
        margin > 0.0 && margin * margin > 4.0 * apart * apart * worst.square
    }

    /// The blocks of a ranked cell that may hold points within `worst`: those whose points are far enough from the
    /// centroid.
    fn reached(&self, cell: u64, worst: Worst) -> u32 {
        // Rounded down; radii are rounded up.
        let apart = ((below(distance_of(cell), self.dims()).sqrt() - worst.distance) as f32).next_down();
        let cell = cell as u32 as usize;
        let radii = &self.radii[self.firsts[cell]..self.firsts[cell + 1]];
        // An infinite distance reaches nothing less than all. Counted: a search by halves would be mispredicted.
        if !(apart.is_finite() && radii.last().is_some_and(|least| *least < apart)) {
            return radii.len() as u32;
        }
        radii.iter().map(|radius| u32::from(*radius >= apart)).sum()
    }

    /// A computed square beyond which nothing counts.
    fn worst(&self, square: f32) -> Worst {
        let square = above(square, self.dims());
        Worst { square, distance: square.sqrt() }
    }
}

/// What a point must be farther than to be left out.
#[derive(Clone, Copy)]
struct Worst {
    square: f64,
    distance: f64,
}

/// Upper bounds, rounded up to f32.
fn distances_between(centroids: &Blocks) -> Vec<f32> {
    let (cells, dims) = (centroids.slots(), centroids.dims());
    let mut between = Vec::with_capacity(cells * cells);
    let mut squares = vec![0.0; centroids.blocks() * LANES];
    let mut centroid = vec![0.0; dims];
    for cell in 0..cells {
        centroids.copy_point(cell, &mut centroid);
        centroids.distances(&centroid, 0..centroids.blocks(), &mut squares);
        between.extend(squares[..cells].iter().map(|&square| (above(square, dims).sqrt() as f32).next_up()));
    }
    between
}

/// Twice the relative error of a chain of `dims` terms.
fn slack(dims: usize) -> f64 {
    (dims + 2) as f64 * f64::from(f32::EPSILON)
}

/// Not below the true square of a computed square, nor below any computed square that equals it.
fn above(square: f32, dims: usize) -> f64 {
    (f64::from(square) + dims as f64 * f64::from(f32::MIN_POSITIVE)) * (1.0 + 2.0 * slack(dims))
}

fn below(square: f32, dims: usize) -> f64 {
    (f64::from(square) - dims as f64 * f64::from(f32::MIN_POSITIVE)).max(0.0) * (1.0 - 2.0 * slack(dims))
}

/// Centroids of a sample.
pub(super) fn train(
    points: &[f32],
    dims: usize,
    k: usize,
    seed: u64,
    threads: usize,
) -> Result<Vec<f32>, IndexError> {
    let sample: Vec<f32> = hash_sample(points.len() / dims, k * TRAINING_ROWS, seed)
        .into_iter()
        .flat_map(|row| &points[row * dims..][..dims])
        .copied()
        .collect();
    let options =
        Options { start: Start::Rows, max_iterations: TRAINING_ITERATIONS, threads, ..Options::new(k, seed) };
    kmeans::fit(&sample, dims, &options).map(|model| model.centroids).map_err(IndexError::Training)
}

/// The nearest centroid of every point, and its squared distance.
pub(super) fn assign(points: &[f32], dims: usize, centroids: &[f32], threads: usize) -> (Vec<u32>, Vec<f32>) {
    let n = points.len() / dims;
    let (mut labels, mut distances) = (vec![0; n], vec![0.0; n]);
    let part = n.div_ceil(threads);
    std::thread::scope(|scope| {
        let outs = labels.chunks_mut(part).zip(distances.chunks_mut(part));
        for (rows, (labels, distances)) in points.chunks(part * dims).zip(outs) {
            scope.spawn(move || blocks::nearest(centroids, dims, rows, labels, distances));
        }
    });
    (labels, distances)
}

mod search;
