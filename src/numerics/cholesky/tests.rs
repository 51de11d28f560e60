use super::*;
use crate::numerics::random::generator;
use proptest::prelude::*;
use rand::Rng;

/// B·Bᵀ + I/10 with a B of as many columns as rows: condition numbers of some thousands.
fn positive(n: usize, key: u64) -> Vec<f64> {
    let mut random = generator(3, "cholesky test", key);
    let b: Vec<f64> = (0..n * n).map(|_| random.gen_range(-1.0..1.0)).collect();
    let mut matrix = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            let dot: f64 = b[i * n..][..n].iter().zip(&b[j * n..][..n]).map(|(x, y)| x * y).sum();
            matrix[i * n + j] = dot + if i == j { 0.1 } else { 0.0 };
        }
    }
    matrix
}

fn multiply(a: &[f64], b: &[f64], n: usize, columns: usize) -> Vec<f64> {
    let mut product = vec![0.0; n * columns];
    for i in 0..n {
        for k in 0..n {
            for j in 0..columns {
                product[i * columns + j] += a[i * n + k] * b[k * columns + j];
            }
        }
    }
    product
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_system_by_hand() {
    // L = [2 0 0; 1 3 0; -1 2 1].
    let matrix = vec![4.0, 2.0, -2.0, 2.0, 10.0, 5.0, -2.0, 5.0, 6.0];
    let factor = Cholesky::factor(matrix, 3, 1).unwrap();
    let lower: Vec<f64> = (0..9).map(|at| factor.panels[0].tiles[at % 3][at / 3]).collect();
    assert_eq!([lower[0], lower[3], lower[4], lower[6], lower[7], lower[8]], [2.0, 1.0, 3.0, -1.0, 2.0, 1.0]);
    // A·(1, -1, 2) and A·(0, 1, 0), side by side.
    let mut rhs = [-2.0, 2.0, 2.0, 10.0, 5.0, 5.0];
    factor.solve_many(&mut rhs, 2, 1).unwrap();
    assert_eq!(rhs, [1.0, 0.0, -1.0, 1.0, 2.0, 0.0]);
    let inverse = factor.inverse(1);
    let expected = [35.0, -22.0, 30.0, -22.0, 20.0, -24.0, 30.0, -24.0, 36.0].map(|x| x / 36.0);
    assert!(inverse.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-15), "{inverse:?}");
}

#[test]
fn the_inverse_of_a_random_matrix_is_one() {
    let n = 300;
    let matrix = positive(n, 1);
    let inverse = Cholesky::factor(matrix.clone(), n, 2).unwrap().inverse(2);
    let residual = multiply(&matrix, &inverse, n, n)
        .iter()
        .enumerate()
        .map(|(at, &value)| value - if at / n == at % n { 1.0 } else { 0.0 })
        .fold(0.0f64, |most, value| most.max(value.abs()));
    assert!(residual < 1e-9, "{residual}");
    assert!((0..n * n).all(|at| inverse[at].to_bits() == inverse[at % n * n + at / n].to_bits()));
}

#[test]
fn threads_do_not_show_in_the_bits() {
    let (n, columns) = (203, 70);
    let run = |threads| {
        let factor = Cholesky::factor(positive(n, 2), n, threads).unwrap();
        let mut rhs: Vec<f64> = (0..n * columns).map(|at| (at as f64).sin()).collect();
        factor.solve_many(&mut rhs, columns, threads).unwrap();
        let lower: Vec<f64> =
            factor.panels.iter().flat_map(|panel| panel.tiles.as_flattened().to_vec()).collect();
        (bits(&lower), bits(&rhs), bits(&factor.inverse(threads)))
    };
    let one = run(1);
    assert!(one == run(3));
    assert!(one == run(64));
}

#[test]
fn only_the_lower_triangle_is_read() {
    let n = 70;
    let mut matrix = positive(n, 3);
    let expected = Cholesky::factor(matrix.clone(), n, 1).unwrap().inverse(1);
    for row in 0..n {
        matrix[row * n + row + 1..(row + 1) * n].fill(f64::NAN);
    }
    assert_eq!(bits(&Cholesky::factor(matrix, n, 1).unwrap().inverse(1)), bits(&expected));
}

#[test]
fn a_bad_pivot_is_named() {
    let n = 130;
    let pivot = |matrix| match Cholesky::factor(matrix, n, 2) {
        Err(CholeskyError::NotPositiveDefinite { pivot, value, .. }) => (pivot, value),
        other => panic!("{other:?}"),
    };
    let mut negative = positive(n, 4);
    negative[100 * n + 100] = -1.0;
    let (at, value) = pivot(negative);
    assert!(at == 100 && value < 0.0, "{at} {value}");

    for bad in [f64::NAN, f64::INFINITY] {
        let mut matrix = positive(n, 4);
        matrix[90 * n + 17] = bad;
        assert_eq!(pivot(matrix).0, 90);
    }
    let mut matrix = positive(n, 4);
    matrix[5 * n + 5] = f64::INFINITY;
    assert_eq!(pivot(matrix), (5, f64::INFINITY));

    // Row and column 77 are those of 20: singular, and what is left of the pivot is rounding.
    let mut twice = positive(n, 4);
    for k in 0..n {
        twice[77 * n + k] = twice[20 * n + k];
    }
    for k in 0..n {
        twice[k * n + 77] = twice[k * n + 20];
    }
    assert_eq!(pivot(twice).0, 77);

    let error = Cholesky::factor(vec![1.0, 0.0, 0.0, -2.5], 2, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the matrix is not positive definite: -2.5 is left of its diagonal entry 1 (-2.5), \
         where more than rounding has to be left"
    );
}

#[test]
fn sizes_that_do_not_fit_and_nothing_at_all() {
    let error = Cholesky::factor(vec![1.0; 5], 2, 1).unwrap_err();
    assert_eq!(error.to_string(), "a matrix of order 2 has 4 entries, not 5");
    let nothing = Cholesky::factor(Vec::new(), 0, 4).unwrap();
    nothing.solve_many(&mut [], 3, 2).unwrap();
    assert!(nothing.inverse(2).is_empty());
    Cholesky::factor(vec![2.0], 1, 1).unwrap().solve_many(&mut [], 0, 1).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn solutions_solve(n in 1usize..140, columns in 1usize..9, key in 0u64..1_000) {
        let matrix = positive(n, key);
        let mut random = generator(4, "cholesky test", key);
        let rhs: Vec<f64> = (0..n * columns).map(|_| random.gen_range(-1.0..1.0)).collect();
        let mut solution = rhs.clone();
        Cholesky::factor(matrix.clone(), n, 2).unwrap().solve_many(&mut solution, columns, 2).unwrap();
        let scale = solution.iter().fold(1.0f64, |most, value| most.max(value.abs()));
        for (got, wanted) in multiply(&matrix, &solution, n, columns).iter().zip(&rhs) {
            prop_assert!((got - wanted).abs() < 1e-12 * scale * n as f64, "{} {}", got, wanted);
        }
    }
}
