//! Whether groups differ by more than chance, and by how much.
//!
//! With millions of customers any difference is significant, so every test comes with an effect size that
//! does not grow with the number of customers: Cramér's V and η². Cohen (1988) calls V = .1 small, .3 medium
//! and .5 large (for two columns), and η² = .01, .06 and .14.

use thiserror::Error;

/// A table that cannot be tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignificanceError {
    #[error("{cells} cells cannot be divided into rows of {columns}")]
    Shape { cells: usize, columns: usize },
    #[error(
        "nothing can be compared: {rows} of the rows and {columns} of the columns have any cases, and two of each are needed"
    )]
    OneLevel { rows: usize, columns: usize },
}

/// Pearson's test that the rows of a table have the same distribution over its columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquared {
    pub statistic: f64,
    pub degrees: usize,
    /// The probability of such a statistic or a larger one if the rows do not differ; 0 where it is too
    /// small for a floating-point number.
    pub p_value: f64,
    /// 0: no association; 1: the row tells the column.
    pub cramers_v: f64,
    /// The smallest count to be expected in a cell. Below 5 the p-value is rough (Cochran 1954).
    pub smallest_expected: f64,
}

/// The χ² test of independence (Pearson 1900) and Cramér's V (1946) for counts by row and column, rows
/// one after the other. Rows and columns without cases are left out, also from the degrees of freedom.
pub fn chi_squared(counts: &[u64], columns: usize) -> Result<ChiSquared, SignificanceError> {
    if columns == 0 || !counts.len().is_multiple_of(columns) {
        return Err(SignificanceError::Shape { cells: counts.len(), columns });
    }
    let total = |cells: &mut dyn Iterator<Item = &u64>| cells.map(|count| *count as f64).sum::<f64>();
    let rows: Vec<f64> = counts.chunks_exact(columns).map(|row| total(&mut row.iter())).collect();
    let of_columns: Vec<f64> =
        (0..columns).map(|column| total(&mut counts.iter().skip(column).step_by(columns))).collect();
    let filled = |sums: &[f64]| sums.iter().filter(|sum| **sum > 0.0).count();
    let (used_rows, used_columns) = (filled(&rows), filled(&of_columns));
    if used_rows < 2 || used_columns < 2 {
        return Err(SignificanceError::OneLevel { rows: used_rows, columns: used_columns });
    }
    let all: f64 = rows.iter().sum();
    let (mut statistic, mut smallest_expected) = (0.0, f64::INFINITY);
    for (row, in_row) in counts.chunks_exact(columns).zip(&rows) {
        for (count, in_column) in row.iter().zip(&of_columns) {
            let expected = in_row * in_column / all;
            if expected > 0.0 {
                let difference = *count as f64 - expected;
                statistic += difference * difference / expected;
                smallest_expected = expected.min(smallest_expected);
            }
        }
    }
    let degrees = (used_rows - 1) * (used_columns - 1);
    let largest = all * (used_rows.min(used_columns) - 1) as f64;
    Ok(ChiSquared {
        statistic,
        degrees,
        p_value: chi_squared_tail(statistic, degrees),
        cramers_v: (statistic / largest).sqrt().min(1.0),
        smallest_expected,
    })
}

/// The probability that a χ² variable of `degrees` degrees of freedom is above `statistic`: the
/// regularised upper incomplete gamma function Q(degrees/2, statistic/2), to about 12 digits.
///
/// The series for P below the middle, the continued fraction for Q above it (Abramowitz and Stegun 1964,
/// 6.5.29 and 6.5.31), the latter by Lentz's method as Thompson and Barnett (1986) changed it. Not above 1
/// nor below 0; 1 without degrees of freedom or for a statistic that is not above 0.
pub fn chi_squared_tail(statistic: f64, degrees: usize) -> f64 {
    if degrees == 0 || statistic.is_nan() || statistic <= 0.0 {
        return 1.0;
    }
    if statistic.is_infinite() {
        return 0.0;
    }
    let (a, x) = (degrees as f64 / 2.0, statistic / 2.0);
    let scale = (a * x.ln() - x - ln_gamma_of_half(degrees)).exp();
    let tail = if x < a + 1.0 { 1.0 - scale * series(a, x) } else { scale * fraction(a, x) };
    tail.clamp(0.0, 1.0)
}

/// What sums of one group of whole numbers tell: enough for its mean and variance. Sums of parts add up
/// to the sums of the whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupSums {
    pub count: u64,
    pub sum: i128,
    pub squares: i128,
}

