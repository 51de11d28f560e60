//! How strongly two columns go together: correlations of numbers, of ranks, and of a score with yes or no.

use thiserror::Error;

/// Two columns that cannot be compared.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CorrelationError {
    #[error("the columns have different lengths: {left} and {right}")]
    Lengths { left: usize, right: usize },
    #[error("row {row} holds {value}, which is not a finite number")]
    NotFinite { row: usize, value: f64 },
}

/// Exact sums over pairs of whole numbers, from which their correlation follows.
///
/// Sums of parts add up to the sums of the whole, to the bit and in any order. They cannot overflow while
/// (number of pairs) × (largest magnitude)² stays below 2^127. 96 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PairSums {
    pub count: u64,
    pub x: i128,
    pub y: i128,
    pub xx: i128,
    pub xy: i128,
    pub yy: i128,
}

impl PairSums {
    pub fn add(&mut self, x: i64, y: i64) {
        let (x, y) = (i128::from(x), i128::from(y));
        self.merge(&Self { count: 1, x, y, xx: x * x, xy: x * y, yy: y * y });
    }

    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.x = self.x.wrapping_add(other.x);
        self.y = self.y.wrapping_add(other.y);
        self.xx = self.xx.wrapping_add(other.xx);
        self.xy = self.xy.wrapping_add(other.xy);
        self.yy = self.yy.wrapping_add(other.yy);
    }

    /// Pearson's correlation; None if one of the two does not vary.
    pub fn pearson(&self) -> Option<f64> {
        let n = i128::from(self.count);
        let spread = |of_products: i128, a: i128, b: i128| {
            let exact = n.checked_mul(of_products).zip(a.checked_mul(b)).and_then(|(l, r)| l.checked_sub(r));
            // Past 128 bits floating point is left. It loses digits if a mean is far from 0.
            exact.map_or_else(|| n as f64 * of_products as f64 - a as f64 * b as f64, |exact| exact as f64)
        };
        let together = spread(self.xy, self.x, self.y);
        ratio(together, spread(self.xx, self.x, self.x), spread(self.yy, self.y, self.y))
    }
}

/// Pearson's correlation of two columns, sums in the order of the rows; None if one does not vary.
/// Two passes.
pub fn pearson(x: &[f64], y: &[f64]) -> Result<Option<f64>, CorrelationError> {
    check(x, y.len())?;
    check(y, x.len())?;
    let n = x.len() as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let (mut together, mut in_x, mut in_y) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - mean_x, y - mean_y);
        together += x * y;
        in_x += x * x;
        in_y += y * y;
    }
    Ok(ratio(together, in_x, in_y))
}

/// Spearman's correlation (1904): Pearson's of the ranks, where equal values share their mean rank.
///
/// Ranks are kept as whole numbers of halves, so the order of the rows does not show. None if a column
/// does not vary. Cost: two sorts, 32 bytes a row.
pub fn spearman(x: &[f64], y: &[f64]) -> Result<Option<f64>, CorrelationError> {
    check(x, y.len())?;
    check(y, x.len())?;
    let mut sums = PairSums::default();
    for (x, y) in doubled_ranks(x).into_iter().zip(doubled_ranks(y)) {
        sums.add(x, y);
    }
    Ok(sums.pearson())
}

/// The area under the ROC curve: the probability that a row that came true has the higher score than one
/// that did not, where equal scores count half (Mann and Whitney 1947; Hanley and McNeil 1982).
///
/// Counted in whole pairs, so the order of the rows does not show. None if every row or no row came
/// true. Cost: one sort, 16 bytes a row.
pub fn auc(scores: &[f64], came_true: &[bool]) -> Result<Option<f64>, CorrelationError> {
    check(scores, came_true.len())?;
    let mut rows: Vec<(f64, bool)> = scores.iter().copied().zip(came_true.iter().copied()).collect();
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    Ok(auc_of_groups(rows.chunk_by(|a, b| a.0 == b.0).map(|tied| {
        let yes = tied.iter().filter(|row| row.1).count() as u64;
        (yes, tied.len() as u64 - yes)
    })))
}

/// The same from groups of equal score, in ascending order of score: how many of each came true and how
/// many did not.
pub fn auc_of_groups(groups: impl IntoIterator<Item = (u64, u64)>) -> Option<f64> {
    let (mut all_yes, mut all_no, mut doubled_wins) = (0_u128, 0_u128, 0_u128);
    for (yes, no) in groups {
        let (yes, no) = (u128::from(yes), u128::from(no));
        doubled_wins += yes * (2 * all_no + no);
        all_yes += yes;
        all_no += no;
    }
    let pairs = all_yes * all_no;
    (pairs > 0).then(|| doubled_wins as f64 / (2.0 * pairs as f64))
}

fn check(values: &[f64], other: usize) -> Result<(), CorrelationError> {
    if values.len() != other {
        return Err(CorrelationError::Lengths { left: values.len(), right: other });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(row) => Err(CorrelationError::NotFinite { row, value: values[row] }),
        None => Ok(()),
    }
}

fn ratio(together: f64, in_x: f64, in_y: f64) -> Option<f64> {
    // Two roots: the product of the spreads may overflow where they do not.
    let correlation = together / in_x.sqrt() / in_y.sqrt();
    (in_x > 0.0 && in_y > 0.0 && correlation.is_finite()).then(|| correlation.clamp(-1.0, 1.0))
}

