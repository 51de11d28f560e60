//! Who moved between the segments of two runs.

use std::cmp::Ordering;
use std::fmt::Debug;
use thiserror::Error;

/// Two lists that cannot be put beside each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MigrationError<E> {
    #[error(
        "the customers of the {} run are not in ascending order: row {row} holds {customer}",
        if *earlier { "earlier" } else { "later" }
    )]
    Order {
        earlier: bool,
        /// From 0.
        row: usize,
        customer: String,
    },
    #[error(
        "segment {segment} of the {} run is not among its {segments}",
        if *earlier { "earlier" } else { "later" }
    )]
    Segment { earlier: bool, segment: usize, segments: usize },
    #[error(transparent)]
    Read(#[from] E),
}

/// How many customers went from which segment to which. 8 bytes for each pair of segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    earlier: usize,
    later: usize,
    /// (earlier + 1) × (later + 1): the last row is of new customers, the last column of gone ones.
    counts: Vec<u64>,
}

/// The customers that went one way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MigrationRow {
    /// None: new in the later run.
    pub from: Option<usize>,
    /// None: gone from the later run.
    pub to: Option<usize>,
    pub customers: u64,
    /// Of all that come from the same place.
    pub share: f64,
}

impl Migration {
    /// No customers yet, for so many segments in either run.
    pub fn new(earlier: usize, later: usize) -> Self {
        Self { earlier, later, counts: vec![0; (earlier + 1) * (later + 1)] }
    }

    /// Adds the customers of two lists of (customer, segment from 0), each in ascending order of the
    /// customers and none twice. Reads both once, side by side, and holds one row of each.
    ///
    /// Errors: a list that is not in order, a segment that its run does not have, and what the lists
    /// themselves fail with. The counts then hold the rows before it.
    pub fn add<K: Ord + Debug, E>(
        &mut self,
        earlier: impl IntoIterator<Item = Result<(K, usize), E>>,
        later: impl IntoIterator<Item = Result<(K, usize), E>>,
    ) -> Result<(), MigrationError<E>> {
        let mut earlier = InOrder::new(earlier.into_iter(), true, self.earlier);
        let mut later = InOrder::new(later.into_iter(), false, self.later);
        earlier.step()?;
        later.step()?;
        loop {
            let order = match (&earlier.row, &later.row) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((before, _)), Some((after, _))) => before.cmp(after),
            };
            let from = if order.is_le() { earlier.step()? } else { None };
            let to = if order.is_ge() { later.step()? } else { None };
            self.count(from, to);
        }
    }

    /// Takes in the counts of other customers between the same runs. Ways between segments that these
    /// runs do not have are passed over.
    pub fn merge(&mut self, other: &Self) {
        for row in other.rows() {
            if row.customers > 0 && self.holds(row.from, row.to) {
                let cell = self.cell(row.from, row.to);
                self.counts[cell] += row.customers;
            }
        }
    }

    /// Every way from a segment (last: new) to a segment (last: gone), in the order of the segments, also
    /// those that nobody went; without the way from new to gone.
    pub fn rows(&self) -> Vec<MigrationRow> {
        let mut rows = Vec::with_capacity(self.counts.len());
        for (from, counts) in self.counts.chunks_exact(self.later + 1).enumerate() {
            let all: u64 = counts.iter().sum();
            for (to, customers) in counts.iter().enumerate() {
                let from = (from < self.earlier).then_some(from);
                let to = (to < self.later).then_some(to);
                if from.is_some() || to.is_some() {
                    let share = *customers as f64 / all.max(1) as f64;
                    rows.push(MigrationRow { from, to, customers: *customers, share });
                }
            }
        }
        rows
    }

    /// Share that stayed, of the customers of both runs; None if there is none. `same` says which segment
    /// of the later run an earlier one has become: compare their names, the two grids may differ.
    pub fn stable_share(&self, same: impl Fn(usize, usize) -> bool) -> Option<f64> {
        let (mut stayed, mut both) = (0_u64, 0_u64);
        for row in self.rows() {
            if let (Some(from), Some(to)) = (row.from, row.to) {
                both += row.customers;
                stayed += if same(from, to) { row.customers } else { 0 };
            }
        }
        (both > 0).then(|| stayed as f64 / both as f64)
    }

    fn count(&mut self, from: Option<usize>, to: Option<usize>) {
        let cell = self.cell(from, to);
        self.counts[cell] += 1;
    }

    fn holds(&self, from: Option<usize>, to: Option<usize>) -> bool {
        from.is_none_or(|from| from < self.earlier) && to.is_none_or(|to| to < self.later)
    }

    fn cell(&self, from: Option<usize>, to: Option<usize>) -> usize {
        from.unwrap_or(self.earlier) * (self.later + 1) + to.unwrap_or(self.later)
    }
}

/// One of the two lists, checked while it is read.
struct InOrder<K, I> {
    rows: I,
    row: Option<(K, usize)>,
    read: usize,
    earlier: bool,
    segments: usize,
}

