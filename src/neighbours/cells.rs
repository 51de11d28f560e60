//! Search in k-means cells: the pool divided by nearest centroid, the nearest cells scanned.
//!
//! An inverted file (Jégou, Douze, Schmid 2011, "Product quantization for nearest neighbor search",
//! section IV): √n cells trained on a sample, points stored cell by cell in blocks, the centroids ranked for a
//! query, the nearest one scanned, and then those that may matter (`search`). What makes it fast:
//!
//! - how many cells are probed depends on the query, as in SPANN (Chen et al. 2021, "SPANN: Highly-efficient
//!   billion-scale approximate nearest neighbor search"): those in which a point can be within a share, the effort, of
//!   the distance of the k-th nearest so far (`bounds`); of all of that distance with the greatest effort;
//! - queries that want the same cell scan it together, four at a time; cells are numbered in space (`order`), so that
//!   queries with near cells want the same others;
//! - centroids are compared in bytes first (`ranking`);
//! - inner points of a cell, which are stored last, are skipped where the triangle inequality says so;
//! - after the first stage, or from it on where few are wanted, points are first compared in a byte a dimension
//!   ([`crate::numerics::coarse`]), and what that leaves is measured point by point ([`crate::numerics::rows`]).
//!
//! What decides which cells are probed is the same on every machine. All else leaves out only what is certainly too far, with room
//! for rounding, so that with the greatest effort the answers equal exact search bit for bit.
//!
//! The segments of the customers were tried as cells and are too coarse: a pool of the best customers
//! can lie in two of them.

use self::bounds::Bounds;
pub(super) use self::order::in_space;
use self::search::Desk;
use super::desks::Desks;
use super::index::{
    IndexError, NeighbourIndex, Neighbours, SearchError, Tunable, check_points, check_queries,
};
use crate::numerics::blocks::{self, Blocks, LANES, VACANT};
use crate::numerics::coarse::Coarse;
use crate::numerics::kmeans::{self, Options, Start, hash_sample};
use crate::numerics::rows::Rows;
use std::ops::Range;

/// Rows a cell in the sample that trains the centroids: 128 saved 7 % of the probes that 64 need.
const TRAINING_ROWS: usize = 128;

/// k-means iterations: 4, 8 and 16 needed the same probes within the noise.
const TRAINING_ITERATIONS: usize = 4;

/// The effort that answers exactly; less of it is a share.
pub const MOST_EFFORT: usize = 256;

/// A pool divided into cells.
#[derive(Clone, Debug)]
pub struct Cells {
    len: usize,
    effort: usize,
    centroids: Blocks,
    /// The centroids, row-major.
    middles: Vec<f32>,
    /// Points cell by cell, every cell from a block of its own.
    points: Blocks,
    /// The pool position of each slot, [`VACANT`] between cells.
    positions: Vec<u32>,
    /// First block of each cell, and one past the last.
    firsts: Vec<usize>,
    /// Upper bound of the distance of a block's points from its cell's centroid, the largest of a cell first.
    radii: Vec<f32>,
    bounds: Bounds,
    /// Where the machine is quick with them.
    codes: Option<Codes>,
    desks: Desks<Desk>,
}

/// The points twice more: in a byte a dimension, and one after another for those that bytes do not leave out. The centroids in
/// the same way.
#[derive(Clone, Debug)]
struct Codes {
    coarse: Coarse,
    rows: Rows,
    centroids: Coarse,
    middles: Rows,
}

impl Cells {
    /// Divides row-major points of `dims` columns into at most √n cells, or `cells` if given; exact
    /// until told otherwise.
    ///
    /// Cost: twice n × cells distances and a few k-means iterations over 128 rows a cell. Memory: the pool once
    /// more while it builds, then the pool, where there are codes the pool again and dims + 4 bytes a point, and 8 × cells² bytes. The
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
        let centroids = in_space(&train(points, dims, wanted.min(n), seed, threads)?, dims);
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
            let farthest = |block: &[u32]| reach(distances[block[0] as usize], dims);
            radii.extend(cell.chunks(LANES).map(farthest));
        }
        let centroids = Blocks::from_slots(&centroids, dims, &kept);
        let points = Blocks::from_slots(points, dims, &positions);
        let bounds = Bounds::build(&points, &firsts, &centroids, threads);
        let codes = Coarse::build(&points, &firsts, &centroids).zip(Coarse::of_one_group(&centroids));
        let codes = codes.map(|(coarse, centroids_coarse)| Codes {
            coarse,
            rows: Rows::of(&points),
            centroids: centroids_coarse,
            middles: Rows::of(&centroids),
        });
        let mut middles = vec![0.0; kept.len() * dims];
        let rows = middles.chunks_exact_mut(dims).enumerate();
        rows.for_each(|(cell, middle)| centroids.copy_point(cell, middle));
        Ok(Self {
            len: n,
            effort: MOST_EFFORT,
            centroids,
            middles,
            points,
            positions,
            firsts,
            radii,
            bounds,
            codes,
            desks: Desks::default(),
        })
    }

    /// Number of cells that hold points.
    pub fn cells(&self) -> usize {
        self.firsts.len() - 1
    }

    /// The pool position of each slot, [`VACANT`] between cells.
    pub(super) fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The point of each slot one after another, where the machine is quick with bytes.
    pub(super) fn rows(&self) -> Option<&Rows> {
        self.codes.as_ref().map(|codes| &codes.rows)
    }

    /// The point of each slot.
    pub(super) fn points(&self) -> &Blocks {
        &self.points
    }
}

