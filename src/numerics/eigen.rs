//! Eigenvalues and eigenvectors of a small symmetric matrix, by the cyclic Jacobi method.
//!
//! Golub & Van Loan, *Matrix Computations* (4th ed., 2013), section 8.5. Jacobi is slower than
//! tridiagonal QR but far shorter, and it is accurate to the last bits; the matrices here (a
//! covariance of features, the core of a randomised SVD) have at most a few hundred columns.

use std::cmp::Ordering;

use thiserror::Error;

/// A sweep visits every off-diagonal entry once; 6 to 10 sweeps are usual at n = 200.
const MAX_SWEEPS: usize = 60;

/// How far apart `a[i][j]` and `a[j][i]` may be, relative to the largest entry: room for rounding.
const ASYMMETRY: f64 = 1e-9;

/// Why a matrix has no decomposition here.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum EigenError {
    #[error("a symmetric matrix of order {order} has {} entries, not {entries}", order.saturating_mul(*order))]
    Shape { entries: usize, order: usize },
    #[error("entry ({row}, {column}) of the matrix is {value}, not a finite number")]
    NonFinite { row: usize, column: usize, value: f64 },
    #[error("the matrix is not symmetric: entry ({row}, {column}) is {upper}, its mirror image {lower}")]
    NotSymmetric { row: usize, column: usize, upper: f64, lower: f64 },
    #[error("an eigenvalue is beyond the range of a 64-bit float")]
    Overflow,
    #[error("the Jacobi iteration did not converge in {sweeps} sweeps")]
    NoConvergence { sweeps: usize },
}

/// The decomposition `A = Σ value_i · vector_i · vector_iᵀ`, values descending.
#[derive(Debug, Clone, PartialEq)]
pub struct SymmetricEigen {
    order: usize,
    values: Vec<f64>,
    /// Row i is the unit eigenvector of value i.
    vectors: Vec<f64>,
}

impl SymmetricEigen {
    /// The eigenvalues, descending.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The unit eigenvector of `values()[index]`. Panics when `index` is not below the order.
    pub fn vector(&self, index: usize) -> &[f64] {
        &self.vectors[index * self.order..][..self.order]
    }
}

/// Decomposes the symmetric `order × order` matrix given row by row.
///
/// The result depends on the entries alone: values are descending (equal values keep the order of
/// their columns) and each vector is turned so that its largest component is positive.
///
/// Cost: about `6 · order³` operations a sweep and `2 · order²` floats; about 0.1 s at order 200.
///
/// # Errors
/// The wrong number of entries, an entry that is not finite, a matrix that is not symmetric, or an
/// eigenvalue beyond `f64::MAX`.
pub fn symmetric_eigen(matrix: &[f64], order: usize) -> Result<SymmetricEigen, EigenError> {
    let largest = check(matrix, order)?;
    // Entries of magnitude one at most: no square below can overflow or vanish.
    let scale = if largest > 0.0 { largest } else { 1.0 };
    let mut a = matrix.iter().map(|value| value / scale).collect::<Vec<_>>();
    let mut v = identity(order);

    let mut converged = false;
    for _ in 0..MAX_SWEEPS {
        let (diagonal, off_diagonal) = squares(&a, order);
        if off_diagonal <= (f64::EPSILON * f64::EPSILON) * (diagonal + off_diagonal) {
            converged = true;
            break;
        }
        for p in 0..order {
            for q in p + 1..order {
                rotate(&mut a, &mut v, order, p, q);
            }
        }
    }
    if !converged {
        return Err(EigenError::NoConvergence { sweeps: MAX_SWEEPS });
    }

    let mut ranking = (0..order).collect::<Vec<_>>();
    ranking.sort_by(|&i, &j| a[j * order + j].partial_cmp(&a[i * order + i]).unwrap_or(Ordering::Equal));
    let values = ranking.iter().map(|&i| a[i * order + i] * scale).collect::<Vec<_>>();
    if values.iter().any(|value| !value.is_finite()) {
        return Err(EigenError::Overflow);
    }
    let mut vectors = Vec::with_capacity(order * order);
    for &i in &ranking {
        let vector = &mut v[i * order..][..order];
        orient(vector);
        vectors.extend_from_slice(vector);
    }
    Ok(SymmetricEigen { order, values, vectors })
}

/// Turns a vector so that its largest component is positive. Among components equal to rounding
/// the first decides, so that the last bit of one of them cannot flip the whole vector.
pub(crate) fn orient(vector: &mut [f64]) {
    let largest = vector.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    let leading = vector.iter().find(|x| x.abs() >= largest * (1.0 - 1e-9));
    if leading.is_some_and(|&x| x < 0.0) {
        for x in vector {
            *x = -*x;
        }
    }
}

/// The largest magnitude in the matrix, once it is known to be square, finite and symmetric.
fn check(matrix: &[f64], order: usize) -> Result<f64, EigenError> {
    if order.checked_mul(order) != Some(matrix.len()) {
        return Err(EigenError::Shape { entries: matrix.len(), order });
    }
    if let Some(at) = matrix.iter().position(|value| !value.is_finite()) {
        return Err(EigenError::NonFinite { row: at / order, column: at % order, value: matrix[at] });
    }
    let largest = matrix.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for row in 0..order {
        for column in row + 1..order {
            let (upper, lower) = (matrix[row * order + column], matrix[column * order + row]);
            if (upper - lower).abs() > ASYMMETRY * largest {
                return Err(EigenError::NotSymmetric { row, column, upper, lower });
            }
        }
    }
    Ok(largest)
}

fn identity(order: usize) -> Vec<f64> {
    let mut v = vec![0.0; order * order];
    (0..order).for_each(|i| v[i * order + i] = 1.0);
    v
}

