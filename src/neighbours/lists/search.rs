//! A search in lists: queries brought into the order of their heads, lists gone through, the rest left to the cells.

use super::{LANES, Lists, STAGE};
use crate::neighbours::cells::reach;
use crate::neighbours::index::{NOTHING, NeighbourIndex, Neighbours, SearchError};
use crate::neighbours::nearest::{Finds, Nearest};
use crate::numerics::blocks::{self, Blocks};
use crate::numerics::near::key_of;
use crate::numerics::rows::Rows;
use crate::numerics::simd::prefetch;
use std::ops::Range;

/// Queries that are put in order at once: of the more that come to a head together, the less is fetched for each.
const ORDERED: usize = 1 << 17;

/// Queries that are answered together.
const BATCH: usize = 512;

/// Queries that are left to the cells together.
const LEFT: usize = 1 << 14;

/// Queries that are fetched before they are wanted: they lie anywhere.
const AHEAD: usize = 8;

/// Blocks of a stage.
const BLOCKS: usize = STAGE / LANES;

/// Buffers of a search: some megabytes.
#[derive(Debug, Default)]
pub(super) struct Desk {
    order: Order,
    batch: Batch,
    left: Left,
}

/// A query with its head.
#[derive(Debug)]
struct Asker {
    head: u32,
    query: u32,
    /// Squared distance from the head.
    square: f32,
}

/// What brings queries into the order of their heads.
#[derive(Debug, Default)]
struct Order {
    labels: Vec<u32>,
    squares: Vec<f32>,
    /// Ward and query.
    by_ward: Vec<(u32, u32)>,
    /// The queries of a ward, row-major.
    rows: Vec<f32>,
    askers: Vec<Asker>,
}

/// Some queries on their way through their lists.
#[derive(Debug, Default)]
struct Batch {
    queries: Rows,
    exclude: Vec<u32>,
    /// How far each may be from its head.
    apart: Vec<f32>,
    best: Nearest,
    /// Queries of a head that want more of its list.
    open: Vec<u32>,
    /// The points of a stage, and their positions.
    points: Blocks,
    positions: Vec<[u32; LANES]>,
    /// Distances of four queries from them.
    distances: [[[f32; LANES]; BLOCKS]; 4],
}

/// Queries that want more than their list has.
#[derive(Debug, Default)]
struct Left {
    /// Row-major.
    queries: Vec<f32>,
    exclude: Vec<u32>,
    /// Of each the squared distance of the k-th nearest in its list.
    bars: Vec<f32>,
    /// Which of the search they are.
    names: Vec<u32>,
    found: Neighbours,
    merged: Vec<u64>,
}

impl Desk {
    /// Fills `out` with the nearest of what `lists` leads to for each query.
    pub fn search(
        &mut self,
        lists: &Lists,
        queries: &[f32],
        k: usize,
        exclude: Option<&[u32]>,
        out: &mut Neighbours,
    ) -> Result<(), SearchError> {
        let dims = lists.dims();
        out.resize(queries.len() / dims);
        for (some, queries) in queries.chunks(ORDERED * dims).enumerate() {
            let first = some * ORDERED;
            self.order.arrange(lists, queries);
            for some in self.order.askers.chunks(BATCH) {
                let excluded = |asker: &Asker| exclude.map(|exclude| exclude[first + asker.query as usize]);
                self.batch.begin(queries, dims, some);
                self.batch.exclude.extend(some.iter().filter_map(excluded));
                self.batch.best.reset(some.len(), k, exclude.map(|_| &self.batch.exclude[..]));
                let mut place = 0;
                for own in some.chunk_by(|a, b| a.head == b.head) {
                    let places = place..place + own.len();
                    place = places.end;
                    self.batch.go_through(lists, own[0].head as usize, places.clone());
                    for (place, asker) in places.zip(own) {
                        out.put(first + asker.query as usize, self.batch.best.sorted(place));
                    }
                    for open in self.batch.open.iter().map(|open| *open as usize) {
                        let asker = &some[open];
                        self.left.names.push(first as u32 + asker.query);
                        self.left.queries.extend_from_slice(self.batch.queries.point(open));
                        self.left.exclude.push(excluded(asker).unwrap_or(NOTHING));
                        self.left.bars.push(self.batch.best.threshold(open));
                    }
                }
                if self.left.names.len() >= LEFT {
                    self.left.answer(lists, k, out)?;
                }
            }
        }
        self.left.answer(lists, k, out)
    }
}