impl<K: Ord + Debug, E, I: Iterator<Item = Result<(K, usize), E>>> InOrder<K, I> {
    fn new(rows: I, earlier: bool, segments: usize) -> Self {
        Self { rows, row: None, read: 0, earlier, segments }
    }

    /// Goes on to the next row and gives the segment of the one that was.
    fn step(&mut self) -> Result<Option<usize>, MigrationError<E>> {
        let earlier = self.earlier;
        let next = self.rows.next().transpose()?;
        if let Some((customer, segment)) = &next {
            if self.row.as_ref().is_some_and(|(before, _)| before >= customer) {
                let customer = format!("{customer:?}");
                return Err(MigrationError::Order { earlier, row: self.read, customer });
            }
            if *segment >= self.segments {
                let segments = self.segments;
                return Err(MigrationError::Segment { earlier, segment: *segment, segments });
            }
            self.read += 1;
        }
        Ok(std::mem::replace(&mut self.row, next).map(|(_, segment)| segment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    type Row<'a> = Result<(&'a [u8], usize), Infallible>;

    fn between<'a>(
        earlier: &[(&'a str, usize)],
        later: &[(&'a str, usize)],
    ) -> Result<Migration, MigrationError<Infallible>> {
        let rows = |list: &[(&'a str, usize)]| -> Vec<Row<'a>> {
            list.iter().map(|(customer, segment)| Ok((customer.as_bytes(), *segment))).collect()
        };
        let mut migration = Migration::new(2, 3);
        migration.add(rows(earlier), rows(later)).map(|()| migration)
    }

    #[test]
    fn customers_stay_move_come_and_go() {
        let earlier = [("b", 0), ("c", 1), ("d", 1), ("x", 0)];
        let later = [("a", 2), ("b", 0), ("d", 2), ("y", 1), ("z", 1)];
        let migration = between(&earlier, &later).expect("in order");
        let seen: Vec<_> = migration
            .rows()
            .into_iter()
            .filter(|row| row.customers > 0)
            .map(|row| (row.from, row.to, row.customers, row.share))
            .collect();
        let expected = [
            (Some(0), Some(0), 1, 0.5),
            (Some(0), None, 1, 0.5),
            (Some(1), Some(2), 1, 0.5),
            (Some(1), None, 1, 0.5),
            (None, Some(1), 2, 2.0 / 3.0),
            (None, Some(2), 1, 1.0 / 3.0),
        ];
        assert_eq!(seen, expected);
        assert_eq!(migration.rows().len(), 3 * 4 - 1);
        assert_eq!(migration.stable_share(|from, to| from == to), Some(0.5));
        assert_eq!(Migration::new(2, 2).stable_share(|_, _| true), None);
    }

    #[test]
    fn lists_out_of_order_and_unknown_segments_are_refused() {
        let swapped = between(&[("b", 0), ("a", 0)], &[]).expect_err("not in order");
        assert_eq!(
            swapped.to_string(),
            "the customers of the earlier run are not in ascending order: row 1 holds [97]"
        );
        let twice = between(&[], &[("a", 0), ("a", 1)]).expect_err("one twice");
        assert!(matches!(twice, MigrationError::Order { earlier: false, row: 1, .. }));
        let unknown = between(&[("a", 2)], &[]).expect_err("two segments");
        assert_eq!(unknown, MigrationError::Segment { earlier: true, segment: 2, segments: 2 });
        let mut migration = Migration::new(1, 1);
        let failing = migration.add::<u64, std::fmt::Error>([Err(std::fmt::Error)], []);
        assert_eq!(failing, Err(MigrationError::Read(std::fmt::Error)));
    }

    proptest! {
        #[test]
        fn the_merge_counts_what_a_map_counts_and_parts_add_up(
            earlier in prop::collection::btree_map(0_u32..40, 0_usize..3, 0..40),
            later in prop::collection::btree_map(0_u32..40, 0_usize..3, 0..40),
            split in 0_u32..40,
        ) {
            let rows = |list: &BTreeMap<u32, usize>, keep: &dyn Fn(u32) -> bool| -> Vec<_> {
                list.iter().filter(|(k, _)| keep(**k)).map(|(k, s)| Ok::<_, Infallible>((*k, *s))).collect()
            };
            let of = |keep: &dyn Fn(u32) -> bool| {
                let mut migration = Migration::new(3, 3);
                migration.add(rows(&earlier, keep), rows(&later, keep)).expect("in order");
                migration
            };
            let whole = of(&|_| true);
            let mut parts = of(&|customer| customer >= split);
            parts.merge(&of(&|customer| customer < split));
            prop_assert_eq!(&parts, &whole);
            for row in whole.rows() {
                let expected = (0..40_u32)
                    .filter(|k| earlier.contains_key(k) || later.contains_key(k))
                    .filter(|k| (earlier.get(k).copied(), later.get(k).copied()) == (row.from, row.to))
                    .count() as u64;
                prop_assert_eq!(row.customers, expected);
            }
        }
    }
}