impl Tunable for Cells {
    fn effort(&self) -> usize {
        self.effort
    }

    fn set_effort(&mut self, effort: usize) {
        self.effort = effort.clamp(1, MOST_EFFORT);
    }

    fn most_effort(&self) -> usize {
        MOST_EFFORT
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
        self.search_within(queries, k, exclude, None, out)
    }
}

impl Cells {
    /// A search where something may be known already: of each query a squared distance that the k-th nearest is not beyond. Points
    /// beyond it are left out, so a query may get fewer than k.
    pub(super) fn search_within(
        &self,
        queries: &[f32],
        k: usize,
        exclude: Option<&[u32]>,
        bars: Option<&[f32]>,
        out: &mut Neighbours,
    ) -> Result<(), SearchError> {
        check_queries(queries, self.dims(), k, exclude)?;
        out.begin(k);
        self.desks.lend(|desk| desk.search(self, queries, k, exclude, bars, out));
        Ok(())
    }

    /// The blocks of a cell that may hold points within a reach of queries, given lower bounds of their distances from the centroid, and the
    /// reaches: those whose points are far enough from it for one of them.
    fn reached<const Q: usize>(&self, cell: usize, apart: [f32; Q], reaches: [f32; Q]) -> Range<usize> {
        // Rounded down; radii are rounded up.
        let least = apart.into_iter().zip(reaches).map(|(apart, reach)| {
            // An infinite distance reaches nothing less than all.
            if apart.is_finite() { (apart - reach).next_down() } else { f32::NEG_INFINITY }
        });
        let least = least.fold(f32::INFINITY, f32::min);
        let blocks = self.firsts[cell]..self.firsts[cell + 1];
        let radii = &self.radii[blocks.clone()];
        if radii.last().is_none_or(|inmost| *inmost >= least) {
            return blocks;
        }
        // Counted: a search by halves would be mispredicted.
        let reached: usize = radii.iter().map(|radius| usize::from(*radius >= least)).sum();
        blocks.start..blocks.start + reached
    }
}

/// A distance beyond which nothing counts, of a computed square.
pub(super) fn reach(square: f32, dims: usize) -> f32 {
    (above(square, dims).sqrt() as f32).next_up()
}

/// Twice the relative error of a chain of `dims` terms.
fn slack(dims: usize) -> f64 {
    (dims + 2) as f64 * f64::from(f32::EPSILON)
}

/// Not below the true square of a computed square, nor below any computed square that equals it.
fn above(square: f32, dims: usize) -> f64 {
    (f64::from(square) + dims as f64 * f64::from(f32::MIN_POSITIVE)) * (1.0 + 2.0 * slack(dims))
}

pub(super) fn below(square: f32, dims: usize) -> f64 {
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

mod bounds;
mod order;
mod pending;
mod ranking;
mod search;

#[cfg(test)]
mod tests {
    use super::super::conformance::customers;
    use super::super::lists::Lists;
    use super::*;

    /// What effort leaves out must not depend on the machine.
    #[test]
    fn bytes_do_not_show_at_any_effort() {
        for dims in [3, 8, 18] {
            let (points, queries) = (customers(5000, dims, 1), customers(300, dims, 2));
            let exclude: Vec<u32> = (0..300).map(|query| query * 7).collect();
            let mut with = Cells::build(&points, dims, None, 3, 2).expect("points");
            let mut without = Cells { codes: None, ..with.clone() };
            let sample = customers(800, dims, 4);
            let mut lists =
                [&with, &without].map(|cells| Lists::build(cells.clone(), &sample, 9, 3, 2).expect("points"));
            let mut last = None;
            for effort in [1, 20, 100, 200, MOST_EFFORT] {
                let answers = [&mut with, &mut without].map(|cells| {
                    cells.set_effort(effort);
                    let mut out = Neighbours::new();
                    cells.search(&queries, 9, Some(&exclude), &mut out).expect("queries");
                    out
                });
                assert_eq!(answers[0], answers[1], "{dims} dimensions, effort {effort}");
                let of_lists = lists.each_mut().map(|lists| {
                    lists.tune_cells(|cells| cells.set_effort(effort));
                    lists.set_effort(effort);
                    let mut out = Neighbours::new();
                    lists.search(&queries, 9, Some(&exclude), &mut out).expect("queries");
                    out
                });
                assert_eq!(of_lists[0], of_lists[1], "lists, {dims} dimensions, effort {effort}");
                let is_all = effort == MOST_EFFORT;
                assert!(!is_all || of_lists[0] == answers[0], "all of lists, {dims} dimensions");
                assert!(effort > 100 || last.as_ref() != Some(&answers[0]), "effort matters");
                last = answers.into_iter().next();
            }
        }
    }
}
