//! A search in cells: centroids ranked, queries brought into the order of their cells, cells scanned.

use super::Cells;
use crate::neighbours::index::{NeighbourIndex, Neighbours};
use crate::neighbours::nearest::{Finds, Nearest};
use crate::numerics::blocks::{Blocks, LANES, VACANT};
use crate::numerics::coarse::{CoarseDesk, Stretch};
use crate::numerics::near;
use std::ops::Range;

/// Cells that are ranked at once, which bounds the ranks to 16 MB.
const RANKED: usize = 1 << 21;

/// Queries that are put in order at once.
const ORDERED: usize = 1 << 15;

/// Queries that are answered together: more share more cells, fewer leave more of the second-level cache to them.
const BATCH: usize = 2048;

/// More blocks than a cell has.
const WHOLE: u32 = u32::MAX;

/// Points that a query has met, in multiples of k, before the next ones are scanned coarsely: then a quarter of the
/// blocks has a point among the nearest so far (32 and 128 were no better).
const COARSE: usize = 64;

/// Buffers of a search: some megabytes.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Distances of four queries from all points of a cell, or from all centroids.
    distances: [Vec<[f32; LANES]>; 4],
    /// The cells of the centroids' slots.
    names: Vec<[u32; LANES]>,
    near: Vec<f32>,
    near_names: Vec<u32>,
    keys: Vec<u64>,
    ranks: Vec<u64>,
    /// Cell, query, and how many of the cell's blocks, where a query wants a cell.
    wanted: Vec<(u32, u32, u32)>,
    /// Where the queries of each cell end among `queries`.
    ends: Vec<u32>,
    queries: Vec<(u32, u32)>,
    coarse: CoarseDesk,
    batch: Batch,
}

impl Desk {
    /// Fills `out` with the nearest of what `cells` probes for each query.
    pub fn search(
        &mut self,
        cells: &Cells,
        queries: &[f32],
        k: usize,
        exclude: Option<&[u32]>,
        out: &mut Neighbours,
    ) {
        self.prepare(cells);
        let (dims, count) = (cells.dims(), queries.len() / cells.dims());
        out.resize(count);
        let at_once = (RANKED / cells.probes).clamp(1, ORDERED);
        for first in (0..count).step_by(at_once) {
            let some = first..(first + at_once).min(count);
            let ranks = self.ranks(cells, &queries[some.start * dims..some.end * dims]);
            // Neighbours in this order want the same cells, which are then in a cache.
            let mut order: Vec<(u32, u32)> = ranks
                .chunks_exact(cells.probes)
                .zip(0..)
                .map(|(ranks, query)| (ranks[0] as u32, query))
                .collect();
            order.sort_unstable();
            for some in order.chunks(BATCH) {
                let mut batch = std::mem::take(&mut self.batch);
                batch.clear();
                for &(_, query) in some {
                    let query = query as usize;
                    batch.queries.extend_from_slice(&queries[(first + query) * dims..][..dims]);
                    batch.ranks.extend_from_slice(&ranks[query * cells.probes..][..cells.probes]);
                    batch.exclude.extend(exclude.map(|exclude| exclude[first + query]));
                }
                batch.best.reset(some.len(), k, exclude.map(|_| &batch.exclude[..]));
                batch.run(cells, self);
                for (place, &(_, query)) in some.iter().enumerate() {
                    out.put(first + query as usize, batch.best.sorted(place));
                }
                self.batch = batch;
            }
            self.ranks = ranks;
        }
    }

    fn prepare(&mut self, cells: &Cells) {
        let slots = cells.centroids.blocks() * LANES;
        if self.near.is_empty() {
            let mut names: Vec<u32> = (0..cells.cells() as u32).collect();
            names.resize(slots, VACANT);
            self.names = names.as_chunks().0.to_vec();
            self.near.resize(slots + LANES, 0.0);
            self.near_names.resize(slots + LANES, VACANT);
            self.ends.resize(cells.cells(), 0);
        }
    }

