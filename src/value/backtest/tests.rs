//! The figures against cases worked out by hand, published ones and plain floating point.

use super::*;
use proptest::prelude::*;

fn forecast(purchases: f64, spend: f64) -> Forecast {
    Forecast { purchases, spend }
}

/// A backtest in which all methods say the same.
fn of(rows: &[(f64, u32)]) -> Backtest {
    let mut backtest = Backtest::new();
    for (predicted, purchases) in rows {
        let spend = f64::from(*purchases) * 10.0;
        let all = [forecast(*predicted, predicted * 10.0); 3];
        backtest.add(&all, Outcome { purchases: *purchases, spend }).expect("finite");
    }
    backtest
}

fn near(actual: f64, expected: f64, tolerance: f64) {
    assert!((actual - expected).abs() < tolerance, "{actual} is not {expected}");
}

#[test]
fn figures_worked_out_by_hand() {
    let backtest = of(&[(2.0, 1), (0.5, 0), (1.5, 3), (0.0, 0)]);
    let figures = backtest.figures(Method::Model, Target::Purchases).expect("customers");
    assert_eq!((figures.customers, figures.predicted, figures.actual), (4, 4.0, 4.0));
    assert_eq!((figures.bias_percent, figures.mae), (Some(0.0), 3.0 / 4.0));
    near(figures.rmse, (3.5_f64 / 4.0).sqrt(), 1e-12);
    // Deviations 1 −.5 .5 −1 and 0 −1 2 −1: together 2.5, alone 2.5 and 6.
    near(figures.pearson.expect("varies"), 2.5 / (2.5_f64 * 6.0).sqrt(), 1e-12);
    assert_eq!(figures.auc, Some(1.0));
    let spend = backtest.figures(Method::LastPeriod, Target::Spend).expect("customers");
    assert_eq!((spend.mae, spend.actual, spend.auc), (7.5, 40.0, Some(1.0)));
}

#[test]
fn recalibration_is_beside_the_raw_figures() {
    let raw = of(&[(2.0, 1), (4.0, 2), (6.0, 3)]);
    let figures = raw.figures(Method::Model, Target::Purchases).expect("customers");
    assert_eq!((figures.bias_percent, figures.mae), (Some(100.0), 2.0));
    near(figures.rmse, (14.0_f64 / 3.0).sqrt(), 1e-12);
    assert_eq!(figures.recalibration, Some(Recalibration { factor: 0.5, rmse: 0.0 }));
    let nobody = of(&[(0.5, 0), (0.25, 0)]).figures(Method::Model, Target::Purchases).expect("customers");
    assert_eq!((nobody.bias_percent, nobody.recalibration, nobody.auc), (None, None, None));
    assert_eq!(Backtest::new().figures(Method::Model, Target::Spend), None);
    assert_eq!(Backtest::new().calibration(Method::Model, Target::Spend), []);
}

#[test]
fn groups_of_the_calibration_are_cut_by_value() {
    let rows: Vec<(f64, u32)> = (0..100).map(|n| (f64::from(n) / 16.0, n / 50)).collect();
    let groups = of(&rows).calibration(Method::Model, Target::Purchases);
    assert_eq!(groups.iter().map(|row| row.customers).collect::<Vec<_>>(), [10; 10]);
    assert_eq!(groups[0].above, None);
    near(groups[1].above.expect("a group before it"), 9.0 / 16.0, 9.0 / 16.0 / 2_048.0);
    assert_eq!((groups[9].mean_predicted, groups[9].mean_actual), (94.5 / 16.0, 1.0));
    assert_eq!((groups[9].actual_share, groups[4].actual_share), (Some(0.2), Some(0.0)));
    // Half of the customers have one value: they are one group, and those between are absent.
    let tied: Vec<(f64, u32)> = (0..10).map(|n| (f64::from(n.max(4)), 1)).collect();
    let groups = of(&tied).calibration(Method::Model, Target::Purchases);
    let seen: Vec<_> = groups.iter().map(|row| (row.group, row.customers, row.mean_predicted)).collect();
    assert_eq!(seen, [(1, 5, 4.0), (6, 1, 5.0), (7, 1, 6.0), (8, 1, 7.0), (9, 1, 8.0), (10, 1, 9.0)]);
    assert_eq!(groups[0].above, None);
    near(groups[1].above.expect("a group before it"), 4.0, 4.0 / 2_048.0);
}

#[test]
fn numbers_that_cannot_be_measured_are_refused_and_add_nothing() {
    let mut backtest = Backtest::new();
    let good = forecast(1.0, 1.0);
    let outcome = Outcome { purchases: 1, spend: 1.0 };
    let error = backtest.add(&[good, forecast(1.0, f64::NAN), good], outcome).expect_err("no number");
    assert_eq!(error.to_string(), "the own rate gives NaN spend, which is not a finite number");
    let error = backtest.add(&[good; 3], Outcome { spend: -1e11, ..outcome }).expect_err("too large");
    assert_eq!(
        error.to_string(),
        "the holdout gives -100000000000 spend; more than 17179869184 cannot be summed exactly"
    );
    assert_eq!((&backtest, backtest.bytes()), (&Backtest::new(), 0));
    assert!(backtest.add(&[good; 3], Outcome { spend: -5.0, ..outcome }).is_ok());
}

