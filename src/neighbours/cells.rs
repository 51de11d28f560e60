//! Search in k-means cells: the pool divided by nearest centroid, the nearest cells scanned.
//!
//! An inverted file (Jégou, Douze, Schmid 2011, "Product quantization for nearest neighbor search",
//! section IV) without the quantisation: √n cells trained on a sample, points stored cell by cell in
//! blocks, all centroids ranked for a query, `probes` cells scanned. Two things make it fast: queries
//! of a batch that want the same cell scan it together, four at a time, and a cell is skipped when the
//! triangle inequality says that no point of it can be among the nearest. The skip allows for rounding,
//! so that with all cells probed the answers equal exact search bit for bit.
//!
//! The segments of the customers were tried as cells and are too coarse: a pool of the best customers
//! can lie in two of them.

use super::index::{
    IndexError, NeighbourIndex, Neighbours, SearchError, Tunable, check_points, check_queries,
};
use super::nearest::{Nearest, distance_of};
use crate::numerics::blocks::{self, Blocks, LANES, VACANT};
use crate::numerics::kmeans::{self, Options, Start, hash_sample};

/// Cells that are ranked for a batch of queries at once, which bounds the scratch to some 32 MB.
const RANKED: usize = 1 << 21;

/// Queries that are answered together: more share more cells, fewer fit the cache.
const BATCH: usize = 4096;

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
    /// Upper bound of the distance of a cell's points from its centroid.
    radii: Vec<f64>,
    /// Upper bound of the distance of every centroid from every other, cells × cells.
    between: Vec<f32>,
}

impl Cells {
    /// Divides row-major points of `dims` columns into at most √n cells, or `cells` if given; probes
    /// all of them until told otherwise.
    ///
    /// Cost: n × cells distances and a few k-means iterations over 128 rows a cell. Memory: the pool once
    /// more while it builds, then the pool and 4 × cells² bytes. The same bits on any number of threads.
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
        order.sort_by_key(|&row| labels[row as usize]);
        let (mut positions, mut firsts, mut radii, mut kept) = (Vec::new(), vec![0], Vec::new(), Vec::new());
        for cell in order.chunk_by(|&a, &b| labels[a as usize] == labels[b as usize]) {
            positions.extend_from_slice(cell);
            positions.resize(positions.len().next_multiple_of(LANES), VACANT);
            firsts.push(positions.len() / LANES);
            kept.push(labels[cell[0] as usize]);
            let farthest = cell.iter().map(|&row| distances[row as usize]).fold(0.0, f32::max);
            radii.push(above(farthest, dims).sqrt());
        }
        let centroids = Blocks::from_slots(&centroids, dims, &kept);
        let between = distances_between(&centroids);
        let probes = kept.len();
        let points = Blocks::from_slots(points, dims, &positions);
        Ok(Self { len: n, probes, centroids, points, positions, firsts, radii, between })
    }

    /// Number of cells that hold points.
    pub fn cells(&self) -> usize {
        self.radii.len()
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
        let batch = (RANKED / self.probes).clamp(1, BATCH);
        for (index, queries) in queries.chunks(batch * dims).enumerate() {
            let count = queries.len() / dims;
            let best = Nearest::new(count, k, exclude.map(|all| &all[index * batch..][..count]));
            let mut search = Batch { index: self, queries, best };
            search.run();
            out.extend(&mut search.best);
        }
        Ok(())
    }
}

/// Some queries on their way through the cells.
struct Batch<'a> {
    index: &'a Cells,
    queries: &'a [f32],
    best: Nearest<'a>,
}

impl<'a> Batch<'a> {
    fn run(&mut self) {
        let index = self.index;
        let count = self.queries.len() / index.dims();
        let ranks = self.ranks(count);
        // In stages of 1, 2, 4, 8 … cells: the first gives each query a threshold, which lets the next
        // ones skip cells. Inside a stage the order is by cell, so that queries share scans.
        let (mut from, mut stage) = (0, 1);
        let mut wanted: Vec<(u32, u32)> = Vec::new();
        while from < index.probes {
            let to = (from + stage).min(index.probes);
            wanted.clear();
            for query in 0..count {
                let worst = self.best.least_threshold(query);
                let ranks = &ranks[query * index.probes..][..index.probes];
                let needed = ranks[from..to].iter().filter(|&&key| !index.is_beyond(ranks[0], key, worst));
                wanted.extend(needed.map(|&key| (key as u32, query as u32)));
            }
            self.scan_cells(&mut wanted);
            (from, stage) = (to, stage * 2);
        }
        for query in 0..count {
            if !self.best.is_full(query, index.len) {
                self.go_on(query);
            }
        }
    }

