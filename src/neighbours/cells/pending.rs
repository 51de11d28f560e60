//! Points that may be among the nearest of a query, until they are measured sixteen at a time.

use crate::neighbours::nearest::Nearest;
use crate::numerics::blocks::LANES;
use crate::numerics::rows::Rows;

/// Queries and slots that are to be measured together: fewer than sixteen, between calls.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queries: [u32; LANES],
    slots: [u32; LANES],
    count: usize,
}

/// Where the points are, and who asks.
#[derive(Clone, Copy)]
pub(super) struct Measured<'a> {
    pub rows: &'a Rows,
    /// Of every slot.
    pub positions: &'a [u32],
    pub queries: &'a Rows,
}

impl Pending {
    /// Takes slots that a query wants measured.
    pub fn add(&mut self, query: usize, slots: &[u32], measured: Measured, best: &mut Nearest) {
        for slot in slots {
            measured.rows.prefetch(*slot);
            (self.queries[self.count], self.slots[self.count]) = (query as u32, *slot);
            self.count += 1;
            if self.count == LANES {
                self.measure(measured, best);
            }
        }
    }

    /// Measures what waits and offers it.
    pub fn measure(&mut self, measured: Measured, best: &mut Nearest) {
        let Measured { rows, positions, queries } = measured;
        if self.count > 0 {
            // The rest of sixteen is the first once more.
            let (query, slot) = (self.queries[0], self.slots[0]);
            self.queries[self.count..].fill(query);
            self.slots[self.count..].fill(slot);
            let distances = rows.distances(queries, &self.queries, &self.slots);
            let position = |lane: usize| positions[self.slots[lane] as usize];
            best.offer_some(&self.queries, &distances, self.count, position);
            self.count = 0;
        }
    }
}
