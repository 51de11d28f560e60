//! The nearest points found so far, while an index searches.

use crate::numerics::blocks::{Collect, LANES, Room, VACANT};
use crate::numerics::near::{self, key_of};

/// The nearest points found so far of each query of a batch.
///
/// Candidates are appended unordered, distances and positions apart, as long as they are not beyond the query's
/// threshold. When there is no room for another block's, those beyond a bound of the `k` nearest are dropped
/// ([`near::bound`]), which sets the threshold; they are put in order once, at the end. Memory: some 14 bytes
/// times `k`, and 500, a query.
#[derive(Debug, Default)]
pub(super) struct Nearest {
    k: usize,
    /// Candidates that must be kept: one more than `k` where one of them may be excluded.
    wanted: usize,
    /// Places a query: one block more than candidates may stay.
    room: usize,
    distances: Vec<f32>,
    positions: Vec<u32>,
    counts: Vec<u32>,
    /// No point beyond is among the nearest; infinite until `wanted` are known.
    bars: Vec<f32>,
    /// One a query, or none at all.
    exclude: Vec<u32>,
    keys: Vec<u64>,
    sorted: Vec<u64>,
}

impl Nearest {
    /// Of some queries the `k` nearest, without the position that `exclude` names for each.
    pub fn new(queries: usize, k: usize, exclude: Option<&[u32]>) -> Self {
        let mut nearest = Self::default();
        nearest.reset(queries, k, exclude);
        nearest
    }

    /// Forgets everything but its memory.
    pub fn reset(&mut self, queries: usize, k: usize, exclude: Option<&[u32]>) {
        self.k = k;
        self.wanted = k + usize::from(exclude.is_some());
        self.room = (near::most(self.wanted) + self.wanted / 2).next_multiple_of(LANES) + 2 * LANES;
        // What lies beyond the counts is never read.
        self.distances.resize(queries * self.room, f32::INFINITY);
        self.positions.resize(queries * self.room, VACANT);
        self.keys.resize(self.room, 0);
        self.sorted.resize(self.room, 0);
        self.counts.clear();
        self.counts.resize(queries, 0);
        self.bars.clear();
        self.bars.resize(queries, f32::INFINITY);
        self.exclude.clear();
        self.exclude.extend(exclude.into_iter().flatten());
    }

    /// Takes it as known that no point beyond these distances, one a query or none at all, is among the nearest.
    pub fn expect_within(&mut self, bars: &[f32]) {
        self.bars[..bars.len()].copy_from_slice(bars);
    }

    fn excluded(&self, query: usize) -> u32 {
        self.exclude.get(query).copied().unwrap_or(VACANT)
    }

    pub fn queries(&self) -> usize {
        self.counts.len()
    }

    /// The nearest candidates of one query, nearest first, equal distances by position: the bits of the
    /// distance above the position.
    pub fn sorted(&mut self, query: usize) -> &[u64] {
        self.cut(query);
        let places = query * self.room..query * self.room + self.counts[query] as usize;
        let (without, keys) = ([VACANT, self.excluded(query)], &mut self.keys[..places.len()]);
        let (distances, positions) = (&self.distances[places.clone()], &self.positions[places.clone()]);
        let count = near::put_keys(distances, positions, without, keys);
        near::sort(keys, &mut self.sorted[..places.len()]);
        &self.sorted[..count.min(self.k)]
    }

    /// A distance above which nothing can be among the nearest: infinite until there are enough.
    pub fn threshold(&self, query: usize) -> f32 {
        self.bars[query]
    }

    /// Whether the query has as many neighbours as a pool of `points` can give it.
    pub fn is_full(&mut self, query: usize, points: usize) -> bool {
        let excluded = (self.excluded(query) as usize) < points;
        let most = self.k.min(points - usize::from(excluded));
        self.bars[query] < f32::INFINITY || self.sorted(query).len() >= most
    }

