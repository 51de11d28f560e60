//! Search in cells with lists: what is near to places where customers are, put down beforehand.
//!
//! Where many more customers are looked up than are in the pool, many of them lie close together, and what is near to one is
//! near to the others. So a sample of those who will ask is divided finer than the pool is, into heads: k-means centroids of
//! the sample's rows, in wards (k-means again, so that the head of a query is found in two steps). Each head has a list of the
//! pool's points that are nearest to it, nearest first. A query goes through the list of its head in stages, until what is left
//! is too far: a point that is farther from the head than the head and the k-th nearest point are from the query, taken together, is
//! none of the nearest k. Effort is the share of this sum that is gone through. Queries of one head are compared with
//! points that are fetched once. A query that wants more than its list has is left to the cells, which need not look
//! beyond the distance that the list gave.
//!
//! It pays where tens of queries come to a head at a time, and in dimensions in which a sample of customers is
//! dense. On vectors that fill all their dimensions most queries are left to the cells, which still gain by what they are told.

use self::heads::Heads;
use self::search::Desk;
use super::calibrate::{Sample, search_on_threads};
use super::cells::{Cells, MOST_EFFORT, below};
use super::desks::Desks;
use super::index::{
    IndexError, NeighbourIndex, Neighbours, SearchError, Tunable, check_points, check_queries,
};
use crate::numerics::blocks::LANES;
use crate::numerics::rows::Rows;

/// Points that a query is compared with before it asks whether it needs more.
const STAGE: usize = 128;

/// Points of a list for each neighbour that will be asked: 256 for 20 and 512 for 50 were fastest, 1,024 little slower.
const POINTS_A_NEIGHBOUR: usize = 10;
const LEAST_STAGES: usize = 2;
const MOST_STAGES: usize = 8;

/// Points of the pool for each head. 24 to 48 made no difference.
const POINTS_A_HEAD: usize = 32;

/// Rows of the sample for each head, at least.
const ROWS_A_HEAD: usize = 4;

/// A head takes some 70 µs to build and saves a query about 1 µs (200,000 × 32): fewer queries than so many would hardly gain.
const QUERIES_A_HEAD: u64 = 128;

/// Lists that are made at once.
const TOGETHER: usize = 512;

/// A smaller pool needs no lists.
const LEAST_POINTS: usize = 16 * STAGE * MOST_STAGES;

/// Whether lists are worth their making, for so many queries for `k` neighbours of a pool of so many points.
pub fn are_worth(points: usize, queries: u64, k: usize) -> bool {
    points >= LEAST_POINTS
        && k <= STAGE * MOST_STAGES / 2
        && queries >= (points / POINTS_A_HEAD) as u64 * QUERIES_A_HEAD
}

/// Cells with lists.
#[derive(Clone, Debug)]
pub struct Lists {
    cells: Cells,
    /// Of the cells, unless all is looked at.
    cells_effort: usize,
    effort: usize,
    heads: Heads,
    /// Stages of each list.
    stages: usize,
    /// The lists of all heads: slots of the cells.
    slots: Vec<u32>,
    /// Of each head how far at least the points are from each stage on; last, those that are not in its list.
    starts: Vec<f32>,
    /// The point of each slot, where the cells have no such rows.
    rows: Rows,
    desks: Desks<Desk>,
}

