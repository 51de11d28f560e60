//! Cells in an order in which neighbours in space have near numbers.
//!
//! Queries are answered in the order of their nearest cell, some thousands together. If near cells follow each other, these
//! queries want the same other cells too: more of them share a scan, and less of the pool passes through the caches.

/// The centroids (row-major) in the order of a tree that halves them: each half again, across the line between two that are far
/// apart.
pub fn in_space(centroids: &[f32], dims: usize) -> Vec<f32> {
    let mut rows: Vec<&[f32]> = centroids.chunks_exact(dims).collect();
    let mut keyed = Vec::with_capacity(rows.len());
    halve(&mut rows, &mut keyed);
    rows.concat()
}

fn halve<'a>(rows: &mut [&'a [f32]], keyed: &mut Vec<(f64, &'a [f32])>) {
    let Some(first) = rows.first().copied().filter(|_| rows.len() > 2) else { return };
    let one = farthest(rows, first);
    let other = farthest(rows, one);
    keyed.clear();
    // Where a row lies on the line: as |x|² cancels, by the difference of the distances from its ends.
    keyed.extend(rows.iter().map(|row| (square(row, one) - square(row, other), *row)));
    // Stable, so that equals stay in their order.
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    rows.iter_mut().zip(keyed.iter()).for_each(|(row, (_, sorted))| *row = sorted);
    let (low, high) = rows.split_at_mut(rows.len() / 2);
    halve(low, keyed);
    halve(high, keyed);
}

/// The row farthest from another, the first of equals.
fn farthest<'a>(rows: &[&'a [f32]], from: &'a [f32]) -> &'a [f32] {
    let mut best = (from, 0.0);
    for row in rows {
        let apart = square(row, from);
        if apart > best.1 {
            best = (row, apart);
        }
    }
    best.0
}

fn square(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::conformance::customers;

    #[test]
    fn neighbours_follow_each_other() {
        for dims in [1, 2, 7] {
            let rows = customers(200, dims, 1);
            let ordered = in_space(&rows, dims);
            let steps = |rows: &[f32]| -> f64 {
                let next = rows.chunks_exact(dims).skip(1);
                rows.chunks_exact(dims).zip(next).map(|(a, b)| square(a, b).sqrt()).sum()
            };
            assert!(steps(&ordered) < 0.7 * steps(&rows), "{dims}: {} {}", steps(&ordered), steps(&rows));
            let sorted = |rows: &[f32]| -> Vec<Vec<u32>> {
                let mut rows: Vec<Vec<u32>> =
                    rows.chunks_exact(dims).map(|row| row.iter().map(|x| x.to_bits()).collect()).collect();
                rows.sort();
                rows
            };
            assert_eq!(sorted(&ordered), sorted(&rows), "the same rows");
        }
    }

    #[test]
    fn copies_end_too() {
        assert_eq!(in_space(&[2.0; 9], 1), [2.0; 9]);
        assert_eq!(in_space(&[3.0, 1.0, 2.0], 1), [1.0, 2.0, 3.0]);
        assert!(in_space(&[], 4).is_empty());
    }
}
