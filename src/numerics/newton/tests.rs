use super::*;
use proptest::prelude::*;

fn options<const N: usize>(bound: f64) -> Options<N> {
    Options { lower: [-bound; N], upper: [bound; N], max_iterations: 200, tolerance: 1e-10, max_step: 3.0 }
}

/// Rosenbrock's valley, lowest at (1, 1), with an indefinite Hessian in parts.
fn valley(at: &[f64; 2]) -> Evaluation<2> {
    let [x, y] = *at;
    let rise = y - x * x;
    Evaluation {
        value: (1.0 - x).powi(2) + 100.0 * rise * rise,
        gradient: [-2.0 * (1.0 - x) - 400.0 * x * rise, 200.0 * rise],
        hessian: [[2.0 - 400.0 * (rise - 2.0 * x * x), -400.0 * x], [-400.0 * x, 200.0]],
    }
}

#[test]
fn a_curved_valley_is_followed_to_its_end() {
    for start in [[-1.2, 1.0], [0.0, 5.0], [-5.0, -5.0], [0.0, 0.0]] {
        let found = minimise(start, &options(10.0), valley).unwrap();
        assert!(found.converged && found.iterations < 60, "{found:?}");
        assert!((found.at[0] - 1.0).abs() < 1e-12 && (found.at[1] - 1.0).abs() < 1e-12, "{found:?}");
        assert_eq!(found.free, [true, true]);
    }
}

#[test]
fn a_side_of_the_box_holds_and_frees() {
    // The lowest place of the valley with x ≤ ½ is (½, ¼): x is held, y is not.
    let box_ = Options { upper: [0.5, 10.0], ..options(10.0) };
    let found = minimise([-1.0, 3.0], &box_, valley).unwrap();
    assert!(found.converged);
    assert_eq!(found.free, [false, true]);
    assert!((found.at[0] - 0.5).abs() < 1e-15 && (found.at[1] - 0.25).abs() < 1e-10, "{found:?}");
    // From the same side of a box that holds the minimum the search goes inside.
    let found = minimise([10.0, 10.0], &options(10.0), valley).unwrap();
    assert!(found.converged && (found.at[0] - 1.0).abs() < 1e-9, "{found:?}");
}

#[test]
fn a_flat_ridge_ends_at_the_box() {
    // e^−(x+y) + (x − y)²: falls for ever along x = y.
    let ridge = |at: &[f64; 2]| {
        let (falling, apart) = ((-at[0] - at[1]).exp(), at[0] - at[1]);
        Evaluation {
            value: falling + apart * apart,
            gradient: [2.0 * apart - falling, -2.0 * apart - falling],
            hessian: [[falling + 2.0, falling - 2.0], [falling - 2.0, falling + 2.0]],
        }
    };
    let found = minimise([0.0, 1.0], &options(5.0), ridge).unwrap();
    assert!(found.converged && found.at[0] > 4.9 && found.at[1] > 4.9, "{found:?}");
}

#[test]
fn places_that_are_not_numbers_are_stepped_back_from() {
    // x − ln x, which is not defined at and below zero: the first steps from 20 lead there.
    let log = |at: &[f64; 1]| {
        let x = at[0];
        Evaluation { value: x - x.ln(), gradient: [1.0 - 1.0 / x], hessian: [[1.0 / (x * x)]] }
    };
    let wide = Options { max_step: 1e9, ..options(100.0) };
    let found = minimise([20.0], &wide, log).unwrap();
    assert!(found.converged && (found.at[0] - 1.0).abs() < 1e-12, "{found:?}");
    let error = minimise([-1.0], &wide, log).unwrap_err();
    assert!(matches!(error, NewtonError::Start { value } if value.is_nan()));
}

#[test]
fn too_few_iterations_are_admitted() {
    let few = Options { max_iterations: 3, ..options(10.0) };
    let found = minimise([-1.2, 1.0], &few, valley).unwrap();
    assert!(!found.converged && found.iterations == 3 && found.gradient_norm > 1e-10);
}

proptest! {
    /// Convex quadratics in a box: at the end no free slope and no slope that leads inside.
    #[test]
    fn the_end_is_a_minimum_of_the_box(
        rows in prop::array::uniform3(prop::array::uniform3(-2.0f64..2.0)),
        centre in prop::array::uniform3(-3.0f64..3.0),
    ) {
        let hessian: [[f64; 3]; 3] = std::array::from_fn(|i| std::array::from_fn(|j| {
            let product: f64 = (0..3).map(|k| rows[k][i] * rows[k][j]).sum();
            product + if i == j { 0.1 } else { 0.0 }
        }));
        let quadratic = |at: &[f64; 3]| {
            let apart: [f64; 3] = std::array::from_fn(|i| at[i] - centre[i]);
            let gradient: [f64; 3] =
                std::array::from_fn(|i| (0..3).map(|j| hessian[i][j] * apart[j]).sum());
            let value = 0.5 * (0..3).map(|i| gradient[i] * apart[i]).sum::<f64>();
            Evaluation { value, gradient, hessian }
        };
        let found = minimise([0.0; 3], &options(1.0), quadratic).unwrap();
        prop_assert!(found.converged, "{found:?}");
        for i in 0..3 {
            let slope = found.evaluation.gradient[i];
            let optimal = if found.free[i] { slope.abs() <= 1e-10 } else { slope * found.at[i] <= 0.0 };
            prop_assert!(optimal, "{found:?}");
        }
    }
}