impl GroupSums {
    pub fn add(&mut self, value: i64) {
        let value = i128::from(value);
        self.merge(&Self { count: 1, sum: value, squares: value * value });
    }

    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
        self.squares = self.squares.saturating_add(other.squares);
    }
}

/// η²: the share of the variance between all values that lies between the groups (Fisher 1925), 0 to 1;
/// None if the values do not vary. Groups without values are passed over.
///
/// There is no p-value beside it: that of F assumes normal groups of equal variance, and revenue is neither.
pub fn eta_squared(groups: &[GroupSums]) -> Option<f64> {
    let mut all = GroupSums::default();
    groups.iter().for_each(|group| all.merge(group));
    let n = all.count as f64;
    let exact = i128::from(all.count)
        .checked_mul(all.squares)
        .zip(all.sum.checked_mul(all.sum))
        .and_then(|(squares, square)| squares.checked_sub(square));
    let mean = all.sum as f64 / n;
    let total = exact.map_or_else(|| all.squares as f64 - n * mean * mean, |exact| exact as f64 / n);
    let between: f64 = groups
        .iter()
        .filter(|group| group.count > 0)
        .map(|group| {
            let from_mean = group.sum as f64 / group.count as f64 - mean;
            group.count as f64 * from_mean * from_mean
        })
        .sum();
    (total > 0.0).then(|| (between / total).clamp(0.0, 1.0))
}

/// ln Γ(n/2), from Γ(1) = 1 or Γ(1/2) = √π upwards.
fn ln_gamma_of_half(n: usize) -> f64 {
    let first = if n.is_multiple_of(2) { 0.0 } else { 0.5 * std::f64::consts::PI.ln() };
    let start = if n.is_multiple_of(2) { 2 } else { 1 };
    (start..n).step_by(2).fold(first, |sum, doubled| sum + (doubled as f64 / 2.0).ln())
}

/// Terms that neither expansion needs: some 10 √a of them do.
const TERMS: usize = 1_000_000;

/// P(a, x) without its factor x^a e^−x / Γ(a).
fn series(a: f64, x: f64) -> f64 {
    let mut term = 1.0 / a;
    let mut sum = term;
    for n in 1..TERMS {
        term *= x / (a + n as f64);
        sum += term;
        if term < sum * f64::EPSILON / 2.0 {
            break;
        }
    }
    sum
}

