//! A search in cells: queries brought into the order of their cells, cells ranked, cells scanned.

use super::pending::{Measured, Pending};
use super::ranking::{Asking, Ranking, Ranks};
use super::{Cells, Codes, MOST_EFFORT, below, reach};
use crate::neighbours::index::{NeighbourIndex, Neighbours};
use crate::neighbours::nearest::{Finds, Nearest, distance_of};
use crate::numerics::blocks::{Blocks, LANES};
use crate::numerics::coarse::CoarseDesk;
use crate::numerics::rows::Rows;
use crate::numerics::simd::prefetch;
use std::ops::Range;

/// Queries that are put in order at once.
const ORDERED: usize = 1 << 15;

/// Queries that are answered together: more share more cells, fewer leave more of the second-level cache to them.
const BATCH: usize = 2048;

/// Queries that are fetched before they are wanted: they lie anywhere.
const AHEAD: usize = 8;

/// Cells of the first stage after the nearest one.
const STAGE: usize = 2;

/// The same where it is known how far the nearest are: what is wanted hardly changes on the way.
const KNOWN_STAGE: usize = 16;

/// In the first stage bytes are looked at where a cell has so many times the points that are wanted: of fewer they leave too many.
const BYTES_FROM: usize = 16;

/// Buffers of a search: some megabytes.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Distances of four queries from all points of a cell.
    distances: [Vec<[f32; LANES]>; 4],
    ranking: Ranking,
    /// Cell and query, where a query wants a cell.
    wanted: Vec<(u32, u32)>,
    /// Where the queries of each cell end among `queries`.
    ends: Vec<u32>,
    queries: Vec<u32>,
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
        bars: Option<&[f32]>,
        out: &mut Neighbours,
    ) {
        self.ranking.prepare(cells);
        self.ends.resize(cells.cells(), 0);
        let dims = cells.dims();
        out.resize(queries.len() / dims);
        for (some, queries) in queries.chunks(ORDERED * dims).enumerate() {
            let first = some * ORDERED;
            // Neighbours in this order want the same cells, which are then in a cache.
            let (labels, squares) = self.ranking.nearest(cells, queries);
            let mut order: Vec<(u32, u32)> = labels.into_iter().zip(0..).collect();
            order.sort_unstable();
            for some in order.chunks(BATCH) {
                let mut batch = std::mem::take(&mut self.batch);
                batch.clear(dims);
                for (place, &(cell, query)) in some.iter().enumerate() {
                    if let Some((_, later)) = some.get(place + AHEAD) {
                        queries[*later as usize * dims..][..dims]
                            .chunks(LANES)
                            .for_each(|line| prefetch(&line[0]));
                    }
                    batch.queries.push(&queries[query as usize * dims..][..dims]);
                    batch.cells.push(cell);
                    batch.squares.push(squares[query as usize]);
                    batch.exclude.extend(exclude.map(|exclude| exclude[first + query as usize]));
                    batch.bars.extend(bars.map(|bars| bars[first + query as usize]));
                }
                batch.in_full = k * BYTES_FROM > cells.len() / cells.cells() && bars.is_none();
                batch.best.reset(some.len(), k, exclude.map(|_| &batch.exclude[..]));
                batch.best.expect_within(&batch.bars);
                batch.run(cells, self);
                for (place, &(_, query)) in some.iter().enumerate() {
                    out.put(first + query as usize, batch.best.sorted(place));
                }
                self.batch = batch;
            }
        }
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
        for &(cell, _) in &self.wanted {
            self.ends[cell as usize] += 1;
        }
        let mut total = 0;
        for end in &mut self.ends {
            (total, *end) = (total + *end, total);
        }
        self.queries.resize(self.wanted.len(), 0);
        for &(cell, query) in &self.wanted {
            let end = &mut self.ends[cell as usize];
            self.queries[*end as usize] = query;
            *end += 1;
        }
    }
}

/// Some queries on their way through the cells, side by side.
#[derive(Debug, Default)]
struct Batch {
    queries: Rows,
    /// The nearest cell of each query, rising.
    cells: Vec<u32>,
    /// The squared distances from their centroids.
    squares: Vec<f32>,
    exclude: Vec<u32>,
    /// What the k-th nearest of each query is not beyond, if that is known.
    bars: Vec<f32>,
    /// Whether bytes are left out of the first stage.
    in_full: bool,
    best: Nearest,
    pending: Pending,
    /// The other cells of each query, nearest first.
    ranks: Ranks,
    /// What the cells of the first stage must be within.
    reaches: Vec<f32>,
    /// Queries that may want more cells.
    open: Vec<u32>,
}

impl Batch {
    fn clear(&mut self, dims: usize) {
        self.queries.reset(dims);
        self.cells.clear();
        self.squares.clear();
        self.exclude.clear();
        self.bars.clear();
    }

