//! Customers drawn from the models: the fits find what they were drawn from, and say so where they cannot.

use crate::numerics::random::generator;
use crate::value::models::*;
use rand::Rng;
use rand_distr::{Beta, Distribution, Exp, Gamma};

/// Customers of the model over times T from `shortest` to 1.5 times it, one drawn after the other.
fn customers(model: &BgNbd, n: usize, shortest: f64, key: u64) -> Tuples {
    let mut random = generator(11, "customers of a model", key);
    let [r, alpha, a, b] = model.parameters();
    let (rates, chances) = (Gamma::new(r, 1.0 / alpha).unwrap(), Beta::new(a, b).unwrap());
    let rows = (0..n).map(|_| {
        let t = shortest * (1.0 + 0.5 * random.gen_range(0.0..1.0));
        let rate: f64 = rates.sample(&mut random);
        let chance: f64 = chances.sample(&mut random);
        let wait = Exp::new(rate.max(1e-300)).unwrap();
        let (mut x, mut t_x) = (0, 0.0);
        let mut there = model.dropout() == Dropout::BgNbd || random.gen_range(0.0..1.0) >= chance;
        while there {
            let next = t_x + wait.sample(&mut random);
            if next > t {
                break;
            }
            (x, t_x) = (x + 1, next);
            there = random.gen_range(0.0..1.0) >= chance;
        }
        PurchaseTuple { x, t_x, t, customers: 1 }
    });
    Tuples::new(TimeUnit::Week, rows.collect()).unwrap()
}

fn within_three_errors<const N: usize>(report: &FitReport<N>, truth: [f64; N]) {
    assert!(report.converged && report.unidentified.is_empty(), "{report:?}");
    for (at, truth) in truth.into_iter().enumerate() {
        let (found, error) = (report.parameters[at].ln(), report.log_standard_errors[at].unwrap());
        assert!((found - truth.ln()).abs() < 3.0 * error, "{} {report:?}", report.names[at]);
        assert!(error < 0.25, "{report:?}");
    }
}

#[test]
fn purchase_models_are_found_again() {
    for (dropout, key) in [(Dropout::BgNbd, 1), (Dropout::MbgNbd, 2)] {
        let truth = BgNbd::new(dropout, 0.6, 5.0, 0.9, 2.2).unwrap();
        let fit =
            fit_purchases(&customers(&truth, 20_000, 40.0, key), dropout, &FitOptions::default()).unwrap();
        within_three_errors(&fit.report, truth.parameters());
    }
}

#[test]
fn expected_purchases_are_the_mean_of_those_drawn() {
    let truth = BgNbd::new(Dropout::MbgNbd, 0.8, 5.0, 0.7, 2.0).unwrap();
    let horizon = Horizon::new(vec![30.0]).unwrap();
    let all = customers(&truth, 40_000, 30.0, 3);
    let mean = |value: &dyn Fn(&PurchaseTuple) -> f64| all.rows().iter().map(value).sum::<f64>() / 40_000.0;
    // A new customer: x within T, T taken as drawn.
    let drawn = mean(&|row| f64::from(row.x));
    let expected = mean(&|row| Horizon::new(vec![row.t]).unwrap().expected(&truth, 0, 0.0, 0.0)[0]);
    let variance = mean(&|row| (f64::from(row.x) - drawn).powi(2));
    let error = (variance / 40_000.0).sqrt();
    assert!((drawn - expected).abs() < 3.5 * error, "{drawn} {expected} ± {error}");
    assert!(horizon.expected(&truth, 2, 10.0, 30.0)[0] < horizon.expected(&truth, 2, 29.0, 30.0)[0]);
}

#[test]
fn a_spend_model_is_found_again() {
    let mut random = generator(11, "spend of a model", 4);
    let truth = GammaGamma::new(4.0, 3.5, 20.0).unwrap();
    let rates = Gamma::new(3.5, 1.0 / 20.0).unwrap();
    let rows = (0..20_000).map(|_| {
        let x: u32 = random.gen_range(1..8);
        let rate: f64 = rates.sample(&mut random);
        let mean = Gamma::new(4.0 * f64::from(x), 1.0 / (rate * f64::from(x))).unwrap().sample(&mut random);
        (x, mean, 1)
    });
    let fit = fit_spend(&SpendRows::new(rows.collect()).unwrap(), &FitOptions::default()).unwrap();
    within_three_errors(&fit.report, truth.parameters());
    assert!(fit.correlation.unwrap().abs() < 0.03);
}

