//! The nearest points found so far, while an index searches.

use crate::numerics::blocks::LANES;

/// Candidates that are kept beyond `k` before the farthest are cut off: at least so many.
const SPARE: usize = 32;

/// The nearest points found so far of each query of a batch.
///
/// A candidate is one integer, the bits of its distance above its position: squared distances are
/// never negative, so integers order by (distance, position). Candidates are appended, and cut back to
/// the nearest `k` when there is no room for more: with 50 neighbours that took 0.6 of the time of a list
/// that is always sorted (docs/performance.md). Memory: 8 × (k + max(k, 32)) bytes a query.
pub(super) struct Nearest<'a> {
    k: usize,
    room: usize,
    keys: Vec<u64>,
    counts: Vec<u32>,
    /// The `k`-th nearest when candidates were last cut back; all ones until there are `k`.
    bars: Vec<u64>,
    exclude: Option<&'a [u32]>,
}

impl<'a> Nearest<'a> {
    pub fn new(queries: usize, k: usize, exclude: Option<&'a [u32]>) -> Self {
        let room = k + k.max(SPARE);
        let (keys, counts) = (vec![0; queries * room], vec![0; queries]);
        Self { k, room, keys, counts, bars: vec![u64::MAX; queries], exclude }
    }

    pub fn queries(&self) -> usize {
        self.counts.len()
    }

    /// The nearest candidates of one query, nearest first.
    pub fn sorted(&mut self, query: usize) -> &[u64] {
        self.cut(query);
        let keys = &mut self.keys[query * self.room..][..self.counts[query] as usize];
        keys.sort_unstable();
        keys
    }

    /// A distance above which nothing can be among the nearest: infinite until there are `k`.
    pub fn threshold(&self, query: usize) -> f32 {
        match self.bars[query] {
            u64::MAX => f32::INFINITY,
            bar => distance_of(bar),
        }
    }

    /// The least such distance.
    pub fn least_threshold(&mut self, query: usize) -> f32 {
        self.cut(query);
        self.threshold(query)
    }

    /// Whether the query has as many neighbours as a pool of `points` can give it.
    pub fn is_full(&self, query: usize, points: usize) -> bool {
        let excluded = self.exclude.is_some_and(|exclude| (exclude[query] as usize) < points);
        self.counts[query] as usize >= self.k.min(points - usize::from(excluded))
    }

    /// Offers one point that the query has not been offered before.
    pub fn offer(&mut self, query: usize, position: u32, distance: f32) {
        let key = u64::from(distance.to_bits()) << 32 | u64::from(position);
        if key >= self.bars[query] || self.exclude.is_some_and(|exclude| exclude[query] == position) {
            return;
        }
        let count = self.counts[query] as usize;
        self.keys[query * self.room + count] = key;
        self.counts[query] = count as u32 + 1;
        if count + 1 == self.room || (count + 1 == self.k && self.bars[query] == u64::MAX) {
            self.cut(query);
        }
    }

    /// Cuts one query's candidates back to the nearest `k`.
    fn cut(&mut self, query: usize) {
        let count = self.counts[query] as usize;
        let settled = count == self.k && self.bars[query] != u64::MAX;
        if count < self.k || settled {
            return;
        }
        let keys = &mut self.keys[query * self.room..][..count];
        let (_, bar, _) = keys.select_nth_unstable(self.k - 1);
        self.bars[query] = *bar;
        self.counts[query] = self.k as u32;
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
            if let Some(position) = position(lane) {
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
        assert_eq!((best.threshold(0), out.k(), out.queries()), (2.0, 3, 2));
    }

    #[test]
    fn a_query_is_full_when_the_pool_has_no_others() {
        let mut best = Nearest::new(1, 5, Some(&[1]));
        best.offer(0, 0, 1.0);
        assert!(best.is_full(0, 2) && !best.is_full(0, 3));
    }

    #[test]
    fn cutting_back_changes_no_answer() {
        for k in [1, 3, 40] {
            let mut best = Nearest::new(1, k, None);
            let distance = |at: u32| ((at * 7919) % 500) as f32;
            for at in 0..2_000 {
                best.offer(0, at, distance(at));
                if at % 300 == 0 {
                    best.least_threshold(0);
                }
            }
            let mut all: Vec<(f32, u32)> = (0..2_000).map(|at| (distance(at), at)).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            assert_eq!(best.least_threshold(0), all[k - 1].0);
            let found: Vec<u32> = best.sorted(0).iter().map(|key| *key as u32).collect();
            assert_eq!(found, all[..k].iter().map(|(_, at)| *at).collect::<Vec<_>>());
        }
    }
}