    /// The distance of the `k`-th nearest so far, infinite when there are fewer, which is the threshold from then on. Unlike
    /// other thresholds it does not depend on the order of offers, nor on what was cut on the way.
    pub fn settle(&mut self, query: usize) -> f32 {
        let places = query * self.room..(query + 1) * self.room;
        let (distances, positions) = (&mut self.distances[places.clone()], &mut self.positions[places]);
        let mut count = self.counts[query] as usize;
        if let Some(excluded) = self.exclude.get(query)
            && let Some(place) = positions[..count].iter().position(|position| position == excluded)
        {
            count -= 1;
            (distances[place], positions[place]) = (distances[count], positions[count]);
            self.counts[query] = count as u32;
        }
        let blocks = count.next_multiple_of(LANES);
        distances[count..blocks].fill(f32::INFINITY);
        let (distances, positions) =
            (distances[..blocks].as_chunks_mut().0, positions[..blocks].as_chunks_mut().0);
        let bar = near::kth(distances, self.k, self.bars[query]);
        if bar < f32::INFINITY {
            self.counts[query] = near::retain(distances, positions, bar) as u32;
        }
        // Infinite when so few are within a threshold that counted the excluded one.
        self.bars[query] = bar.min(self.bars[query]);
        bar
    }

    /// Offers one point that the query has not been offered before.
    #[inline(always)]
    pub fn offer(&mut self, query: usize, position: u32, distance: f32) {
        if distance <= self.bars[query] {
            let place = query * self.room + self.counts[query] as usize;
            self.distances[place] = distance;
            self.positions[place] = position;
            self.appended(query, 1);
        }
    }

    /// Offers the first `count` of sixteen points to the queries beside them, without a branch for each that is too far.
    pub fn offer_some(
        &mut self,
        queries: &[u32; LANES],
        distances: &[f32; LANES],
        count: usize,
        position: impl Fn(usize) -> u32,
    ) {
        let mut near = 0u32;
        for lane in 0..LANES {
            near |= u32::from(distances[lane] <= self.bars[queries[lane] as usize]) << lane;
        }
        near &= (1 << count) - 1;
        while near != 0 {
            let lane = near.trailing_zeros() as usize;
            near &= near - 1;
            let query = queries[lane] as usize;
            let place = query * self.room + self.counts[query] as usize;
            self.distances[place] = distances[lane];
            self.positions[place] = position(lane);
            self.appended(query, 1);
        }
    }

    /// Offers many points, whole blocks of them, to a query that has not been offered any.
    pub fn begin(&mut self, query: usize, distances: &[[f32; LANES]], positions: &[[u32; LANES]]) {
        let bound = near::bound(distances, self.wanted);
        self.bars[query] = bound.value;
        let places = query * self.room..(query + 1) * self.room;
        if bound.within + LANES <= self.room {
            let room = (&mut self.distances[places.clone()], &mut self.positions[places]);
            let kept = near::keep(distances, positions, bound.value, room.0, room.1);
            self.counts[query] = kept as u32;
        } else {
            for (distance, position) in distances.as_flattened().iter().zip(positions.as_flattened()) {
                if *position != VACANT {
                    self.offer(query, *position, *distance);
                }
            }
        }
    }

    /// So many candidates were appended. Returns the threshold from then on.
    #[inline(always)]
    fn appended(&mut self, query: usize, count: usize) -> f32 {
        let count = self.counts[query] as usize + count;
        self.counts[query] = count as u32;
        if count + LANES > self.room || (count >= self.wanted && self.bars[query] == f32::INFINITY) {
            self.cut(query);
        }
        self.bars[query]
    }

    /// Drops candidates that are not among the nearest, if there are many.
    #[inline(never)]
    fn cut(&mut self, query: usize) {
        let count = self.counts[query] as usize;
        if count < self.wanted || (count <= near::most(self.wanted) && self.bars[query] < f32::INFINITY) {
            return;
        }
        let places = query * self.room..(query + 1) * self.room;
        let (distances, positions) = (&mut self.distances[places.clone()], &mut self.positions[places]);
        let blocks = count.next_multiple_of(LANES);
        distances[count..blocks].fill(f32::INFINITY);
        let mut bar = near::bound(distances[..blocks].as_chunks().0, self.wanted).value;
        let mut kept = if bar < f32::INFINITY {
            // Vacant slots are infinitely far.
            near::retain(distances[..blocks].as_chunks_mut().0, positions[..blocks].as_chunks_mut().0, bar)
        } else {
            let mut kept = 0;
            for place in 0..count {
                (distances[kept], positions[kept]) = (distances[place], positions[place]);
                kept += usize::from(positions[place] != VACANT);
            }
            kept
        };
        if kept + LANES > self.room {
            // Many are equally far: the lower positions are nearer.
            for (key, (distance, position)) in self.keys.iter_mut().zip(distances.iter().zip(&*positions)) {
                *key = key_of(*distance, *position);
            }
            let keys = &mut self.keys[..kept];
            keys.select_nth_unstable(self.wanted - 1);
            for (place, key) in keys[..self.wanted].iter().enumerate() {
                (distances[place], positions[place]) = (distance_of(*key), *key as u32);
            }
            bar = distance_of(keys[self.wanted - 1]);
            kept = self.wanted;
        }
        self.bars[query] = bar.min(self.bars[query]);
        self.counts[query] = kept as u32;
    }
}

