//! Package × package counts, exact whatever the order of the customers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Marks a package that is not a member.
pub const NO_MEMBER: u32 = u32::MAX;
/// ln(1 + days) is kept in this many steps a unit, so that its products sum exactly.
const STEPS: f64 = 64.0;

/// A package of one customer.
#[derive(Debug, Clone, Copy)]
pub struct Bought {
    /// Rank of the package.
    pub package: u32,
    /// Days with a purchase of it.
    pub days: i64,
    /// It was bought before the window, and in it.
    pub before: bool,
    pub next: bool,
}

impl Bought {
    /// Days before the window, as far as they can be told: one of the days is in it if any is.
    fn days_before(&self) -> i64 {
        if self.next { (self.days - 1).max(1) } else { self.days }
    }
}

/// Three square matrices over the members, filled by all workers at once: integers, so that the sums
/// do not depend on who adds first. Memory: 24 bytes a pair.
pub struct Gram {
    /// Ranks of the packages, ascending.
    pub members: Vec<u32>,
    /// Position among the members by rank, [`NO_MEMBER`] if none.
    pub position: Vec<u32>,
    /// Σ x·y with x = ln(1 + days) in steps, upper triangle.
    days: Vec<AtomicU64>,
    /// The same with what they had bought before the window, of customers that bought in it.
    before: Vec<AtomicU64>,
    /// Σ x over customers that bought the row before the window and the column in it.
    next: Vec<AtomicU64>,
}

fn zeros<T: Default>(count: usize) -> Vec<T> {
    std::iter::repeat_with(T::default).take(count).collect()
}

impl Gram {
    pub fn new(members: Vec<u32>, packages: usize) -> Self {
        let mut position = vec![NO_MEMBER; packages];
        for (at, package) in members.iter().enumerate() {
            position[*package as usize] = at as u32;
        }
        let pairs = members.len() * members.len();
        Self { members, position, days: zeros(pairs), before: zeros(pairs), next: zeros(pairs) }
    }

    /// Adds a customer; its packages in the order of their ranks.
    pub fn add(&self, bought: &[Bought]) {
        let n = self.members.len();
        let seen_next = bought.iter().any(|one| one.next);
        for (at, one) in bought.iter().enumerate() {
            let Some(row) = self.row(one.package) else { continue };
            let (steps, steps_before) = (steps(one.days), steps(one.days_before()));
            for other in &bought[at..] {
                let Some(column) = self.row(other.package) else { continue };
                let place = row * n + column;
                self.days[place].fetch_add(steps * self::steps(other.days), Ordering::Relaxed);
                // A customer that bought nothing in the window says nothing of what comes next.
                if seen_next && one.before && other.before {
                    let product = steps_before * self::steps(other.days_before());
                    self.before[place].fetch_add(product, Ordering::Relaxed);
                }
            }
            if one.before {
                for other in bought.iter().filter(|other| other.next) {
                    if let Some(column) = self.row(other.package) {
                        self.next[row * n + column].fetch_add(steps_before, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    fn row(&self, package: u32) -> Option<usize> {
        match self.position.get(package as usize) {
            Some(row) if *row != NO_MEMBER => Some(*row as usize),
            _ => None,
        }
    }

    /// Σ x·y as a full symmetric matrix.
    pub fn days(&self) -> Vec<f64> {
        mirrored(self.members.len(), &self.days)
    }

    /// The same before the window, of customers that bought in it.
    pub fn before(&self) -> Vec<f64> {
        mirrored(self.members.len(), &self.before)
    }

    /// Σ x over customers that bought the row before the window and the column in it.
    pub fn next(&self) -> Vec<f64> {
        self.next.iter().map(|sum| sum.load(Ordering::Relaxed) as f64 / STEPS).collect()
    }
}

/// ln(1 + days) in steps.
fn steps(days: i64) -> u64 {
    ((days as f64).ln_1p() * STEPS).round() as u64
}

fn mirrored(n: usize, upper: &[AtomicU64]) -> Vec<f64> {
    let mut full = vec![0.0; n * n];
    for row in 0..n {
        for column in row..n {
            let value = upper[row * n + column].load(Ordering::Relaxed) as f64 / (STEPS * STEPS);
            full[row * n + column] = value;
            full[column * n + row] = value;
        }
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bought(package: u32, days: i64, before: bool, next: bool) -> Bought {
        Bought { package, days, before, next }
    }

    #[test]
    fn counts_are_of_pairs_of_members_only() {
        let gram = Gram::new(vec![1, 3], 5);
        gram.add(&[bought(0, 1, true, true), bought(1, 2, true, false), bought(3, 1, true, true)]);
        gram.add(&[bought(3, 4, true, false)]);
        let (ln2, ln3, ln5) = (2f64.ln(), 3f64.ln(), 5f64.ln());
        let expected = [ln3 * ln3, ln3 * ln2, ln3 * ln2, ln2 * ln2 + ln5 * ln5];
        for (value, expected) in gram.days().iter().zip(expected) {
            assert!((value - expected).abs() < 0.03, "{value} {expected}");
        }
        // The second customer bought nothing in the window.
        let expected = [ln3 * ln3, ln3 * ln2, ln3 * ln2, ln2 * ln2];
        for (value, expected) in gram.before().iter().zip(expected) {
            assert!((value - expected).abs() < 0.03, "{value} {expected}");
        }
        for (value, expected) in gram.next().iter().zip([0.0, ln3, 0.0, ln2]) {
            assert!((value - expected).abs() < 0.03, "{value} {expected}");
        }
    }

    #[test]
    fn the_order_of_customers_does_not_show() {
        let customers: Vec<Vec<Bought>> = (0..200i64)
            .map(|c| {
                (0..6)
                    .filter(|p| (c >> p) & 1 == 1)
                    .map(|p| bought(p, c % 7 + 1, c % 2 == 0, c % 3 > 0))
                    .collect()
            })
            .collect();
        let (one, two) = (Gram::new((0..6).collect(), 6), Gram::new((0..6).collect(), 6));
        customers.iter().for_each(|customer| one.add(customer));
        customers.iter().rev().for_each(|customer| two.add(customer));
        assert_eq!(one.days(), two.days());
        assert_eq!(one.next(), two.next());
    }
}