#[test]
fn one_dropout_probability_for_all_is_called_unidentified_heterogeneity() {
    // a and b go to infinity with a/(a + b) = 0.2.
    let truth = BgNbd::new(Dropout::BgNbd, 0.9, 4.0, 4e5, 16e5).unwrap();
    let all = customers(&truth, 8_000, 60.0, 5);
    let fit = fit_purchases(&all, Dropout::BgNbd, &FitOptions::default()).unwrap();
    let [r, _, a, b] = fit.report.parameters;
    assert_eq!(fit.report.unidentified, [Unidentified::DropoutHeterogeneity], "{:?}", fit.report);
    assert!((a / (a + b) - 0.2).abs() < 0.02 && (r / 0.9 - 1.0).abs() < 0.1, "{:?}", fit.report);
    assert!(fit.report.converged && fit.report.unidentified[0].to_string().contains("chance of leaving"));
    let expected = Horizon::new(vec![1.0, 52.0]).unwrap().expected(&fit.model, 4, 50.0, 60.0);
    assert!(expected[0] > 0.0 && expected[1] > expected[0] && expected[1] < 100.0);
}

#[test]
fn a_base_that_nobody_leaves_has_no_dropout_to_find() {
    let truth = BgNbd::new(Dropout::BgNbd, 0.9, 4.0, 1e-4, 1e4).unwrap();
    let all = customers(&truth, 3_000, 60.0, 6);
    let fit = fit_purchases(&all, Dropout::BgNbd, &FitOptions::default()).unwrap();
    assert!(fit.report.unidentified.contains(&Unidentified::Dropout), "{:?}", fit.report);
    let rate = fit.report.parameters[0] / fit.report.parameters[1];
    assert!((rate / 0.225 - 1.0).abs() < 0.1, "{:?}", fit.report);
    assert!(fit.model.alive(10, 59.0, 60.0) > 0.99);
}

#[test]
fn one_rate_for_all_is_called_unidentified_heterogeneity() {
    let truth = BgNbd::new(Dropout::BgNbd, 1e5, 1e6, 1.0, 2.0).unwrap();
    let all = customers(&truth, 3_000, 60.0, 7);
    let fit = fit_purchases(&all, Dropout::BgNbd, &FitOptions::default()).unwrap();
    assert!(fit.report.unidentified.contains(&Unidentified::PurchaseHeterogeneity), "{:?}", fit.report);
    assert!((fit.report.parameters[0] / fit.report.parameters[1] / 0.1 - 1.0).abs() < 0.1);
}

#[test]
fn spend_on_a_ridge_is_named() {
    let mut random = generator(11, "spend of a model", 8);
    // Customers do not differ: q and v go to infinity.
    let gamma = |x: u32| Gamma::new(4.0 * f64::from(x), 5.0 / f64::from(x)).unwrap();
    let alike: Vec<_> = (0..3000).map(|i| (1 + i % 5, gamma(1 + i % 5).sample(&mut random), 1)).collect();
    let fit = fit_spend(&SpendRows::new(alike).unwrap(), &FitOptions::default()).unwrap();
    assert_eq!(fit.report.unidentified, [Unidentified::SpendBetweenCustomers], "{:?}", fit.report);
    assert!((fit.model.expected_spend(1, 100.0).unwrap() / 20.0 - 1.0).abs() < 0.1);
    // Customers differ so much that they have no mean: q = 0.7.
    let rates = Gamma::new(0.7, 1.0).unwrap();
    let wild = (0..3000u32)
        .map(|i| {
            let (x, rate): (u32, f64) = (1 + i % 5, rates.sample(&mut random));
            let mean = Gamma::new(2.0 * f64::from(x), 1.0 / (rate * f64::from(x))).unwrap();
            (x, mean.sample(&mut random), 1)
        })
        .collect();
    let fit = fit_spend(&SpendRows::new(wild).unwrap(), &FitOptions::default()).unwrap();
    assert!(fit.report.unidentified == [Unidentified::MeanSpend], "{:?}", fit.report);
    assert!(fit.model.expected_spend(0, 0.0).is_err());
}