/// Leaves what a scan finds with the queries that are asked together.
pub(super) struct Finds<'a, const Q: usize> {
    pub best: &'a mut Nearest,
    /// Of every slot of the points.
    pub positions: &'a [u32],
    pub queries: [usize; Q],
}

impl<const Q: usize> Collect for Finds<'_, Q> {
    #[inline(always)]
    fn room(&mut self, q: usize, block: usize) -> Room<'_> {
        let query = self.queries[q];
        let (names, _) = self.positions[block * LANES..].split_first_chunk().expect("a position a slot");
        let Nearest { room, distances, positions, counts, .. } = &mut *self.best;
        Room::at(query * *room + counts[query] as usize, names, distances, positions)
    }

    #[inline(always)]
    fn took(&mut self, q: usize, count: usize) -> f32 {
        self.best.appended(self.queries[q], count)
    }
}

/// The distance in a candidate's upper half.
pub(super) fn distance_of(key: u64) -> f32 {
    f32::from_bits((key >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::super::index::{NOTHING, Neighbours};
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
        out.extend(&mut best);
        assert_eq!(out.of(0), (&[2, 0, 1][..], &[0.5, 2.0, 2.0][..]));
        assert_eq!(out.of(1), (&[3][..], &[f32::INFINITY][..]), "an overflow is still a neighbour");
        assert_eq!((out.k(), out.queries()), (3, 2));
        assert!((2.0..f32::INFINITY).contains(&best.threshold(0)));
    }

    #[test]
    fn a_query_is_full_when_the_pool_has_no_others() {
        let mut best = Nearest::new(1, 5, Some(&[1]));
        best.offer(0, 0, 1.0);
        assert!(best.is_full(0, 2) && !best.is_full(0, 3));
        best.offer(0, 1, 1.0);
        assert!(!best.is_full(0, 3), "the excluded point is no neighbour");
    }

    /// All ways to offer give the nearest of 2,000 points, whatever is cut on the way: many equal, all equal,
    /// infinitely far, all different.
    #[test]
    fn cutting_back_changes_no_answer() {
        let distances: [fn(u32) -> f32; 4] = [
            |at| ((at * 7919) % 500) as f32,
            |_| 1.0,
            |at| if at % 3 == 0 { f32::INFINITY } else { 2.0 },
            |at| ((at * 7919) % 2_003) as f32,
        ];
        for (distance, k) in distances.into_iter().flat_map(|d| [1, 3, 40, 1_999].map(|k| (d, k))) {
            let mut all: Vec<(f32, u32)> =
                (0..2_000).filter(|at| *at != 5).map(|at| (distance(at), at)).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let expected: Vec<u32> = all[..k].iter().map(|(_, at)| *at).collect();

            let mut best = Nearest::new(3, k, Some(&[5, 5, 5]));
            for at in 0..2_000 {
                best.offer(0, at, distance(at));
                if at % 300 == 0 {
                    best.settle(0);
                }
            }
            assert_eq!(best.settle(0), all[k - 1].0);
            let positions: Vec<[u32; LANES]> = (0..125)
                .map(|block| std::array::from_fn(|lane| block * LANES as u32 + lane as u32))
                .collect();
            let distances: Vec<[f32; LANES]> = positions.iter().map(|block| block.map(distance)).collect();
            best.begin(1, &distances, &positions);
            assert_eq!(best.settle(1), all[k - 1].0);
            for (some, names) in distances.iter().zip(&positions) {
                best.offer_some(&[2; LANES], some, 9, |lane| names[lane]);
                let (mut some, mut names) = (*some, *names);
                some.rotate_left(9);
                names.rotate_left(9);
                best.offer_some(&[2; LANES], &some, LANES - 9, |lane| names[lane]);
            }
            assert_eq!(best.settle(2), all[k - 1].0);
            for query in 0..3 {
                let found: Vec<u32> = best.sorted(query).iter().map(|key| *key as u32).collect();
                assert_eq!(found, expected, "k = {k}, query {query}");
            }
        }
    }
}