/// Twice the rank of every value, from the middle of the ranks; ties share the mean of their ranks.
fn doubled_ranks(values: &[f64]) -> Vec<i64> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_unstable_by(|a, b| values[*a as usize].total_cmp(&values[*b as usize]));
    let mut ranks = vec![0; values.len()];
    let mut below = 0_i64;
    for tied in order.chunk_by(|a, b| values[*a as usize] == values[*b as usize]) {
        let size = tied.len() as i64;
        let doubled = 2 * below + size + 1 - (values.len() as i64 + 1);
        tied.iter().for_each(|row| ranks[*row as usize] = doubled);
        below += size;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(actual: Option<f64>, expected: f64) {
        let actual = actual.expect("both vary");
        assert!((actual - expected).abs() < 1e-14, "{actual} is not {expected}");
    }

    /// Anscombe (1973), "Graphs in statistical analysis", set I: correlation .8164205163448399.
    #[test]
    fn the_first_of_anscombes_quartet() {
        let x = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0];
        let y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68];
        near(pearson(&x, &y).expect("finite"), 0.816_420_516_344_839_9);
        let mut sums = PairSums::default();
        x.iter().zip(y).for_each(|(x, y)| sums.add(*x as i64, (y * 100.0).round() as i64));
        near(sums.pearson(), 0.816_420_516_344_839_9);
        // Ranks of y 7 4 6 9 8 10 5 1 11 2 3, of x 7 5 10 6 8 11 3 1 9 4 2: Σd² = 40, 1 − 6·40/1320.
        near(spearman(&x, &y).expect("finite"), 1.0 - 240.0 / 1_320.0);
    }

    #[test]
    fn ties_share_ranks() {
        // Ranks 1 2.5 2.5 4 against 1 2 3 4: 4.5 / √(4.5 × 5).
        let correlation = spearman(&[1.0, 7.0, 7.0, 9.0], &[0.1, 0.2, 0.3, 0.4]).expect("finite");
        near(correlation, 4.5 / (4.5_f64 * 5.0).sqrt());
        assert_eq!(doubled_ranks(&[5.0, 5.0, 1.0]), [1, 1, -2], "ranks 2.5, 2.5 and 1 from the middle 2");
    }

    #[test]
    fn auc_counts_pairs_and_halves_ties() {
        // Yes at 3 and 1, no at 2, 1 and 0: wins 3 + 1 and one tie, of 6 pairs.
        let area = auc(&[3.0, 1.0, 2.0, 1.0, 0.0], &[true, true, false, false, false]).expect("finite");
        assert_eq!(area, Some(4.5 / 6.0));
        assert_eq!(auc(&[0.0, -0.0], &[true, false]), Ok(Some(0.5)), "the two zeros are equal");
        assert_eq!(auc(&[1.0, 2.0], &[true, true]), Ok(None));
        assert_eq!(auc(&[], &[]), Ok(None));
    }

    #[test]
    fn what_does_not_vary_or_is_no_number_says_so() {
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), Ok(None));
        assert_eq!(pearson(&[], &[]), Ok(None));
        assert_eq!(pearson(&[1.0], &[1.0, 2.0]), Err(CorrelationError::Lengths { left: 1, right: 2 }));
        let error = spearman(&[1.0, 2.0], &[1.0, f64::INFINITY]);
        assert_eq!(error, Err(CorrelationError::NotFinite { row: 1, value: f64::INFINITY }));
        assert!(matches!(auc(&[f64::NAN], &[true]), Err(CorrelationError::NotFinite { row: 0, .. })));
    }

    #[test]
    fn sums_past_128_bits_still_correlate() {
        let mut sums = PairSums::default();
        for step in -500_i64..500 {
            sums.add(step << 50, -(step << 50));
        }
        near(sums.pearson(), -1.0);
    }

    proptest! {
        #[test]
        fn exact_sums_agree_with_floating_point_in_any_order(
            mut rows in prop::collection::vec((-1_000_i64..1_000, -1_000_i64..1_000), 2..60),
        ) {
            let sums = |rows: &[(i64, i64)]| {
                let mut sums = PairSums::default();
                rows.iter().for_each(|(x, y)| sums.add(*x, *y));
                sums
            };
            let columns = |rows: &[(i64, i64)]| -> (Vec<f64>, Vec<f64>) {
                rows.iter().map(|(x, y)| (*x as f64, *y as f64)).unzip()
            };
            let before = sums(&rows);
            let (x, y) = columns(&rows);
            match (before.pearson(), pearson(&x, &y).expect("finite")) {
                (Some(exact), Some(float)) => prop_assert!((exact - float).abs() < 1e-9),
                (exact, _) => prop_assert_eq!(exact, None),
            }
            let ranked = spearman(&x, &y);
            let outcomes: Vec<bool> = y.iter().map(|y| *y > 0.0).collect();
            let area = auc(&x, &outcomes);
            rows.reverse();
            let (x, y) = columns(&rows);
            let outcomes: Vec<bool> = y.iter().map(|y| *y > 0.0).collect();
            prop_assert_eq!(sums(&rows), before);
            prop_assert_eq!((spearman(&x, &y), auc(&x, &outcomes)), (ranked, area));
        }
    }
}
