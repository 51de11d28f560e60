//! Published figures on the CDNOW sample: 2,357 customers of an online shop, 39 weeks and 39 more.

use crate::value::models::*;
use serde_json::Value;

const SAMPLE: &str = include_str!("../../../../tests/value/cdnow_sample.csv");
const SPEND: &str = include_str!("../../../../tests/value/cdnow_spend.csv");
const LIFETIMES: &str = include_str!("../../../../tests/value/lifetimes.json");

fn csv(text: &str) -> impl Iterator<Item = Vec<u64>> {
    let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    lines.map(|line| line.split(',').map(|field| field.parse().unwrap()).collect())
}

/// lifetimes' file has weeks with two decimals.
fn rounded(days: u64) -> f64 {
    (days as f64 / 7.0 * 100.0).round() / 100.0
}

fn weeks(days: u64) -> f64 {
    days as f64 / 7.0
}

fn tuples(time: impl Fn(u64) -> f64) -> Tuples {
    let rows = csv(SAMPLE).map(|row| PurchaseTuple {
        x: row[0] as u32,
        t_x: time(row[1]),
        t: time(row[2]),
        customers: row[4],
    });
    Tuples::new(TimeUnit::Week, rows.collect()).unwrap()
}

fn spend_rows() -> SpendRows {
    let rows = csv(SPEND).map(|row| (row[0] as u32, row[1] as f64 / 100.0, row[2]));
    SpendRows::new(rows.collect()).unwrap()
}

fn lifetimes() -> Value {
    serde_json::from_str(LIFETIMES).unwrap()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} in {value}"))
}

fn close(found: f64, expected: f64, relative: f64) {
    assert!((found - expected).abs() <= relative * expected.abs(), "{found} is not {expected}");
}

fn purchases(dropout: Dropout, tuples: &Tuples) -> PurchaseFit {
    fit_purchases(tuples, dropout, &FitOptions::default()).unwrap()
}

fn spend() -> SpendFit {
    fit_spend(&spend_rows(), &FitOptions::default()).unwrap()
}

/// At the parameters that the customers of the file were computed with.
fn models_of_lifetimes(file: &Value) -> (BgNbd, BgNbd, GammaGamma) {
    let model = |dropout, parameters: &Value| {
        let [r, alpha, a, b] = ["r", "alpha", "a", "b"].map(|name| number(parameters, name));
        BgNbd::new(dropout, r, alpha, a, b).unwrap()
    };
    let [p, q, v] = ["p", "q", "v"].map(|name| number(&file["gg"]["lifetimes"], name));
    (
        model(Dropout::BgNbd, &file["bgnbd"]["lifetimes"]),
        model(Dropout::MbgNbd, &file["mbgnbd"]["lifetimes"]),
        GammaGamma::new(p, q, v).unwrap(),
    )
}

#[test]
fn bg_nbd_has_the_estimates_of_fader_hardie_and_lee_2005() {
    let report = purchases(Dropout::BgNbd, &tuples(rounded)).report;
    let published = [0.243, 4.414, 0.793, 2.426];
    for (found, published) in report.parameters.into_iter().zip(published) {
        assert!((found - published).abs() < 6e-4, "{:?}", report.parameters);
    }
    assert!((report.log_likelihood + 9582.4).abs() < 0.05, "{}", report.log_likelihood);
    assert_eq!((report.customers, report.tuples, report.converged), (2357, 1016, true));
    assert!(report.unidentified.is_empty() && report.gradient_norm < 1e-12, "{report:?}");
    assert!(report.condition.unwrap() > 10.0 && report.iterations < 20, "{report:?}");
}

#[test]
fn bg_nbd_and_mbg_nbd_end_at_lifetimes_optimum_with_its_errors() {
    let file = lifetimes();
    for (dropout, golden) in [(Dropout::BgNbd, &file["bgnbd"]), (Dropout::MbgNbd, &file["mbgnbd"])] {
        let report = purchases(dropout, &tuples(rounded)).report;
        close(report.log_likelihood, number(golden, "LL"), 1e-12);
        for (at, name) in report.names.into_iter().enumerate() {
            close(report.parameters[at], number(&golden["params"], name), 1e-6);
            close(report.standard_errors[at].unwrap(), number(&golden["se"], name), 1e-5);
            let log_error = report.log_standard_errors[at].unwrap();
            close(log_error * report.parameters[at], report.standard_errors[at].unwrap(), 1e-12);
        }
    }
    let report = purchases(Dropout::MbgNbd, &tuples(rounded)).report;
    for (found, published) in report.parameters.into_iter().zip([0.52484, 6.18299, 0.89136, 1.61400]) {
        assert!((found - published).abs() < 6e-6, "{:?}", report.parameters);
    }
    assert!((report.log_likelihood + 9582.1327).abs() < 5e-5);
}