#[test]
fn a_customer_observed_for_no_time_has_no_rate() {
    assert_eq!([at_own_rate(3.0, 6.0, 4.0), at_own_rate(3.0, 0.0, 4.0)], [2.0, 0.0]);
}

/// The naive rows of a holdout computed with pandas over the CDNOW sample (39 and 39 weeks): x/T × 39,
/// x once more, total spend × 39/T and repeat spend × 39/T.
#[test]
fn cdnow_holdout_naive_rows() {
    let mut backtest = Backtest::new();
    let text = include_str!("../../../tests/value/holdout_cdnow.csv");
    for line in text.lines().filter(|line| !line.starts_with(['#', 'x'])) {
        let fields: Vec<u32> = line.split(',').map(|field| field.parse().expect("a whole number")).collect();
        let &[x, days, spend, repeat_spend, later_x, later_spend, customers] = fields.as_slice() else {
            panic!("seven columns: {line}");
        };
        let rate = |total: f64| at_own_rate(total, f64::from(days), 7.0 * 39.0);
        let own_rate = forecast(rate(f64::from(x)), rate(f64::from(spend) / 100.0));
        let last_period = forecast(f64::from(x), rate(f64::from(repeat_spend) / 100.0));
        let actual = Outcome { purchases: later_x, spend: f64::from(later_spend) / 100.0 };
        for _ in 0..customers {
            backtest.add(&[own_rate, own_rate, last_period], actual).expect("finite");
        }
    }
    let check = |method, target, expected: [f64; 5], auc: Option<f64>| {
        let figures = backtest.figures(method, target).expect("customers");
        let [actual, bias, mae, rmse, pearson] = expected;
        assert_eq!(figures.customers, 2_357);
        near(figures.actual, actual, 0.02);
        near(figures.bias_percent.expect("bought"), bias, 1e-4);
        near(figures.mae, mae, 1e-5);
        near(figures.rmse, rmse, 1e-5);
        near(figures.pearson.expect("varies"), pearson, 1e-6);
        if let Some(auc) = auc {
            near(figures.auc.expect("some bought"), auc, 1e-5);
        }
    };
    let rate = [1_882.0, 55.690_814, 1.023_669_163, 2.211_918_089, 0.583_943_439];
    check(Method::OwnRate, Target::Purchases, rate, Some(0.759_772_951));
    let same = [1_882.0, 30.552_604, 0.897_327_111, 1.971_046_263, 0.577_229_891];
    check(Method::LastPeriod, Target::Purchases, same, Some(0.757_627_157));
    let spend = [70_976.39, 193.037_929, 73.024_992_764, 219.186_353_378, 0.303_860_253];
    check(Method::OwnRate, Target::Spend, spend, None);
    let repeat = [70_976.39, 61.175_077, 43.308_664_899, 200.005_877_589, 0.293_696_880];
    check(Method::LastPeriod, Target::Spend, repeat, None);
    let top = backtest.calibration(Method::OwnRate, Target::Spend).last().copied().expect("groups");
    assert_eq!((top.group, top.customers), (10, 235));
    near(top.actual_share.expect("bought"), 0.499_103_857, 2e-3);
    assert!(backtest.bytes() < 10 << 20, "{}", backtest.bytes());
}

proptest! {
    // Each case fills and compares megabytes of bins.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn parts_merge_to_the_whole_and_agree_with_floating_point(
        rows in prop::collection::vec((0.0_f64..40.0, 0_u32..30), 1..80),
        split in 0_usize..80,
    ) {
        let whole = of(&rows);
        let (left, right) = rows.split_at(split.min(rows.len()));
        let mut merged = of(right);
        merged.merge(&of(left));
        prop_assert_eq!(&merged, &whole);
        let figures = whole.figures(Method::Model, Target::Purchases).expect("customers");
        let n = rows.len() as f64;
        let errors = rows.iter().map(|(predicted, actual)| predicted - f64::from(*actual));
        let mae = errors.clone().map(f64::abs).sum::<f64>() / n;
        let rmse = (errors.map(|error| error * error).sum::<f64>() / n).sqrt();
        prop_assert!((figures.mae - mae).abs() < 1e-5 && (figures.rmse - rmse).abs() < 1e-4);
        let groups = whole.calibration(Method::Model, Target::Purchases);
        prop_assert_eq!(groups.iter().map(|row| row.customers).sum::<u64>(), rows.len() as u64);
        prop_assert!(groups.windows(2).all(|pair| pair[0].mean_predicted < pair[1].mean_predicted));
    }
}
