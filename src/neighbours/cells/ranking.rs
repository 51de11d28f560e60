//! Which cell is nearest to a query, and which others it may want, nearest first.
//!
//! Where the machine is quick with bytes, centroids are first compared in them, and few are left to be measured; else, or where many
//! would be left, all are measured. The answers have the same bits.

use super::{Cells, Codes};
use crate::neighbours::index::NeighbourIndex;
use crate::numerics::blocks::{self, LANES, VACANT};
use crate::numerics::coarse::CoarseDesk;
use crate::numerics::near;
use crate::numerics::rows::Rows;

/// Fewer queries than this are not worth a block of them.
const FEW: usize = 8;

/// Centroids that bytes may leave to a query; all of them cost as much as some more.
const LEFT: usize = 40;

/// Queries whose nearest cells are found together.
const TOGETHER: usize = 64;

/// Pairs that are measured together.
const PAIRS: usize = 512;

/// The queries of a batch, side by side.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub queries: &'a Rows,
    /// The nearest cell of each.
    pub cells: &'a [u32],
    /// The squared distances from the centroids of these.
    pub squares: &'a [f32],
    /// What a cell must be within.
    pub reaches: &'a [f32],
}

/// The cells that queries may want: lower bound and cell in one integer, in their order.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    ranks: Vec<u64>,
    ends: Vec<u32>,
}

impl Ranks {
    pub fn of(&self, query: usize) -> &[u64] {
        let first = query.checked_sub(1).map_or(0, |last| self.ends[last]);
        &self.ranks[first as usize..self.ends[query] as usize]
    }

    fn clear(&mut self) {
        self.ranks.clear();
        self.ends.clear();
    }

    /// Takes the ranks of the next query.
    fn push(&mut self, keys: &[u64]) {
        let first = self.ranks.len();
        self.ranks.resize(first + keys.len(), 0);
        near::sort(keys, &mut self.ranks[first..]);
        self.ends.push(self.ranks.len() as u32);
    }
}

/// Queries and centroids that are to be measured.
#[derive(Debug, Default)]
struct Pairs {
    queries: Vec<u32>,
    slots: Vec<u32>,
    squares: Vec<f32>,
    /// Of each query one past its last pair.
    ends: Vec<usize>,
}

impl Pairs {
    fn clear(&mut self) {
        self.queries.clear();
        self.slots.clear();
        self.ends.clear();
    }

    fn push(&mut self, query: usize, slots: impl Iterator<Item = u32>) {
        self.slots.extend(slots);
        self.queries.resize(self.slots.len(), query as u32);
        self.ends.push(self.slots.len());
    }

    fn measure(&mut self, rows: &Rows, queries: &Rows) {
        let count = self.slots.len();
        let whole = count.next_multiple_of(LANES);
        // The rest of sixteen is the last once more.
        self.queries.resize(whole, self.queries.last().copied().unwrap_or(0));
        self.slots.resize(whole, self.slots.last().copied().unwrap_or(0));
        self.squares.clear();
        for (asked, slots) in self.queries.as_chunks().0.iter().zip(self.slots.as_chunks().0) {
            self.squares.extend_from_slice(&rows.distances(queries, asked, slots));
        }
        [&mut self.queries, &mut self.slots].into_iter().for_each(|all| all.truncate(count));
    }
}

/// Buffers of all this.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    /// Distances of four queries from all centroids.
    distances: [Vec<[f32; LANES]>; 4],
    gaps: Vec<[f32; LANES]>,
    /// The cells of the centroids' slots.
    names: Vec<[u32; LANES]>,
    near: Vec<f32>,
    near_names: Vec<u32>,
    keys: Vec<u64>,
    pairs: Pairs,
    pair_gaps: Vec<f32>,
    asked: Rows,
    coarse: CoarseDesk,
}

impl Ranking {
    pub fn prepare(&mut self, cells: &Cells) {
        let blocks = cells.centroids.blocks();
        if self.near.is_empty() {
            let mut names: Vec<u32> = (0..cells.cells() as u32).collect();
            names.resize(blocks * LANES, VACANT);
            self.names = names.as_chunks().0.to_vec();
            self.gaps.resize(blocks, [0.0; LANES]);
            self.near.resize((blocks + 1) * LANES, 0.0);
            self.near_names.resize((blocks + 1) * LANES, VACANT);
            self.distances.iter_mut().for_each(|distances| distances.resize(blocks, [0.0; LANES]));
        }
    }

