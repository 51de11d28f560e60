//! Bases that a model cannot be fitted to: a sentence, never a number that is none.

use crate::value::models::*;
use proptest::prelude::*;

fn tuples(rows: &[(u32, f64, f64, u64)]) -> Tuples {
    let rows = rows.iter().map(|&(x, t_x, t, customers)| PurchaseTuple { x, t_x, t, customers });
    Tuples::new(TimeUnit::Week, rows.collect()).unwrap()
}

fn refused(rows: &[(u32, f64, f64, u64)]) -> FitError {
    fit_purchases(&tuples(rows), Dropout::BgNbd, &FitOptions::default()).unwrap_err()
}

#[test]
fn bases_without_anything_to_learn_are_told_apart() {
    assert_eq!(refused(&[]), FitError::NoCustomers);
    assert_eq!(refused(&[(3, 1.0, 2.0, 0)]), FitError::NoCustomers);
    assert_eq!(refused(&[(0, 0.0, 0.0, 7)]), FitError::NoTime { customers: 7 });
    assert_eq!(refused(&[(0, 0.0, 3.0, 7), (0, 0.0, 4.0, 2)]), FitError::NoRepeatBuyers { customers: 9 });
    let same = FitError::OneTuple { customers: 7, x: 2, t_x: 3.0, t: 4.0 };
    assert_eq!(refused(&[(2, 3.0, 4.0, 5), (2, 3.0, 4.0, 2)]), same);
    let short = FitError::OnePeriod { longest: 1.0, unit: TimeUnit::Week };
    assert_eq!(refused(&[(0, 0.0, 1.0, 5), (1, 0.5, 1.0, 2)]), short);
    assert!(short.to_string().starts_with("no customer was watched for more than one week"));
}

#[test]
fn spend_without_spread_or_buyers_is_told_apart() {
    let refused =
        |rows: Vec<_>| fit_spend(&SpendRows::new(rows).unwrap(), &FitOptions::default()).unwrap_err();
    assert_eq!(refused(vec![(0, 0.0, 5)]), FitError::NoRepeatBuyers { customers: 5 });
    assert_eq!(refused(vec![(1, 9.0, 5), (4, 9.0, 1)]), FitError::EqualValues { customers: 6, mean: 9.0 });
}

#[test]
fn options_out_of_range_are_refused() {
    let options = FitOptions { penalty: f64::NAN, ..FitOptions::default() };
    let rows = tuples(&[(0, 0.0, 3.0, 7), (1, 2.0, 4.0, 2)]);
    let error = fit_purchases(&rows, Dropout::BgNbd, &options).unwrap_err();
    assert!(matches!(error, FitError::Penalty { penalty } if penalty.is_nan()));
}

fn all_finite<const N: usize>(report: &FitReport<N>) -> bool {
    let errors = report.standard_errors.iter().chain(&report.log_standard_errors).flatten();
    let numbers = [report.log_likelihood, report.gradient_norm, report.condition.unwrap_or(0.0)];
    report.parameters.iter().chain(errors).chain(&numbers).all(|number| number.is_finite())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// However few and odd the customers, what comes out is finite and does not depend on their order.
    #[test]
    fn any_base_gives_finite_numbers_or_a_sentence(
        rows in prop::collection::vec((0u32..5, 0.001f64..1.0, 0.0f64..30.0, 1u64..4), 1..8),
        scale in prop::sample::select(vec![1e-6, 1.0, 1e6]),
        modified in any::<bool>(),
    ) {
        let dropout = if modified { Dropout::MbgNbd } else { Dropout::BgNbd };
        let rows: Vec<(u32, f64, f64, u64)> = rows.into_iter()
            .map(|(x, share, t, n)| (x, if x == 0 { 0.0 } else { share * (t + 0.1) * scale }, (t + 0.1) * scale, n))
            .collect();
        let fit = fit_purchases(&tuples(&rows), dropout, &FitOptions::default());
        let backwards: Vec<_> = rows.iter().rev().copied().collect();
        prop_assert_eq!(&fit, &fit_purchases(&tuples(&backwards), dropout, &FitOptions::default()));
        if let Ok(fit) = fit {
            prop_assert!(all_finite(&fit.report), "{:?}", fit.report);
            let expected = Horizon::new(vec![scale]).unwrap().expected(&fit.model, 2, 3.0 * scale, 5.0 * scale);
            prop_assert!(expected[0].is_finite() && expected[0] >= 0.0);
            prop_assert!(fit.report.converged, "{:?}", fit.report);
        }
    }

    #[test]
    fn any_spend_gives_finite_numbers_or_a_sentence(
        rows in prop::collection::vec((1u32..5, 0.01f64..1000.0, 1u64..4), 1..8),
    ) {
        if let Ok(fit) = fit_spend(&SpendRows::new(rows).unwrap(), &FitOptions::default()) {
            prop_assert!(all_finite(&fit.report), "{:?}", fit.report);
            prop_assert!(fit.report.converged, "{:?}", fit.report);
            prop_assert!(fit.model.expected_spend(3, 20.0).is_ok_and(f64::is_finite));
        }
    }
}