    /// For each query its `probes` nearest cells as distance and cell in one integer, the nearest ones
    /// of every stage before those of the next; the order inside a stage does not matter.
    fn ranks(&mut self, cells: &Cells, queries: &[f32]) -> Vec<u64> {
        let dims = cells.dims();
        let mut ranks = std::mem::take(&mut self.ranks);
        ranks.clear();
        for four in queries.chunks(4 * dims) {
            // Fewer than four at the end take no less time than four.
            let rows: [&[f32]; 4] =
                std::array::from_fn(|q| four.get(q * dims..(q + 1) * dims).unwrap_or(&four[..dims]));
            self.measure(rows, &cells.centroids, 0..cells.centroids.blocks());
            for q in 0..four.len() / dims {
                self.rank(cells, q, cells.probes);
                let mut end = cells.probes;
                if end < self.keys.len() {
                    self.keys.select_nth_unstable(end);
                }
                // Stages end after 1, 3, 7, 15 … cells; the largest such end below this one comes next.
                while end > 1 {
                    let cut = (1 << end.ilog2()) - 1;
                    self.keys[..end].select_nth_unstable(cut);
                    end = cut;
                }
                ranks.extend_from_slice(&self.keys[..cells.probes]);
            }
        }
        ranks
    }

    /// The cells nearest to query `q` of those that were measured, at least `probes` of them, into `keys`.
    fn rank(&mut self, cells: &Cells, q: usize, probes: usize) {
        let bar = match probes < cells.cells() {
            true => near::bound(&self.distances[q], probes).value,
            false => f32::INFINITY,
        };
        let count = near::keep(&self.distances[q], &self.names, bar, &mut self.near, &mut self.near_names);
        let near = self.near.iter().zip(&self.near_names).take(count);
        self.keys.clear();
        self.keys.extend(
            near.filter(|(_, cell)| **cell != VACANT)
                .map(|(distance, cell)| u64::from(distance.to_bits()) << 32 | u64::from(*cell)),
        );
    }

    /// The distances of some queries from all points of some blocks.
    fn measure<const Q: usize>(&mut self, rows: [&[f32]; Q], points: &Blocks, blocks: Range<usize>) {
        let mut buffers = self.distances.iter_mut();
        let out: [&mut [[f32; LANES]]; Q] = std::array::from_fn(|_| {
            let buffer = buffers.next().expect("four at the most");
            buffer.resize(blocks.len(), [0.0; LANES]);
            &mut buffer[..]
        });
        points.distances_of(rows, blocks, out);
    }

    /// Brings what is wanted into the order of cells.
    fn order(&mut self) {
        self.ends.fill(0);
        for &(cell, ..) in &self.wanted {
            self.ends[cell as usize] += 1;
        }
        let mut total = 0;
        for end in &mut self.ends {
            (total, *end) = (total + *end, total);
        }
        self.queries.resize(self.wanted.len(), (0, 0));
        for &(cell, query, blocks) in &self.wanted {
            let end = &mut self.ends[cell as usize];
            self.queries[*end as usize] = (query, blocks);
            *end += 1;
        }
    }
}

/// How a cell is scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scan {
    /// For queries that have no candidates.
    First,
    /// Every distance is worked out.
    Next,
    /// Most points are too far, and left out.
    Coarse,
}

/// Some queries on their way through the cells, side by side.
#[derive(Debug, Default)]
struct Batch {
    queries: Vec<f32>,
    ranks: Vec<u64>,
    exclude: Vec<u32>,
    best: Nearest,
}

impl Batch {
    fn clear(&mut self) {
        self.queries.clear();
        self.ranks.clear();
        self.exclude.clear();
    }