    /// The nearest cell of each row-major query, and the squared distance from its centroid.
    pub fn nearest(&mut self, cells: &Cells, queries: &[f32]) -> (Vec<u32>, Vec<f32>) {
        let (dims, count) = (cells.dims(), queries.len() / cells.dims());
        let (mut labels, mut squares) = (vec![0; count], vec![f32::INFINITY; count]);
        if count < FEW {
            for (query, row) in queries.chunks_exact(dims).enumerate() {
                let [distances, ..] = &mut self.distances;
                cells.centroids.distances_of([row], 0..cells.centroids.blocks(), [distances]);
                let all = self.distances[0].as_flattened()[..cells.cells()].iter().zip(0..);
                (squares[query], labels[query]) = least(all.map(|(square, cell)| (*square, cell)));
            }
            return (labels, squares);
        }
        let Some(codes) = &cells.codes else {
            blocks::nearest(&cells.middles, dims, queries, &mut labels, &mut squares);
            return (labels, squares);
        };
        let outs = labels.chunks_mut(TOGETHER).zip(squares.chunks_mut(TOGETHER));
        for (queries, (labels, squares)) in queries.chunks(TOGETHER * dims).zip(outs) {
            self.nearest_by_bytes(cells, codes, queries, labels, squares);
        }
        (labels, squares)
    }

    fn nearest_by_bytes(
        &mut self,
        cells: &Cells,
        codes: &Codes,
        queries: &[f32],
        labels: &mut [u32],
        squares: &mut [f32],
    ) {
        let dims = cells.dims();
        self.asked.reset(dims);
        self.pairs.clear();
        for row in queries.chunks_exact(dims) {
            self.asked.push(row);
        }
        for first in (0..labels.len()).step_by(4) {
            let count = (labels.len() - first).min(4);
            let rows = std::array::from_fn(|q| self.asked.point(first + q.min(count - 1)));
            let left = codes.centroids.nearest::<4>(rows, &mut self.coarse);
            for (q, left) in left.into_iter().enumerate().take(count) {
                // None are measured where many are left.
                let left = if left.len() <= LEFT { left } else { &[] };
                let slots = left.iter().copied().filter(|cell| (*cell as usize) < cells.cells());
                self.pairs.push(first + q, slots);
            }
        }
        self.pairs.measure(&codes.middles, &self.asked);
        let mut begin = 0;
        for (query, end) in self.pairs.ends.iter().enumerate() {
            let pairs = self.pairs.squares[begin..*end].iter().zip(&self.pairs.slots[begin..*end]);
            if begin == *end {
                let row = self.asked.point(query);
                let place = query..query + 1;
                blocks::nearest(&cells.middles, dims, row, &mut labels[place.clone()], &mut squares[place]);
            } else {
                (squares[query], labels[query]) = least(pairs.map(|(square, cell)| (*square, *cell)));
            }
            begin = *end;
        }
    }

    /// The cells other than the nearest that queries may want, of each query.
    pub fn rank(&mut self, cells: &Cells, asking: Asking, ranks: &mut Ranks) {
        ranks.clear();
        self.pairs.clear();
        let (mut first, mut tried, mut failed) = (0, 0, 0);
        while first < asking.cells.len() {
            let rest = &asking.cells[first..];
            let same = rest.iter().take(4).take_while(|cell| **cell == rest[0]).count();
            // Where bytes leave many they are not asked again.
            let codes = cells.codes.as_ref().filter(|_| failed <= 8 + tried / 2);
            let is_done = codes.is_some_and(|codes| match same {
                1 => self.rank_by_bytes::<1>(cells, codes, first, same, asking),
                _ => self.rank_by_bytes::<4>(cells, codes, first, same, asking),
            });
            tried += 1;
            if is_done {
                first += same;
                if self.pairs.slots.len() > PAIRS {
                    self.flush(cells, asking, ranks);
                }
            } else {
                failed += 1;
                self.flush(cells, asking, ranks);
                let count = rest.len().min(4);
                self.rank_all(cells, first, count, asking, ranks);
                first += count;
            }
        }
        self.flush(cells, asking, ranks);
    }

