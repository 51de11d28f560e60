//! How far two labellings of the same things agree.

/// Two labellings that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgreementError {
    #[error("the labellings have different lengths: {left} and {right}")]
    Lengths { left: usize, right: usize },
    #[error("there is nothing to compare: the labellings are empty")]
    Empty,
}

/// The adjusted Rand index of two labellings of the same `n` things (Hubert and Arabie 1985,
/// "Comparing partitions", Journal of Classification 2).
///
/// 1 when the partitions are the same whatever their labels are called, 0 on average for labellings
/// that are independent given their cluster sizes, below 0 for less agreement than chance. Two
/// partitions that leave no room for chance (both of one cluster, or both of single things) are the
/// same, and give 1. Cost: one sort of `n` pairs, 8 n bytes.
pub fn adjusted_rand_index(left: &[u32], right: &[u32]) -> Result<f64, AgreementError> {
    if left.len() != right.len() {
        return Err(AgreementError::Lengths { left: left.len(), right: right.len() });
    }
    if left.is_empty() {
        return Err(AgreementError::Empty);
    }
    // Runs of sorted pairs are the cells of the contingency table: no hash order reaches the sum.
    let both: Vec<u64> = left.iter().zip(right).map(|(&l, &r)| u64::from(l) << 32 | u64::from(r)).collect();
    let together = pairs_in_runs(both);
    let in_left = pairs_in_runs(left.iter().map(|&l| u64::from(l)).collect());
    let in_right = pairs_in_runs(right.iter().map(|&r| u64::from(r)).collect());
    let all = pairs(left.len() as u64);
    let largest = (in_left + in_right) / 2.0;
    let expected = if all > 0.0 { in_left * in_right / all } else { 0.0 };
    if largest == expected {
        return Ok(1.0);
    }
    Ok((together - expected) / (largest - expected))
}

/// Unordered pairs of things with equal labels. Counted in integers: exact up to four billion things.
fn pairs_in_runs(mut labels: Vec<u64>) -> f64 {
    labels.sort_unstable();
    labels.chunk_by(|a, b| a == b).map(|run| pairs(run.len() as u64)).sum()
}

fn pairs(n: u64) -> f64 {
    (n * n.saturating_sub(1) / 2) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hubert and Arabie 1985 give the index in terms of the contingency table; this table of 13
    /// things (rows 2 1 1, 1 2 0, 1 1 4) was worked out by hand: Σ C(nij, 2) = 1+1+6 = 8,
    /// row pairs 6+3+15 = 24, column pairs 6+6+10 = 22, C(13, 2) = 78.
    #[test]
    fn a_contingency_table_worked_out_by_hand() {
        let table = [[2, 1, 1], [1, 2, 0], [1, 1, 4]];
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for (row, counts) in table.iter().enumerate() {
            for (column, &count) in counts.iter().enumerate() {
                left.extend(std::iter::repeat_n(row as u32 + 10, count));
                right.extend(std::iter::repeat_n(7 - column as u32, count));
            }
        }
        let expected = 24.0 * 22.0 / 78.0;
        let index = adjusted_rand_index(&left, &right).expect("same length");
        assert!((index - (8.0 - expected) / (23.0 - expected)).abs() < 1e-12, "{index}");
    }

    #[test]
    fn names_of_labels_do_not_matter() {
        assert_eq!(adjusted_rand_index(&[0, 0, 1, 1, 2], &[5, 5, 3, 3, 9]), Ok(1.0));
        let index = adjusted_rand_index(&[0, 0, 1, 2], &[0, 0, 1, 1]).expect("same length");
        assert!((index - 4.0 / 7.0).abs() < 1e-12, "scikit-learn's documented example: {index}");
        let opposed = adjusted_rand_index(&[0, 0, 1, 1], &[0, 1, 0, 1]).expect("same length");
        assert!((opposed + 0.5).abs() < 1e-12, "less agreement than chance: {opposed}");
    }

    #[test]
    fn trivial_partitions_and_errors() {
        assert_eq!(adjusted_rand_index(&[4, 4, 4], &[1, 1, 1]), Ok(1.0));
        assert_eq!(adjusted_rand_index(&[1, 2, 3], &[3, 1, 2]), Ok(1.0));
        assert_eq!(adjusted_rand_index(&[1], &[3]), Ok(1.0));
        assert_eq!(adjusted_rand_index(&[1, 1, 1], &[1, 2, 3]), Ok(0.0));
        assert_eq!(adjusted_rand_index(&[1], &[]), Err(AgreementError::Lengths { left: 1, right: 0 }));
        assert_eq!(adjusted_rand_index(&[], &[]), Err(AgreementError::Empty));
    }
}