#[test]
fn the_unit_changes_alpha_and_nothing_else() {
    let in_days = tuples(|days| days as f64);
    let by_day = purchases(Dropout::BgNbd, &in_days).report;
    let by_week = purchases(Dropout::BgNbd, &tuples(weeks)).report;
    for (at, factor) in [1.0, 7.0, 1.0, 1.0].into_iter().enumerate() {
        close(by_day.parameters[at], by_week.parameters[at] * factor, 1e-10);
    }
    let repeats: u64 = in_days.rows().iter().map(|row| u64::from(row.x) * row.customers).sum();
    close(by_day.log_likelihood, by_week.log_likelihood - repeats as f64 * 7f64.ln(), 1e-12);
}

#[test]
fn gamma_gamma_has_the_published_estimates_and_lifetimes_optimum() {
    let (file, fit) = (lifetimes(), spend());
    for (at, name) in fit.report.names.into_iter().enumerate() {
        close(fit.report.parameters[at], number(&file["gg"]["params"], name), 1e-6);
    }
    // Fader, Hardie & Lee (2005, "RFM and CLV"), fitted to values that are not rounded.
    for (found, published) in fit.report.parameters.into_iter().zip([6.25, 3.74, 15.44]) {
        assert!((found - published).abs() < 0.01, "{:?}", fit.report.parameters);
    }
    close(fit.report.log_likelihood, number(&file["gg"], "LL"), 1e-12);
    close(fit.correlation.unwrap(), number(&file["gg"], "corr_x_m"), 1e-10);
    close(fit.model.expected_spend(0, 0.0).unwrap(), number(&file["gg"], "population_mean"), 1e-6);
    assert!(fit.report.unidentified.is_empty() && fit.report.converged, "{:?}", fit.report);
    assert_eq!(fit.report.customers, 946);
}

#[test]
fn customers_are_those_of_lifetimes() {
    let file = lifetimes();
    let (bg, mbg, gamma) = models_of_lifetimes(&file);
    // Its months have 4.345 weeks; its years of 12 × 30 "days" of weekly data are 83 months long.
    let year = ValueHorizon::new(TimeUnit::Week, 12, 0.01, 4.345 * 7.0).unwrap();
    let wrong = ValueHorizon::new(TimeUnit::Week, 12, 0.01, 30.0 * 7.0).unwrap();
    let ends = Horizon::new(vec![1.0, 13.0, 39.0, 52.0]).unwrap();
    for row in file["customers"].as_array().unwrap() {
        let [x, t_x, t, mean] = ["x", "t_x", "T", "m"].map(|key| number(row, key));
        let x = x as u32;
        close(bg.alive(x, t_x, t), number(row, "bgnbd_palive"), 1e-12);
        close(mbg.alive(x, t_x, t), number(row, "mbgnbd_palive"), 1e-12);
        let keys = ["bgnbd_cet_1", "bgnbd_cet_13", "bgnbd_cet_39", "bgnbd_cet_52"];
        for (found, key) in ends.expected(&bg, x, t_x, t).into_iter().zip(keys) {
            close(found, number(row, key), 1e-10);
        }
        close(ends.expected(&mbg, x, t_x, t)[2], number(row, "mbgnbd_cet_39"), 1e-10);
        let spend = gamma.expected_spend(x, mean).unwrap();
        close(spend, number(row, "gg_expected_spend"), 1e-12);
        close(year.value(&bg, x, t_x, t, spend), number(row, "clv12_weekly_1pct"), 1e-9);
        close(wrong.value(&bg, x, t_x, t, spend), number(row, "clv12_lifetimes_default_freqD"), 1e-9);
    }
}

#[test]
fn customer_1_is_worth_36_and_not_140() {
    let (bg, _, gamma) = models_of_lifetimes(&lifetimes());
    let spend = gamma.expected_spend(2, 22.35).unwrap();
    let value = |month_days| {
        let year = ValueHorizon::new(TimeUnit::Week, 12, 0.01, month_days).unwrap();
        year.value(&bg, 2, 30.43, 38.86, spend)
    };
    assert_eq!(format!("{:.2}", value(4.345 * 7.0)), "36.28");
    assert_eq!(format!("{:.2}", value(MONTH_DAYS)), "36.30");
}

#[test]
fn customer_1516_is_that_of_the_btyd_vignette() {
    // Its parameters are printed with seven digits, its weeks are exact days.
    let model = BgNbd::new(Dropout::BgNbd, 0.242_598_2, 4.413_684_2, 0.792_989_9, 2.426_166_7).unwrap();
    let (t_x, t) = (weeks(216), 31.0);
    close(model.alive(26, t_x, t), 0.968_852_3, 1e-6);
    close(Horizon::new(vec![52.0]).unwrap().expected(&model, 26, t_x, t)[0], 25.756_59, 5e-6);
}