    fn run(&mut self, cells: &Cells, desk: &mut Desk) {
        self.begin(cells, desk);
        self.rank(cells, desk);
        let mut open = std::mem::take(&mut self.open);
        open.clear();
        open.extend(0..self.cells.len() as u32);
        // In stages of 2, 4, 8 … cells: each lowers what a cell of the next must be within. Inside a stage the order is by
        // cell, so that queries share scans.
        let (mut from, mut stage) = (0, if self.bars.is_empty() { STAGE } else { KNOWN_STAGE });
        while !open.is_empty() {
            desk.wanted.clear();
            open.retain(|&query| {
                let ranks = self.ranks.of(query as usize);
                let next = &ranks[from.min(ranks.len())..(from + stage).min(ranks.len())];
                if next.is_empty() {
                    return false;
                }
                // Of the first stage as ranked.
                let reach = match from {
                    0 => self.reaches[query as usize],
                    _ => reach_of(&mut self.best, &self.bars, cells, query as usize),
                };
                let wanted = next.iter().take_while(|rank| distance_of(**rank) <= reach);
                let before = desk.wanted.len();
                desk.wanted.extend(wanted.map(|rank| (*rank as u32, query)));
                desk.wanted.len() > before
            });
            desk.order();
            let queries = std::mem::take(&mut desk.queries);
            let in_full = self.in_full && from == 0;
            let mut begin = 0;
            for cell in 0..cells.cells() {
                let end = desk.ends[cell] as usize;
                let (fours, rest) = queries[begin..end].as_chunks::<4>();
                fours.iter().for_each(|four| self.visit(cells, cell, *four, in_full, desk));
                match *rest {
                    [a, b, c] => self.visit(cells, cell, [a, b, c], in_full, desk),
                    [a, b] => self.visit(cells, cell, [a, b], in_full, desk),
                    [a] => self.visit(cells, cell, [a], in_full, desk),
                    _ => {}
                }
                if let Some(codes) = &cells.codes {
                    let measured =
                        Measured { rows: &codes.rows, positions: &cells.positions, queries: &self.queries };
                    self.pending.measure(measured, &mut self.best);
                }
                begin = end;
            }
            desk.queries = queries;
            (from, stage) = (from + stage, stage * 2);
        }
        self.open = open;
    }

    /// Every query in its nearest cell.
    fn begin(&mut self, cells: &Cells, desk: &mut Desk) {
        let labels = std::mem::take(&mut self.cells);
        let mut first = 0;
        for some in labels.chunk_by(|a, b| a == b) {
            let cell = some[0] as usize;
            let queries = first..first + some.len();
            let fours = queries.clone().step_by(4).filter(|query| query + 4 <= queries.end);
            fours.for_each(|query| {
                self.visit_first(cells, cell, [query, query + 1, query + 2, query + 3], desk)
            });
            let end = queries.end;
            match some.len() % 4 {
                3 => self.visit_first(cells, cell, [end - 3, end - 2, end - 1], desk),
                2 => self.visit_first(cells, cell, [end - 2, end - 1], desk),
                1 => self.visit_first(cells, cell, [end - 1], desk),
                _ => {}
            }
            first = queries.end;
            if !self.bars.is_empty()
                && let Some(codes) = &cells.codes
            {
                let measured =
                    Measured { rows: &codes.rows, positions: &cells.positions, queries: &self.queries };
                self.pending.measure(measured, &mut self.best);
            }
        }
        self.cells = labels;
    }

    fn visit_first<const Q: usize>(
        &mut self,
        cells: &Cells,
        cell: usize,
        queries: [usize; Q],
        desk: &mut Desk,
    ) {
        if !self.bars.is_empty() {
            return self.visit(cells, cell, queries.map(|query| query as u32), false, desk);
        }
        let blocks = cells.firsts[cell]..cells.firsts[cell + 1];
        let positions = cells.positions[blocks.start * LANES..blocks.end * LANES].as_chunks().0;
        desk.measure(queries.map(|query| self.queries.point(query)), &cells.points, blocks);
        for (query, distances) in queries.into_iter().zip(&desk.distances) {
            self.best.begin(query, distances, positions);
        }
    }

    /// The other cells that each query may want.
    fn rank(&mut self, cells: &Cells, desk: &mut Desk) {
        self.reaches.clear();
        let Self { best, bars, .. } = self;
        self.reaches.extend((0..self.cells.len()).map(|query| reach_of(best, bars, cells, query)));
        let Self { queries, cells: own, squares, reaches, ranks, .. } = self;
        desk.ranking.rank(cells, Asking { queries, cells: own, squares, reaches }, ranks);
    }

    /// Scans a cell for queries that have met others.
    fn visit<const Q: usize>(
        &mut self,
        cells: &Cells,
        cell: usize,
        wanted: [u32; Q],
        in_full: bool,
        desk: &mut Desk,
    ) {
        let dims = cells.dims();
        let queries = wanted.map(|query| query as usize);
        let rows = queries.map(|query| self.queries.point(query));
        let thresholds = queries.map(|query| self.best.threshold(query));
        let blocks =
            |apart: [f32; Q]| cells.reached(cell, apart, thresholds.map(|square| reach(square, dims)));
        match &cells.codes {
            Some(Codes { coarse, rows: all, .. })
                if !in_full && thresholds.iter().all(|square| *square < f32::INFINITY) =>
            {
                let near = coarse.near(cell, rows, thresholds, blocks, &mut desk.coarse);
                for q in 0..Q {
                    let measured =
                        Measured { rows: all, positions: &cells.positions, queries: &self.queries };
                    self.pending.add(queries[q], near[q], measured, &mut self.best);
                }
            }
            _ => {
                let apart = rows.map(|row| below(cells.centroids.distance(row, cell), dims).sqrt() as f32);
                let finds = Finds { best: &mut self.best, positions: &cells.positions, queries };
                cells.points.scan(rows, blocks(apart.map(f32::next_down)), thresholds, finds);
            }
        }
    }
}

/// What the cells of a query's next stage must be within. It must not depend on anything but points, query and effort, so it is
/// a share of a distance that does not.
fn reach_of(best: &mut Nearest, bars: &[f32], cells: &Cells, query: usize) -> f32 {
    let share = cells.effort as f32 / MOST_EFFORT as f32;
    let known = bars.get(query).copied().unwrap_or(f32::INFINITY);
    share * reach(best.settle(query).min(known), cells.dims())
}
