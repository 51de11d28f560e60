//! Package × package counts, exact whatever the order of the customers.

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

/// A package of one customer as it counts.
struct Counted {
    /// Member.
    row: usize,
    /// ln(1 + days) in steps.
    steps: u64,
    /// The same before the window, 0 if it was not bought then.
    before: u64,
    /// 1 if it was bought in the window, else 0.
    next: u64,
}

/// Sums of a pair of members, side by side: whoever adds to one adds to the others.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
struct Sums {
    /// Σ x·y with x = ln(1 + days) in steps.
    days: u64,
    /// The same with what they had bought before the window, of customers that bought in it.
    before: u64,
    /// Σ x over customers that bought the first before the window and the second in it.
    next: u64,
    /// The same the other way round; counted twice, and not read, where a member meets itself.
    back: u64,
}

/// Sums over pairs of members, of some customers: integers, so that they do not depend on who adds first.
/// Memory: 16 bytes a pair (half of them are kept, 32 bytes each).
pub struct Gram {
    /// Ranks of the packages, ascending.
    pub members: Vec<u32>,
    /// Position among the members by rank, [`NO_MEMBER`] if none.
    pub position: Vec<u32>,
    /// The upper triangle, row by row.
    sums: Vec<Sums>,
    /// ln(1 + days) in steps of few days: asked for every package of every customer.
    steps: [u64; 128],
    customer: Vec<Counted>,
}

impl Gram {
    /// Bytes of the sums over `members`.
    pub fn bytes(members: usize) -> u64 {
        (members as u64).pow(2) * 16
    }

    pub fn new(members: Vec<u32>, packages: usize) -> Self {
        let mut position = vec![NO_MEMBER; packages];
        for (at, package) in members.iter().enumerate() {
            position[*package as usize] = at as u32;
        }
        let sums = vec![Sums::default(); members.len() * (members.len() + 1) / 2];
        let steps = std::array::from_fn(|days| steps(days as i64));
        Self { members, position, sums, steps, customer: Vec::new() }
    }

    /// Adds a customer; its packages in the order of their ranks.
    pub fn add(&mut self, bought: &[Bought]) {
        let steps = |days: i64| match usize::try_from(days).ok().and_then(|days| self.steps.get(days)) {
            Some(known) => *known,
            None => steps(days),
        };
        // A customer that bought nothing in the window says nothing of what comes next.
        let seen_next = u64::from(bought.iter().any(|one| one.next));
        self.customer.clear();
        self.customer.extend(bought.iter().filter_map(|one| {
            let row = *self.position.get(one.package as usize).filter(|row| **row != NO_MEMBER)?;
            Some(Counted {
                row: row as usize,
                steps: steps(one.days),
                before: if one.before { steps(one.days_before()) } else { 0 },
                next: u64::from(one.next),
            })
        }));
        let n = self.members.len();
        for (at, one) in self.customer.iter().enumerate() {
            let row = &mut self.sums[row_start(n, one.row)..][..n - one.row];
            let one_before = one.before * seen_next;
            for other in &self.customer[at..] {
                let sums = &mut row[other.row - one.row];
                sums.days += one.steps * other.steps;
                sums.before += one_before * other.before;
                sums.next += one.before * other.next;
                sums.back += other.before * one.next;
            }
        }
    }

    /// Adds the sums of other customers over the same members.
    pub fn merge(&mut self, other: &Self) {
        for (sums, more) in self.sums.iter_mut().zip(&other.sums) {
            sums.days += more.days;
            sums.before += more.before;
            sums.next += more.next;
            sums.back += more.back;
        }
    }

    /// Σ x·y as a full symmetric matrix.
    pub fn days(&self) -> Vec<f64> {
        self.full(|sums| [sums.days, sums.days], STEPS * STEPS)
    }

    /// The same before the window, of customers that bought in it.
    pub fn before(&self) -> Vec<f64> {
        self.full(|sums| [sums.before, sums.before], STEPS * STEPS)
    }

    /// Σ x over customers that bought the row before the window and the column in it.
    pub fn next(&self) -> Vec<f64> {
        self.full(|sums| [sums.next, sums.back], STEPS)
    }

    /// A matrix of what `of` takes from the sums of (row, column) and of (column, row).
    fn full(&self, of: impl Fn(&Sums) -> [u64; 2], unit: f64) -> Vec<f64> {
        let n = self.members.len();
        let mut full = vec![0.0; n * n];
        for row in 0..n {
            for (column, sums) in (row..n).zip(&self.sums[row_start(n, row)..]) {
                let [upper, lower] = of(sums).map(|sum| sum as f64 / unit);
                full[column * n + row] = lower;
                full[row * n + column] = upper;
            }
        }
        full
    }
}

/// Where a row of the upper triangle of n × n begins.
fn row_start(n: usize, row: usize) -> usize {
    row * n - row * row.saturating_sub(1) / 2
}

/// ln(1 + days) in steps.
fn steps(days: i64) -> u64 {
    ((days as f64).ln_1p() * STEPS).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bought(package: u32, days: i64, before: bool, next: bool) -> Bought {
        Bought { package, days, before, next }
    }

    #[test]
    fn counts_are_of_pairs_of_members_only() {
        let mut gram = Gram::new(vec![1, 3], 5);
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
        let empty = || Gram::new((0..6).collect(), 6);
        let (mut one, mut two, mut rest) = (empty(), empty(), empty());
        customers.iter().for_each(|customer| one.add(customer));
        customers[..80].iter().rev().for_each(|customer| two.add(customer));
        customers[80..].iter().for_each(|customer| rest.add(customer));
        two.merge(&rest);
        assert_eq!(one.days(), two.days());
        assert_eq!(one.before(), two.before());
        assert_eq!(one.next(), two.next());
    }

    #[test]
    fn sums_are_what_the_definition_says() {
        let customers: Vec<Vec<Bought>> = (0..40i64)
            .map(|c| {
                (0..5)
                    .filter(|p| (c >> p) & 1 == 1)
                    .map(|p| {
                        let p = p as u32;
                        bought(
                            p,
                            c % 5 + i64::from(p) * 70 + 1,
                            (c + i64::from(p)) % 2 == 0,
                            (c + i64::from(p)) % 3 == 0,
                        )
                    })
                    .collect()
            })
            .collect();
        let mut gram = Gram::new(vec![0, 1, 3, 4], 5);
        customers.iter().for_each(|customer| gram.add(customer));
        let (days, before, next) = (gram.days(), gram.before(), gram.next());
        let x = |days: i64| ((days as f64).ln_1p() * STEPS).round() / STEPS;
        for (row, one) in [0u32, 1, 3, 4].into_iter().enumerate() {
            for (column, other) in [0u32, 1, 3, 4].into_iter().enumerate() {
                let mut expected = [0.0; 3];
                for customer in &customers {
                    let find = |package| customer.iter().find(|own| own.package == package);
                    let (Some(one), Some(other)) = (find(one), find(other)) else { continue };
                    expected[0] += x(one.days) * x(other.days);
                    if customer.iter().any(|own| own.next) && one.before && other.before {
                        expected[1] += x(one.days_before()) * x(other.days_before());
                    }
                    if one.before && other.next {
                        expected[2] += x(one.days_before());
                    }
                }
                let at = row * 4 + column;
                for (found, expected) in [days[at], before[at], next[at]].into_iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-9, "{one} {other}: {found} {expected}");
                }
            }
        }
    }
}