/// Q(a, x) without the same factor, for x not below a + 1.
fn fraction(a: f64, x: f64) -> f64 {
    /// Stands for a denominator of zero.
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut value = d;
    for n in 1..TERMS {
        let n = n as f64;
        let numerator = n * (a - n);
        b += 2.0;
        d = numerator * d + b;
        d = 1.0 / if d.abs() < TINY { TINY } else { d };
        c = b + numerator / c;
        c = if c.abs() < TINY { TINY } else { c };
        value *= c * d;
        if (c * d - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(actual: f64, expected: f64, tolerance: f64) {
        assert!((actual / expected - 1.0).abs() < tolerance, "{actual} is not {expected}");
    }

    /// The 5 % and 0.1 % points of every table of the distribution (Abramowitz and Stegun 1964, 26.8).
    #[test]
    fn points_of_the_table() {
        for (degrees, five_percent, one_in_1000) in
            [(1, 3.84146, 10.828), (2, 5.99146, 13.816), (9, 16.9190, 27.877), (30, 43.7730, 59.703)]
        {
            near(chi_squared_tail(five_percent, degrees), 0.05, 2e-5);
            near(chi_squared_tail(one_in_1000, degrees), 0.001, 3e-4);
        }
        near(chi_squared_tail(3.841_458_820_694_124, 1), 0.05, 1e-13);
        // erfc(5) = 1.5374597944280349e-12 is the tail of 50 at one degree.
        near(chi_squared_tail(50.0, 1), 1.537_459_794_428_035e-12, 1e-13);
    }

    #[test]
    fn tails_that_need_no_computing() {
        assert_eq!(chi_squared_tail(0.0, 3), 1.0);
        assert_eq!(chi_squared_tail(5.0, 0), 1.0);
        assert_eq!(chi_squared_tail(f64::INFINITY, 3), 0.0);
        assert_eq!(chi_squared_tail(1e9, 9), 0.0);
        let middle = chi_squared_tail(10_000.0, 10_000);
        assert!((middle - 0.498).abs() < 1e-3, "{middle}");
    }

    /// Worked by hand: rows 30 10 and 20 40, so expected 20 20 30 30 and χ² = 100 (2/20 + 2/30).
    #[test]
    fn a_table_worked_out_by_hand() {
        let test = chi_squared(&[30, 10, 20, 40], 2).expect("two of each");
        near(test.statistic, 100.0 * (2.0 / 20.0 + 2.0 / 30.0), 1e-14);
        assert_eq!((test.degrees, test.smallest_expected), (1, 20.0));
        near(test.cramers_v, (100.0_f64 / 6.0 / 100.0).sqrt(), 1e-14);
        // An empty row and an empty column change nothing.
        let padded = chi_squared(&[30, 0, 10, 0, 0, 0, 20, 0, 40], 3).expect("two of each");
        assert_eq!(padded, test);
        let told = chi_squared(&[5, 0, 0, 7], 2).expect("two of each");
        near(told.cramers_v, 1.0, 1e-14);
    }

    #[test]
    fn tables_that_cannot_be_tested() {
        assert_eq!(chi_squared(&[1, 2, 3], 2), Err(SignificanceError::Shape { cells: 3, columns: 2 }));
        assert_eq!(chi_squared(&[1], 0), Err(SignificanceError::Shape { cells: 1, columns: 0 }));
        assert_eq!(chi_squared(&[], 2), Err(SignificanceError::OneLevel { rows: 0, columns: 0 }));
        assert_eq!(chi_squared(&[3, 0, 2, 0], 2), Err(SignificanceError::OneLevel { rows: 2, columns: 1 }));
    }

    fn sums(values: &[i64]) -> GroupSums {
        let mut sums = GroupSums::default();
        values.iter().for_each(|value| sums.add(*value));
        sums
    }

    #[test]
    fn eta_squared_worked_out_by_hand() {
        // Means 2, 6 and 4 overall: between 3·4 + 3·4 = 24, within 2 + 2 = 4.
        let groups = [sums(&[1, 2, 3]), sums(&[]), sums(&[5, 6, 7])];
        near(eta_squared(&groups).expect("varies"), 24.0 / 28.0, 1e-14);
        assert_eq!(eta_squared(&[sums(&[4, 4]), sums(&[4])]), None);
        assert_eq!(eta_squared(&[]), None);
        assert_eq!(eta_squared(&[sums(&[1, 1]), sums(&[2])]), Some(1.0));
        // A large common amount does not cancel the differences away.
        let far = [[1, 2, 3], [5, 6, 7]].map(|group| sums(&group.map(|value| value + 10_000_000_000)));
        near(eta_squared(&far).expect("varies"), 24.0 / 28.0, 1e-6);
    }

    proptest! {
        /// For even degrees Q(k, x) = e^−x Σ x^n / n! over n < k, and every two degrees add a term.
        #[test]
        fn tails_satisfy_their_closed_form_and_recurrence(x in 0.01_f64..300.0, degrees in 1_usize..60) {
            let half = degrees as f64 / 2.0;
            let step = (half * x.ln() - x - ln_gamma_of_half(degrees + 2)).exp();
            let (here, next) = (chi_squared_tail(2.0 * x, degrees), chi_squared_tail(2.0 * x, degrees + 2));
            prop_assert!((next - here - step).abs() <= 1e-12 * next + 1e-14, "{here} + {step} = {next}");
            let (mut term, mut sum) = ((-x).exp(), 0.0);
            for n in 0..degrees {
                sum += term;
                term *= x / (n + 1) as f64;
            }
            let tail = chi_squared_tail(2.0 * x, 2 * degrees);
            prop_assert!((tail - sum).abs() <= 1e-12 * sum + 1e-14, "{tail} is not {sum}");
        }

        #[test]
        fn eta_squared_agrees_with_floating_point(
            groups in prop::collection::vec(prop::collection::vec(-1_000_i64..1_000, 1..20), 2..6),
        ) {
            let all: Vec<f64> = groups.iter().flatten().map(|value| *value as f64).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let total: f64 = all.iter().map(|value| (value - mean).powi(2)).sum();
            let within: f64 = groups
                .iter()
                .map(|group| {
                    let own = group.iter().sum::<i64>() as f64 / group.len() as f64;
                    group.iter().map(|value| (*value as f64 - own).powi(2)).sum::<f64>()
                })
                .sum();
            let sums: Vec<GroupSums> = groups.iter().map(|group| sums(group)).collect();
            match eta_squared(&sums) {
                Some(eta) => prop_assert!((eta - (1.0 - within / total)).abs() < 1e-9),
                None => prop_assert!(total < 1e-9),
            }
        }
    }
}