    /// Leaves the cells that queries of one nearest cell may want with the pairs, unless they are many.
    fn rank_by_bytes<const Q: usize>(
        &mut self,
        cells: &Cells,
        codes: &Codes,
        first: usize,
        count: usize,
        asking: Asking,
    ) -> bool {
        let Asking { queries, cells: own, squares, reaches } = asking;
        let place = |q: usize| first + q.min(count - 1);
        let nears = std::array::from_fn(|q| cells.bounds.near(squares[place(q)]));
        let limits = cells.bounds.row(own[first] as usize);
        let rows = std::array::from_fn(|q| queries.point(place(q)));
        let reaches = std::array::from_fn(|q| reaches[place(q)]);
        let left = codes.centroids.within::<Q>(rows, limits, nears, reaches, &mut self.coarse);
        if left.iter().any(|left| left.len() > LEFT) {
            return false;
        }
        for (q, left) in left.into_iter().enumerate().take(count) {
            let others = |cell: &u32| *cell != own[first] && (*cell as usize) < cells.cells();
            self.pairs.push(first + q, left.iter().copied().filter(others));
        }
        true
    }

    /// Measures the pairs and ranks the queries that they are of.
    fn flush(&mut self, cells: &Cells, asking: Asking, ranks: &mut Ranks) {
        let Some(codes) = cells.codes.as_ref().filter(|_| !self.pairs.ends.is_empty()) else { return };
        self.pairs.measure(&codes.middles, asking.queries);
        let Pairs { queries, slots, squares, ends } = &mut self.pairs;
        let pairs = queries.iter().zip(slots.iter()).map(|(query, cell)| {
            let query = *query as usize;
            (asking.squares[query], asking.cells[query] as usize, *cell as usize)
        });
        cells.bounds.gaps_of(&squares[..slots.len()], pairs, &mut self.pair_gaps);
        let mut begin = 0;
        for end in ends.iter() {
            let reach = asking.reaches[ranks.ends.len()];
            let near = self.pair_gaps[begin..*end].iter().zip(&slots[begin..*end]);
            self.keys.clear();
            self.keys.extend(near.filter(|(gap, _)| **gap <= reach).map(|(gap, cell)| key_of(*gap, *cell)));
            ranks.push(&self.keys);
            begin = *end;
        }
        self.pairs.clear();
    }

    /// Ranks the next queries, up to four, by all centroids.
    fn rank_all(&mut self, cells: &Cells, first: usize, count: usize, asking: Asking, ranks: &mut Ranks) {
        let blocks = 0..cells.centroids.blocks();
        let mut distances = self.distances.each_mut().map(|distances| &mut distances[..]);
        if count == 1 {
            let [distances, ..] = &mut distances;
            cells.centroids.distances_of([asking.queries.point(first)], blocks, [distances]);
        } else {
            // Fewer than four at the end take no less time than four.
            let row = |q: usize| asking.queries.point(first + q.min(count - 1));
            cells.centroids.distances_of::<4>(std::array::from_fn(row), blocks, distances);
        }
        for q in 0..count {
            let (own, reach) = (asking.cells[first + q], asking.reaches[first + q]);
            cells.bounds.gaps(&self.distances[q], own as usize, &mut self.gaps);
            let count = near::keep(&self.gaps, &self.names, reach, &mut self.near, &mut self.near_names);
            let near = self.near.iter().zip(&self.near_names).take(count);
            let others = near.filter(|(_, cell)| **cell != VACANT && **cell != own);
            self.keys.clear();
            self.keys.extend(others.map(|(gap, cell)| key_of(*gap, *cell)));
            ranks.push(&self.keys);
        }
    }
}

fn key_of(gap: f32, cell: u32) -> u64 {
    u64::from(gap.to_bits()) << 32 | u64::from(cell)
}

/// The least square and its cell, the first of equals.
fn least(cells: impl Iterator<Item = (f32, u32)>) -> (f32, u32) {
    cells.fold((f32::INFINITY, 0), |least, one| if one.0 < least.0 { one } else { least })
}