impl Order {
    /// The queries with their heads, in the order of these.
    fn arrange(&mut self, lists: &Lists, queries: &[f32]) {
        let dims = lists.dims();
        let Self { labels, squares, by_ward, rows, askers } = self;
        let count = queries.len() / dims;
        labels.resize(count, 0);
        squares.resize(count, 0.0);
        blocks::nearest(&lists.heads.wards, dims, queries, labels, squares);
        by_ward.clear();
        by_ward.extend(labels.iter().copied().zip(0..));
        by_ward.sort_unstable();
        askers.clear();
        for some in by_ward.chunk_by(|a, b| a.0 == b.0) {
            let ward = some[0].0 as usize;
            let first = lists.heads.firsts[ward] as u32;
            rows.clear();
            for (place, (_, query)) in some.iter().enumerate() {
                if let Some((_, later)) = some.get(place + AHEAD) {
                    queries[*later as usize * dims..][..dims]
                        .chunks(LANES)
                        .for_each(|line| prefetch(&line[0]));
                }
                rows.extend_from_slice(&queries[*query as usize * dims..][..dims]);
            }
            let (labels, squares) = (&mut labels[..some.len()], &mut squares[..some.len()]);
            blocks::nearest(lists.heads.of_ward(ward), dims, rows, labels, squares);
            let found = labels.iter().zip(&*squares);
            askers.extend(some.iter().zip(found).map(|((_, query), (head, square))| Asker {
                head: first + head,
                query: *query,
                square: *square,
            }));
        }
        askers.sort_unstable_by_key(|asker| u64::from(asker.head) << 32 | u64::from(asker.query));
    }
}

impl Batch {
    /// Takes queries, but for what each excludes.
    fn begin(&mut self, queries: &[f32], dims: usize, askers: &[Asker]) {
        let row = |asker: &Asker| &queries[asker.query as usize * dims..][..dims];
        self.queries.reset(dims);
        self.exclude.clear();
        self.apart.clear();
        for (place, asker) in askers.iter().enumerate() {
            if let Some(later) = askers.get(place + AHEAD) {
                row(later).chunks(LANES).for_each(|line| prefetch(&line[0]));
            }
            self.queries.push(row(asker));
            self.apart.push(reach(asker.square, dims));
        }
    }

    /// Takes the queries of a head through its list; those that want more than it has stay open.
    fn go_through(&mut self, lists: &Lists, head: usize, places: Range<usize>) {
        let (dims, rows, positions) = (lists.dims(), lists.rows(), lists.cells.positions());
        let (share, length) = (lists.share(), lists.stages * STAGE);
        let list = &lists.slots[head * length..][..length];
        let starts = &lists.starts[head * (lists.stages + 1)..][1..=lists.stages];
        let mut open = std::mem::take(&mut self.open);
        open.clear();
        open.extend(places.map(|place| place as u32));
        for (stage, start) in starts.iter().enumerate() {
            let later = list.iter().skip((stage + 1) * STAGE).take(STAGE);
            later.for_each(|slot| rows.prefetch(*slot));
            let (slots, _) = list[stage * STAGE..][..STAGE].as_chunks::<LANES>();
            self.points.take(rows, slots);
            self.positions.clear();
            self.positions.extend(slots.iter().map(|slots| slots.map(|slot| positions[slot as usize])));
            let (fours, rest) = open.as_chunks::<4>();
            fours.iter().for_each(|four| self.compare(*four, stage == 0));
            match *rest {
                [a, b, c] => self.compare([a, b, c], stage == 0),
                [a, b] => self.compare([a, b], stage == 0),
                [a] => self.compare([a], stage == 0),
                _ => {}
            }
            open.retain(|query| {
                let query = *query as usize;
                // With the whole share this is the triangle inequality. Far from a head few of the points that it
                // allows for count, the fewer the less is looked at.
                let bar = share * reach(self.best.settle(query), dims) + share.powi(3) * self.apart[query];
                *start <= bar.next_up()
            });
            if open.is_empty() {
                break;
            }
        }
        self.open = open;
    }