    /// For each query its `probes` nearest cells as distance and cell in one integer, the nearest ones
    /// of every stage before those of the next; the order inside a stage does not matter.
    fn ranks(&self, count: usize) -> Vec<u64> {
        let (index, dims) = (self.index, self.index.dims());
        let mut ranks = Vec::with_capacity(count * index.probes);
        let mut distances = vec![0.0; index.centroids.blocks() * LANES];
        let mut keys = Vec::with_capacity(index.cells());
        for query in self.queries.chunks_exact(dims) {
            index.rank(query, &mut distances, &mut keys);
            let mut end = index.probes;
            if end < keys.len() {
                keys.select_nth_unstable(end);
            }
            // Stages end after 1, 3, 7, 15 … cells; the largest such end below this one comes next.
            while end > 1 {
                let cut = (1 << end.ilog2()) - 1;
                keys[..end].select_nth_unstable(cut);
                end = cut;
            }
            ranks.extend_from_slice(&keys[..index.probes]);
        }
        ranks
    }

    /// Scans cells for queries, each pair (cell, query) once.
    fn scan_cells(&mut self, wanted: &mut [(u32, u32)]) {
        wanted.sort_unstable();
        for same in wanted.chunk_by(|a, b| a.0 == b.0) {
            let cell = same[0].0 as usize;
            let (fours, rest) = same.as_chunks::<4>();
            for four in fours {
                self.scan(cell, four.map(|(_, query)| query as usize));
            }
            let (twos, rest) = rest.as_chunks::<2>();
            for two in twos {
                self.scan(cell, two.map(|(_, query)| query as usize));
            }
            for &(_, query) in rest {
                self.scan(cell, [query as usize]);
            }
        }
    }

    fn scan<const Q: usize>(&mut self, cell: usize, queries: [usize; Q]) {
        let (index, dims) = (self.index, self.index.dims());
        let rows = queries.map(|query| &self.queries[query * dims..][..dims]);
        let thresholds = queries.map(|query| self.best.threshold(query));
        let blocks = index.firsts[cell]..index.firsts[cell + 1];
        index.points.scan(rows, blocks, thresholds, |q, block, distances| {
            let positions = &index.positions[block * LANES..][..LANES];
            let position = |lane: usize| Some(positions[lane]).filter(|&position| position != VACANT);
            self.best.offer_block(queries[q], distances, position)
        });
    }

    /// The probed cells held fewer than `k` points: on to the next nearest until there are enough.
    fn go_on(&mut self, query: usize) {
        let (index, dims) = (self.index, self.index.dims());
        let mut distances = vec![0.0; index.centroids.blocks() * LANES];
        let mut keys = Vec::new();
        index.rank(&self.queries[query * dims..][..dims], &mut distances, &mut keys);
        keys.sort_unstable();
        for &key in &keys[index.probes..] {
            if self.best.is_full(query, index.len) {
                return;
            }
            self.scan(key as u32 as usize, [query]);
        }
    }
}

impl Cells {
    /// Every cell with the distance of its centroid, unordered.
    fn rank(&self, query: &[f32], distances: &mut [f32], keys: &mut Vec<u64>) {
        self.centroids.distances(query, 0..self.centroids.blocks(), distances);
        keys.clear();
        let cells = distances[..self.cells()].iter().enumerate();
        keys.extend(cells.map(|(cell, d)| u64::from(d.to_bits()) << 32 | cell as u64));
    }

    /// Whether every point of the ranked cell is certainly farther than the squared distance `worst`,
    /// given the nearest cell.
    ///
    /// Two bounds. By the triangle inequality a point is at least |query − centroid| − radius away. And
    /// the point lies on its centroid's side of the plane half-way to the nearest cell's centroid, the
    /// query on the other, so it is at least as far as that plane: (|q − c|² − |q − n|²) / 2 |c − n|.
    ///
    /// A computed square differs from the true one by a factor of 1 ± (dims + 2) / 2²⁴, and by a few of
    /// the smallest floats when squares underflow; `above` and `below` allow for twice that. A point
    /// may by such an error lie beyond the plane, which `stray` allows for.
    fn is_beyond(&self, nearest: u64, cell: u64, worst: f32) -> bool {
        let (dims, worst) = (self.dims(), above(worst, self.dims()));
        let to_centroid = distance_of(cell);
        if !(to_centroid.is_finite() && worst.is_finite()) {
            return false;
        }
        let (nearest, to_nearest) = (nearest as u32 as usize, distance_of(nearest));
        let cell = cell as u32 as usize;
        let radius = self.radii[cell];
        let outside = below(to_centroid, dims).sqrt() - radius;
        if outside > 0.0 && outside * outside > worst {
            return true;
        }
        let apart = f64::from(self.between[nearest * self.cells() + cell]);
        let stray = 4.0 * slack(dims) * (radius + apart).powi(2) + dims as f64 * f64::from(f32::MIN_POSITIVE);
        let margin = below(to_centroid, dims) - above(to_nearest, dims) - stray;
        margin > 0.0 && margin * margin > 4.0 * apart * apart * worst
    }
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
