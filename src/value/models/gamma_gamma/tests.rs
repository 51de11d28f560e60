use super::*;
use proptest::prelude::*;

#[test]
fn rows_that_are_no_spend_are_refused() {
    let refused = |row| SpendRows::new(vec![(1, 5.0, 1), row]).err();
    assert_eq!(refused((2, 0.0, 1)), Some(SpendError { index: 1, x: 2, mean: 0.0 }));
    assert_eq!(refused((2, -3.0, 1)), Some(SpendError { index: 1, x: 2, mean: -3.0 }));
    assert!(refused((1, f64::INFINITY, 0)).is_some());
    assert!(refused((0, f64::NAN, 4)).is_none());
    let rows = SpendRows::new(vec![(0, 0.0, 4), (1, 5.0, 3), (2, 6.0, 0)]).unwrap();
    assert_eq!((rows.len(), rows.customers(), rows.without_repeats()), (1, 3, 4));
}

#[test]
fn a_mean_is_drawn_from_that_of_all_to_the_customers_own() {
    let model = GammaGamma::new(6.25, 3.74, 15.44).unwrap();
    let all = model.expected_spend(0, 0.0).unwrap();
    assert!((all - 6.25 * 15.44 / 2.74).abs() < 1e-12);
    let few = model.expected_spend(1, 100.0).unwrap();
    let many = model.expected_spend(50, 100.0).unwrap();
    assert!(all < few && few < many && many < 100.0 && many > 99.0);
}

#[test]
fn without_a_mean_it_says_so() {
    let model = GammaGamma::new(0.5, 0.6, 10.0).unwrap();
    assert_eq!(model.expected_spend(0, 0.0), Err(NoMean { x: 0, q: 0.6 }));
    assert!(model.expected_spend(0, 0.0).unwrap_err().to_string().contains("q is 0.6"));
    assert!(model.expected_spend(1, 20.0).unwrap() > 0.0);
    assert_eq!(GammaGamma::new(0.5, f64::NAN, 1.0).unwrap_err().name, "q");
}

#[test]
fn the_correlation_is_pearsons_over_customers() {
    let rows = SpendRows::new(vec![(1, 1.0, 2), (2, 4.0, 1), (3, 3.0, 1)]).unwrap();
    // (1,1), (1,1), (2,4), (3,3): covariance sum 3.25, variance sums 2.75 and 6.75.
    let expected = 3.25 / (2.75f64 * 6.75).sqrt();
    assert!((rows.correlation().unwrap() - expected).abs() < 1e-15);
    assert_eq!(SpendRows::new(vec![(2, 1.0, 2), (2, 4.0, 1)]).unwrap().correlation(), None);
}

proptest! {
    #[test]
    fn the_pass_agrees_with_single_customers_and_differences(
        rows in prop::collection::vec((0u32..20, 0.1f64..200.0, 1u64..9), 1..15),
        logs in prop::array::uniform3(-2.0f64..3.0),
    ) {
        prop_assume!(rows.iter().any(|row| row.0 > 0));
        let spend = SpendRows::new(rows.clone()).unwrap();
        let here = spend.mean_loss(&logs);
        let [p, q, v] = logs.map(f64::exp);
        let model = GammaGamma::new(p, q, v * spend.scale()).unwrap();
        let direct: f64 = rows.iter().filter(|row| row.0 > 0)
            .map(|&(x, mean, customers)| customers as f64 * model.log_likelihood(x, mean)).sum();
        let total = spend.in_units(here.value);
        prop_assert!((total - direct).abs() < 1e-10 * (1.0 + direct.abs()), "{total} {direct}");

        let mut backwards = rows;
        backwards.reverse();
        prop_assert_eq!(SpendRows::new(backwards).unwrap().mean_loss(&logs), here);

        let step = 1e-5;
        for i in 0..3 {
            let at = |sign: f64| {
                let mut moved = logs;
                moved[i] += sign * step;
                spend.mean_loss(&moved)
            };
            let (up, down) = (at(1.0), at(-1.0));
            let size = 1.0 + here.value.abs() + here.hessian.as_flattened().iter().fold(0.0, |m: f64, h| m.max(h.abs()));
            let slope = (up.value - down.value) / (2.0 * step);
            prop_assert!((slope - here.gradient[i]).abs() < 5e-8 * size, "{i} {slope} {:?}", here.gradient);
            for j in 0..3 {
                let bend = (up.gradient[j] - down.gradient[j]) / (2.0 * step);
                let found = here.hessian[i][j];
                prop_assert!((bend - found).abs() < 5e-7 * size, "{i} {j} {bend} {found}");
            }
        }
    }
}