/// Sums of squares on and off the diagonal.
fn squares(a: &[f64], order: usize) -> (f64, f64) {
    let mut sums = (0.0, 0.0);
    for (row, values) in a.chunks_exact(order.max(1)).enumerate() {
        for (column, value) in values.iter().enumerate() {
            let sum = if row == column { &mut sums.0 } else { &mut sums.1 };
            *sum += value * value;
        }
    }
    sums
}

/// One Jacobi rotation: makes `a[p][q]` zero and gathers the rotation into rows p and q of `v`
/// (Golub & Van Loan, algorithm 8.5.1).
fn rotate(a: &mut [f64], v: &mut [f64], n: usize, p: usize, q: usize) {
    let off = a[p * n + q];
    if off == 0.0 {
        return;
    }
    let tau = (a[q * n + q] - a[p * n + p]) / (2.0 * off);
    // The smaller root, so that the angle stays within 45 degrees and the sweeps converge.
    // An infinite tau (a vanishing entry) gives t = 0: nothing turns, and the entry is set to zero.
    let t = tau.signum() / (tau.abs() + tau.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    let (app, aqq) = (a[p * n + p] - t * off, a[q * n + q] + t * off);
    // Rows first, because they are contiguous; the columns are their mirror image.
    turn(a, n, p, q, c, s);
    for k in 0..n {
        a[k * n + p] = a[p * n + k];
        a[k * n + q] = a[q * n + k];
    }
    a[p * n + p] = app;
    a[q * n + q] = aqq;
    a[p * n + q] = 0.0;
    a[q * n + p] = 0.0;
    turn(v, n, p, q, c, s);
}

/// Turns rows p < q of an n-column matrix by the angle with cosine c and sine s.
fn turn(rows: &mut [f64], n: usize, p: usize, q: usize, c: f64, s: f64) {
    let (head, tail) = rows.split_at_mut(q * n);
    for (x, y) in head[p * n..][..n].iter_mut().zip(&mut tail[..n]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::random::generator;
    use rand::Rng;

    fn close(a: &[f64], b: &[f64], tolerance: f64) {
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance), "{a:?} is not {b:?}");
    }

    #[test]
    fn a_matrix_of_order_two_worked_by_hand() {
        let eigen = symmetric_eigen(&[2.0, 1.0, 1.0, 2.0], 2).unwrap();
        close(eigen.values(), &[3.0, 1.0], 1e-14);
        let half = 0.5_f64.sqrt();
        close(eigen.vector(0), &[half, half], 1e-14);
        close(eigen.vector(1), &[half, -half], 1e-14);
    }

    #[test]
    fn the_second_difference_matrix_has_its_textbook_spectrum() {
        // tridiagonal(-1, 2, -1): eigenvalue k is 2 - 2 cos(kπ / (n + 1)).
        let n = 12;
        let mut matrix = vec![0.0; n * n];
        for i in 0..n {
            matrix[i * n + i] = 2.0;
            if i + 1 < n {
                matrix[i * n + i + 1] = -1.0;
                matrix[(i + 1) * n + i] = -1.0;
            }
        }
        let eigen = symmetric_eigen(&matrix, n).unwrap();
        let step = std::f64::consts::PI / (n + 1) as f64;
        let expected = (1..=n).rev().map(|k| 2.0 - 2.0 * (k as f64 * step).cos()).collect::<Vec<_>>();
        close(eigen.values(), &expected, 1e-13);
    }

    #[test]
    fn the_parts_rebuild_a_random_matrix_and_are_orthonormal() {
        let n = 60;
        let mut random = generator(1, "eigen test", 0);
        let mut matrix = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let value = random.gen_range(-1.0e6..1.0e6);
                matrix[i * n + j] = value;
                matrix[j * n + i] = value;
            }
        }
        let eigen = symmetric_eigen(&matrix, n).unwrap();
        assert!(eigen.values().windows(2).all(|pair| pair[0] >= pair[1]));
        for i in 0..n {
            for j in 0..n {
                let entry =
                    (0..n).map(|k| eigen.values()[k] * eigen.vector(k)[i] * eigen.vector(k)[j]).sum::<f64>();
                assert!((entry - matrix[i * n + j]).abs() < 1e-6, "entry {i} {j}");
                let dot = (0..n).map(|k| eigen.vector(i)[k] * eigen.vector(j)[k]).sum::<f64>();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12, "vectors {i} {j}");
            }
        }
    }

    #[test]
    fn extreme_scales_and_trivial_orders_hold() {
        let tiny = symmetric_eigen(&[2e-300, 1e-300, 1e-300, 2e-300], 2).unwrap();
        close(&[tiny.values()[0] / 1e-300, tiny.values()[1] / 1e-300], &[3.0, 1.0], 1e-13);
        let zero = symmetric_eigen(&[0.0; 9], 3).unwrap();
        assert_eq!(zero.values(), &[0.0; 3]);
        assert!(symmetric_eigen(&[], 0).unwrap().values().is_empty());
        assert_eq!(symmetric_eigen(&[f64::MAX; 4], 2), Err(EigenError::Overflow));
    }

    #[test]
    fn bad_matrices_are_refused_with_the_place() {
        assert_eq!(symmetric_eigen(&[1.0; 3], 2), Err(EigenError::Shape { entries: 3, order: 2 }));
        let error = symmetric_eigen(&[1.0, f64::NAN, 0.0, 1.0], 2).unwrap_err();
        assert_eq!(error.to_string(), "entry (0, 1) of the matrix is NaN, not a finite number");
        assert!(matches!(
            symmetric_eigen(&[1.0, 0.5, 0.4, 1.0], 2),
            Err(EigenError::NotSymmetric { row: 0, column: 1, .. })
        ));
    }
}