#[test]
fn more_purchases_before_a_long_silence_promise_less() {
    // The setting of the BTYD vignette; the values are those of mpmath at its printed parameters.
    let model = BgNbd::new(Dropout::BgNbd, 0.242_598_2, 4.413_684_2, 0.792_989_9, 2.426_166_7).unwrap();
    let horizon = Horizon::new(vec![52.0]).unwrap();
    let expected = |x| horizon.expected(&model, x, 20.0, 39.0)[0];
    let row =
        [(10, 0.347_460_245_6), (15, 0.042_833_954_2), (20, 0.004_158_985_738), (25, 0.000_358_370_440_1)];
    for (x, right) in row {
        close(expected(x), right, 1e-9);
    }
    // The row rises before it falls.
    let row: Vec<f64> = (1..=25).map(expected).collect();
    let top = (0..row.len()).max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap();
    assert!(top > 0 && top < 10, "{row:?}");
    assert!(row[..=top].windows(2).all(|pair| pair[0] < pair[1]));
    assert!(row[top..].windows(2).all(|pair| pair[0] > pair[1]));
}

#[test]
fn the_whole_sample_adds_up_to_lifetimes_totals() {
    let file = lifetimes();
    let totals = &file["totals"];
    let (bg, ..) = models_of_lifetimes(&file);
    let horizon = Horizon::new(vec![39.0]).unwrap();
    let (mut expected, mut alive, mut customers) = (0.0, 0.0, 0.0);
    for row in tuples(rounded).rows() {
        let weight = row.customers as f64;
        customers += weight;
        expected += weight * horizon.expected(&bg, row.x, row.t_x, row.t)[0];
        alive += weight * bg.alive(row.x, row.t_x, row.t);
    }
    close(expected, number(totals, "sum_cet_39"), 1e-10);
    close(alive / customers, number(totals, "mean_palive"), 1e-10);
    let year = Horizon::new(vec![52.0]).unwrap().expected(&bg, 0, 0.0, 0.0)[0];
    close(year, number(totals, "expected_per_new_customer_52"), 1e-10);
}

#[test]
fn the_next_39_weeks_are_told_as_well_as_by_lifetimes() {
    let file = lifetimes();
    for (dropout, key) in [(Dropout::BgNbd, "bgnbd"), (Dropout::MbgNbd, "mbgnbd")] {
        let golden = &file["holdout"][key];
        let model = purchases(dropout, &tuples(weeks)).model;
        let horizon = Horizon::new(vec![39.0]).unwrap();
        let rows: Vec<(f64, f64, f64)> = csv(SAMPLE)
            .map(|row| {
                let expected = horizon.expected(&model, row[0] as u32, weeks(row[1]), weeks(row[2]))[0];
                (expected, row[3] as f64, row[4] as f64)
            })
            .collect();
        let sum = |value: &dyn Fn(f64, f64) -> f64| -> f64 {
            rows.iter().map(|&(expected, actual, weight)| weight * value(expected, actual)).sum()
        };
        let n = sum(&|_, _| 1.0);
        let (predicted, actual) = (sum(&|p, _| p), sum(&|_, a| a));
        assert_eq!((n, actual), (2357.0, 1882.0));
        close(predicted, number(golden, "total_pred"), 1e-3);
        close(100.0 * (predicted / actual - 1.0), number(golden, "bias_pct"), 1e-3);
        close(sum(&|p, a| (p - a).abs()) / n, number(golden, "MAE"), 1e-3);
        close((sum(&|p, a| (p - a).powi(2)) / n).sqrt(), number(golden, "RMSE"), 1e-3);
        let (mean_p, mean_a) = (predicted / n, actual / n);
        let together = sum(&|p, a| (p - mean_p) * (a - mean_a));
        let apart = sum(&|p, _| (p - mean_p).powi(2)).sqrt() * sum(&|_, a| (a - mean_a).powi(2)).sqrt();
        close(together / apart, number(golden, "corr"), 1e-3);
    }
}

#[test]
fn a_penalty_draws_towards_one_and_is_not_counted_in_the_likelihood() {
    let options = FitOptions { penalty: 0.01, ..FitOptions::default() };
    let plain = purchases(Dropout::BgNbd, &tuples(rounded)).report;
    let drawn = fit_purchases(&tuples(rounded), Dropout::BgNbd, &options).unwrap().report;
    assert!(drawn.converged && drawn.parameters[3] < plain.parameters[3] - 0.1, "{drawn:?}");
    assert!(drawn.log_likelihood < plain.log_likelihood);
    let [r, alpha, a, b] = drawn.parameters;
    let model = BgNbd::new(Dropout::BgNbd, r, alpha, a, b).unwrap();
    let likelihood: f64 = (tuples(rounded).rows().iter())
        .map(|row| row.customers as f64 * model.log_likelihood(row.x, row.t_x, row.t))
        .sum();
    close(drawn.log_likelihood, likelihood, 1e-12);
}