impl Lists {
    /// Lists over a pool in cells, for queries like the row-major `sample`, of whom each will ask for `k` neighbours; exact until told
    /// otherwise.
    ///
    /// Cost: an exact search for each list. Memory: 4 bytes a point of a list (of 256 points for 20 neighbours: 32 bytes a
    /// point of the pool), the heads, and where the cells have no codes the pool once more. The same bits on any
    /// number of threads.
    pub fn build(
        mut cells: Cells,
        sample: &[f32],
        k: usize,
        seed: u64,
        threads: usize,
    ) -> Result<Self, IndexError> {
        let (dims, cells_effort) = (cells.dims(), cells.effort());
        let rows = check_points(sample, dims)?;
        let stages = (k * POINTS_A_NEIGHBOUR).div_ceil(STAGE).clamp(LEAST_STAGES, MOST_STAGES);
        // None where there are not even so many points: then all is left to the cells.
        let stages = stages.min(cells.len() / STAGE);
        let length = stages * STAGE;
        let wanted = (cells.len() / POINTS_A_HEAD).min(rows / ROWS_A_HEAD).max(1);
        let heads = Heads::train(sample, dims, wanted, seed, threads.max(1))?;
        let mut slot_of = vec![0; cells.len()];
        for (slot, position) in cells.positions().iter().enumerate() {
            if let Some(own) = slot_of.get_mut(*position as usize) {
                *own = slot as u32;
            }
        }
        cells.set_effort(MOST_EFFORT);
        let count = heads.len();
        let mut slots: Vec<u32> = Vec::with_capacity(count * length);
        let mut starts = Vec::with_capacity(count * (stages + 1));
        if length == 0 {
            starts.resize(count, f32::NEG_INFINITY);
        }
        for some in heads.rows.chunks(TOGETHER * dims).filter(|_| length > 0) {
            let asked = Sample { queries: some, exclude: None };
            let found = search_on_threads(&cells, asked, length, threads).map_err(IndexError::Sample)?;
            for head in 0..found.queries() {
                let (positions, squares) = found.of(head);
                for stage in positions.chunks(STAGE) {
                    // Inside a stage in the order of memory.
                    let first = slots.len();
                    slots.extend(stage.iter().map(|position| slot_of[*position as usize]));
                    slots[first..].sort_unstable();
                }
                // Rounded down.
                let far = |at: usize| (below(squares[at.min(length - 1)], dims).sqrt() as f32).next_down();
                starts.extend((0..=stages).map(|stage| far(stage * STAGE)));
            }
        }
        let rows = if cells.rows().is_some() { Rows::none(dims) } else { Rows::of(cells.points()) };
        let (effort, desks) = (MOST_EFFORT, Desks::default());
        Ok(Self { cells, cells_effort, effort, heads, stages, slots, starts, rows, desks })
    }

    /// Number of heads, each with a list.
    pub fn heads(&self) -> usize {
        self.heads.len()
    }

    /// Tunes the cells by themselves, whose effort then counts for what lists leave to them.
    pub fn tune_cells<R>(&mut self, tune: impl FnOnce(&mut Cells) -> R) -> R {
        let tuned = tune(&mut self.cells);
        self.cells_effort = self.cells.effort();
        self.set_effort(self.effort);
        tuned
    }

    /// The share that the cells go by with this effort.
    pub fn cells_share(&self) -> f32 {
        self.cells.effort() as f32 / MOST_EFFORT as f32
    }

    /// Up to which share of the distance within which neighbours can be a list is gone through: half of it with the least
    /// effort.
    pub fn share(&self) -> f32 {
        0.5 + 0.5 * (self.effort as f32 / MOST_EFFORT as f32)
    }

    fn rows(&self) -> &Rows {
        self.cells.rows().unwrap_or(&self.rows)
    }
}

impl Tunable for Lists {
    fn effort(&self) -> usize {
        self.effort
    }

    fn set_effort(&mut self, effort: usize) {
        self.effort = effort.clamp(1, MOST_EFFORT);
        let all = self.effort == MOST_EFFORT;
        self.cells.set_effort(if all { MOST_EFFORT } else { self.cells_effort });
    }

    fn most_effort(&self) -> usize {
        MOST_EFFORT
    }
}

impl NeighbourIndex for Lists {
    fn len(&self) -> usize {
        self.cells.len()
    }

    fn dims(&self) -> usize {
        self.cells.dims()
    }

    fn search(
        &self,
        queries: &[f32],
        k: usize,
        exclude: Option<&[u32]>,
        out: &mut Neighbours,
    ) -> Result<(), SearchError> {
        check_queries(queries, self.dims(), k, exclude)?;
        out.begin(k);
        self.desks.lend(|desk| desk.search(self, queries, k, exclude, out))
    }
}

mod heads;
mod search;