    /// Compares queries with the points of a stage.
    fn compare<const Q: usize>(&mut self, open: [u32; Q], is_first: bool) {
        let Self { queries, best, points, positions, distances, .. } = self;
        let places = open.map(|query| query as usize);
        let rows = places.map(|place| queries.point(place));
        if is_first {
            let mut free = distances.iter_mut();
            let out = places.map(|_| free.next().map_or(&mut [][..], |distances| &mut distances[..]));
            points.distances_of(rows, 0..BLOCKS, out);
            places
                .into_iter()
                .zip(distances)
                .for_each(|(place, distances)| best.begin(place, distances, positions));
        } else {
            let thresholds = places.map(|place| best.threshold(place));
            let finds = Finds { best, positions: positions.as_flattened(), queries: places };
            points.scan(rows, 0..BLOCKS, thresholds, finds);
        }
    }
}

impl Left {
    /// Answers from the cells what lists could not, together with what these gave.
    fn answer(&mut self, lists: &Lists, k: usize, out: &mut Neighbours) -> Result<(), SearchError> {
        if !self.names.is_empty() {
            let (exclude, bars) = (Some(&self.exclude[..]), Some(&self.bars[..]));
            lists.cells.search_within(&self.queries, k, exclude, bars, &mut self.found)?;
            for (place, name) in self.names.iter().enumerate() {
                merge(out.of(*name as usize), self.found.of(place), k, &mut self.merged);
                out.put(*name as usize, &self.merged);
            }
        }
        self.names.clear();
        self.queries.clear();
        self.exclude.clear();
        self.bars.clear();
        Ok(())
    }
}

/// Positions and squared distances, nearest first.
type Answers<'a> = (&'a [u32], &'a [f32]);

/// The `k` nearest of two answers, each point once. Without a branch for which is next, as that cannot be foreseen.
fn merge(one: Answers, other: Answers, k: usize, to: &mut Vec<u64>) {
    let key = |(positions, distances): Answers, at: usize| match (positions.get(at), distances.get(at)) {
        (Some(position), Some(distance)) => key_of(*distance, *position),
        _ => u64::MAX,
    };
    let (mut a, mut b) = (0, 0);
    to.clear();
    while to.len() < k {
        let (first, second) = (key(one, a), key(other, b));
        let next = first.min(second);
        if next == u64::MAX {
            break;
        }
        a += usize::from(first == next);
        b += usize::from(second == next);
        to.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::cells::Cells;
    use crate::neighbours::conformance::customers;

    /// More queries than are put in order at once, most of them left to the cells.
    #[test]
    fn many_queries_are_answered_as_few() {
        let (dims, k, few) = (2, 5, 700);
        let (points, queries) = (customers(3000, dims, 1), customers(few, dims, 2));
        let exclude: Vec<u32> = (0..few as u32).map(|query| query * 3).collect();
        let cells = Cells::build(&points, dims, None, 3, 2).expect("points");
        let lists = Lists::build(cells, &customers(900, dims, 4), k, 3, 2).expect("points");
        let times = (ORDERED + LEFT).div_ceil(few);
        let (mut one, mut all) = (Neighbours::new(), Neighbours::new());
        lists.search(&queries, k, Some(&exclude), &mut one).expect("queries");
        lists.search(&queries.repeat(times), k, Some(&exclude.repeat(times)), &mut all).expect("queries");
        assert_eq!(all.queries(), few * times);
        for query in 0..all.queries() {
            assert_eq!(all.of(query), one.of(query % few), "query {query}");
        }
    }

    #[test]
    fn two_answers_become_one_with_each_point_once() {
        let mut merged = Vec::new();
        let (one, other) =
            ((&[5, 1, 7][..], &[0.5, 1.0, 3.0][..]), (&[1, 2, 7, 9][..], &[1.0, 1.0, 3.0, 4.0][..]));
        let mut of = |one, other, k| {
            merge(one, other, k, &mut merged);
            merged.iter().map(|key| *key as u32).collect::<Vec<_>>()
        };
        assert_eq!(of(one, other, 4), [5, 1, 2, 7]);
        assert_eq!(of(other, one, 9), [5, 1, 2, 7, 9]);
        assert_eq!(of((&[], &[]), one, 2), [5, 1]);
    }
}
