//! Which counts must be left out so that a reader cannot work out a small one.
//!
//! Counts of groups are tied to each other by sums that everybody knows: segments sum to all customers, the ways into a
//! segment to its customers, the combinations of two scores to either score. A small count is left out (primary
//! suppression). Others go with it (secondary suppression) until
//!
//! - in every sum the hidden counts of one sign are at least two, of `k` customers together, and
//! - no small count follows from the sums: it is not a linear combination of them and of the counts shown.
//!
//! Both are found by elimination on the ties, exactly, in the field of integers modulo 2³¹ − 1. What a reader may still
//! learn is a range: two hidden counts of twelve together are each between none and twelve. (Willenborg and de Waal,
//! Elements of Statistical Disclosure Control, 2001, chapters 5 and 6: the exact disclosure of linked tables.)
//!
//! Memory: ties × counts × 8 bytes. Time: that times the ties, for each count that is hidden on account of another.

use std::collections::BTreeSet;

/// Larger than any minor of ties that could make a difference: they hold nothing but 0, 1 and −1, few a row.
const PRIME: u64 = (1 << 31) - 1;

/// Counts that are about to be published, and what ties them together.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    cells: Vec<Cell>,
    ties: Vec<Tie>,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    customers: u64,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Shown,
    Hidden,
    /// In no report, and not to be worked out either if it is small.
    Unpublished,
}

/// Counts whose sum, less that of others, is known.
#[derive(Debug, Clone)]
struct Tie {
    plus: Vec<usize>,
    minus: Vec<usize>,
}

impl Counts {
    /// A count that will be published. Its number.
    pub fn add(&mut self, customers: u64) -> usize {
        self.cells.push(Cell { customers, status: Status::Shown });
        self.cells.len() - 1
    }

    /// A count that is not published, but may be worked out. Its number.
    pub fn unpublished(&mut self, customers: u64) -> usize {
        self.cells.push(Cell { customers, status: Status::Unpublished });
        self.cells.len() - 1
    }

    /// Everybody can know what counts sum to.
    pub fn total(&mut self, of: Vec<usize>) {
        self.ties.push(Tie { plus: of, minus: Vec::new() });
    }

    /// Some counts and some others have the same sum.
    pub fn same(&mut self, plus: Vec<usize>, minus: Vec<usize>) {
        self.ties.push(Tie { plus, minus });
    }

    /// Whether each count is left out, so that no group of 1 to `k` − 1 customers is told of.
    pub fn hidden(mut self, k: u64) -> Vec<bool> {
        for cell in &mut self.cells {
            if cell.status == Status::Shown && (1..k).contains(&cell.customers) {
                cell.status = Status::Hidden;
            }
        }
        while let Some(next) = self.exposed_by_one_tie(k).or_else(|| self.exposed_by_several(k)) {
            self.cells[next].status = Status::Hidden;
        }
        self.cells.iter().map(|cell| cell.status == Status::Hidden).collect()
    }

    /// Nobody is in an empty group, so it stays, and a reader can know that.
    fn is_unknown(&self, cell: usize) -> bool {
        self.cells[cell].status != Status::Shown && self.cells[cell].customers > 0
    }

    /// The smallest count shown, of equals the first.
    fn smallest_shown(&self, cells: impl Iterator<Item = usize>) -> Option<usize> {
        cells
            .filter(|cell| self.cells[*cell].status == Status::Shown && self.cells[*cell].customers > 0)
            .min_by_key(|cell| (self.cells[*cell].customers, *cell))
    }

    /// A count to hide because a tie tells of too few customers.
    fn exposed_by_one_tie(&self, k: u64) -> Option<usize> {
        self.ties.iter().find_map(|tie| {
            let unknown = |cells: &[usize]| -> Vec<usize> {
                cells.iter().copied().filter(|cell| self.is_unknown(*cell)).collect()
            };
            let (plus, minus) = (unknown(&tie.plus), unknown(&tie.minus));
            // With unknown counts on both sides only a difference is known.
            let told = match (plus.as_slice(), minus.as_slice()) {
                ([], told) | (told, []) => told,
                _ => return None,
            };
            let sum: u64 = told.iter().map(|cell| self.cells[*cell].customers).sum();
            // A large group alone, or with others, is no secret.
            if told.is_empty() || sum >= k && (told.len() >= 2 || !self.is_small(told[0], k)) {
                return None;
            }
            self.smallest_shown(tie.plus.iter().chain(&tie.minus).copied())
        })
    }

    fn is_small(&self, cell: usize, k: u64) -> bool {
        (1..k).contains(&self.cells[cell].customers)
    }

    /// A count to hide because a small one follows from several ties.
    fn exposed_by_several(&self, k: u64) -> Option<usize> {
        let rows = self.reduced();
        let mut exposed = rows.iter().filter_map(|row| {
            let mut unknown = (0..row.len()).filter(|cell| row[*cell] != 0 && self.is_unknown(*cell));
            let (only, other) = (unknown.next()?, unknown.next());
            (other.is_none() && self.is_small(only, k)).then_some(row)
        });
        // One for which nothing is left to hide is all that there is: no other group to hide behind.
        exposed.find_map(|row| self.smallest_shown((0..row.len()).filter(|cell| row[*cell] != 0)))
    }

    /// The ties in reduced row echelon form over the unknown counts. A count that is a combination of ties and of
    /// shown counts is alone among the unknown ones of its row, whose other counts are those that give it away.
    fn reduced(&self) -> Vec<Vec<u64>> {
        let mut rows: Vec<Vec<u64>> = self
            .ties
            .iter()
            .map(|tie| {
                let mut row = vec![0; self.cells.len()];
                tie.plus.iter().for_each(|cell| row[*cell] = (row[*cell] + 1) % PRIME);
                tie.minus.iter().for_each(|cell| row[*cell] = (row[*cell] + PRIME - 1) % PRIME);
                row
            })
            .collect();
        let tied: BTreeSet<usize> =
            self.ties.iter().flat_map(|tie| tie.plus.iter().chain(&tie.minus).copied()).collect();
        let mut done = 0;
        for column in tied.into_iter().filter(|cell| self.is_unknown(*cell)) {
            let Some(pivot) = (done..rows.len()).find(|row| rows[*row][column] != 0) else { continue };
            rows.swap(done, pivot);
            let inverse = power(rows[done][column], PRIME - 2);
            let pivot: Vec<u64> = rows[done].iter().map(|value| value * inverse % PRIME).collect();
            for (number, row) in rows.iter_mut().enumerate() {
                let factor = PRIME - row[column];
                if number != done && factor != PRIME {
                    row.iter_mut()
                        .zip(&pivot)
                        .for_each(|(value, pivot)| *value = (*value + factor * pivot) % PRIME);
                }
            }
            rows[done] = pivot;
            done += 1;
        }
        rows.truncate(done);
        rows
    }
}

/// `base` to an exponent, modulo the prime.
fn power(base: u64, exponent: u64) -> u64 {
    let (mut result, mut base, mut exponent) = (1, base, exponent);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % PRIME;
        }
        base = base * base % PRIME;
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests;