    fn run(&mut self, cells: &Cells, desk: &mut Desk) {
        let probes = cells.probes;
        let count = self.queries.len() / cells.dims();
        // In stages of 1, 2, 4, 8 … cells: the first gives each query a threshold, which lets the next
        // ones skip cells. Inside a stage the order is by cell, so that queries share scans.
        let (mut from, mut stage) = (0, 1);
        while from < probes {
            let to = (from + stage).min(probes);
            let scan = match from {
                0 => Scan::First,
                _ if from * cells.len > COARSE * self.best.k() * cells.cells() => Scan::Coarse,
                _ => Scan::Next,
            };
            desk.wanted.clear();
            for query in 0..count {
                let worst = cells.worst(self.best.least_threshold(query));
                let ranks = &self.ranks[query * probes..][..probes];
                let needed = ranks[from..to].iter().filter(|&&key| !cells.is_beyond(ranks[0], key, worst));
                let wanted = needed.map(|&key| {
                    // Few are left out of the nearest cells.
                    let blocks = if scan == Scan::Coarse { cells.reached(key, worst) } else { WHOLE };
                    (key as u32, query as u32, blocks)
                });
                desk.wanted.extend(wanted);
            }
            desk.order();
            let queries = std::mem::take(&mut desk.queries);
            let mut begin = 0;
            for cell in 0..cells.cells() {
                let end = desk.ends[cell] as usize;
                let (fours, rest) = queries[begin..end].as_chunks::<4>();
                fours.iter().for_each(|four| self.visit(cells, cell, *four, scan, desk));
                let (twos, rest) = rest.as_chunks::<2>();
                twos.iter().for_each(|two| self.visit(cells, cell, *two, scan, desk));
                rest.iter().for_each(|one| self.visit(cells, cell, [*one], scan, desk));
                begin = end;
            }
            desk.queries = queries;
            (from, stage) = (to, stage * 2);
        }
        for query in 0..count {
            if !self.best.is_full(query, cells.len) {
                self.go_on(cells, query, desk);
            }
        }
    }

    /// Scans a cell for queries, for which it may be the first.
    fn visit<const Q: usize>(
        &mut self,
        cells: &Cells,
        cell: usize,
        wanted: [(u32, u32); Q],
        scan: Scan,
        desk: &mut Desk,
    ) {
        let dims = cells.dims();
        let queries = wanted.map(|(query, _)| query as usize);
        let rows = queries.map(|query| &self.queries[query * dims..][..dims]);
        let most = wanted.iter().fold(0, |most, (_, blocks)| most.max(*blocks));
        let blocks = cells.firsts[cell]..(cells.firsts[cell] + most as usize).min(cells.firsts[cell + 1]);
        let positions = &cells.positions;
        if scan == Scan::First {
            let positions = positions[blocks.start * LANES..blocks.end * LANES].as_chunks().0;
            desk.measure(rows, &cells.points, blocks);
            for (query, distances) in queries.into_iter().zip(&desk.distances) {
                self.best.begin(query, distances, positions);
            }
        } else {
            let thresholds = queries.map(|query| self.best.threshold(query));
            let finds = Finds { best: &mut self.best, positions, queries };
            match &cells.coarse {
                Some(coarse)
                    if scan == Scan::Coarse
                        && thresholds.iter().all(|threshold| *threshold < f32::INFINITY) =>
                {
                    let stretch = Stretch { group: cell, blocks };
                    coarse.scan(&cells.points, stretch, rows, thresholds, &mut desk.coarse, finds);
                }
                _ => cells.points.scan(rows, blocks, thresholds, finds),
            }
        }
    }

    /// The probed cells held fewer than `k` points: on to the next nearest until there are enough.
    fn go_on(&mut self, cells: &Cells, query: usize, desk: &mut Desk) {
        let dims = cells.dims();
        desk.measure([&self.queries[query * dims..][..dims]], &cells.centroids, 0..cells.centroids.blocks());
        desk.rank(cells, 0, cells.cells());
        desk.keys.sort_unstable();
        for place in cells.probes..desk.keys.len() {
            if self.best.is_full(query, cells.len) {
                return;
            }
            let cell = desk.keys[place] as u32 as usize;
            self.visit(cells, cell, [(query as u32, WHOLE)], Scan::Next, desk);
        }
    }
}
