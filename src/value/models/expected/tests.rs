use super::*;
use proptest::prelude::*;

const REFERENCE: &str = include_str!("../../../../tests/value/expected_purchases.csv");

struct Row {
    model: BgNbd,
    x: u32,
    t_x: f64,
    watched: f64,
    time: f64,
    alive: f64,
    expected: f64,
}

fn reference() -> Vec<Row> {
    let lines = REFERENCE.lines().filter(|line| !line.starts_with('#')).skip(1);
    let row = |line: &str| {
        let mut fields = line.split(',');
        let dropout = if fields.next() == Some("BG") { Dropout::BgNbd } else { Dropout::MbgNbd };
        let numbers: Vec<f64> = fields.map(|field| field.parse().unwrap()).collect();
        let &[r, alpha, a, b, x, t_x, watched, time, alive, expected] = numbers.as_slice() else {
            panic!("{line}")
        };
        let model = BgNbd::new(dropout, r, alpha, a, b).unwrap();
        Row { model, x: x as u32, t_x, watched, time, alive, expected }
    };
    lines.map(row).collect()
}

fn one(row: &Row) -> f64 {
    let mut expected = [f64::NAN];
    Horizon::new(vec![row.time]).unwrap().if_alive(&row.model, row.x, row.watched, &mut expected);
    expected[0]
}

fn by_quadrature(row: &Row) -> f64 {
    let law = Law::new(&row.model, row.x);
    let y = row.time / (row.model.parameters()[1] + row.watched);
    quadrature::means(law.a, law.b, law.s, &[y])[0]
}

/// The median and the largest.
fn spread(mut errors: Vec<f64>) -> (f64, f64) {
    errors.sort_by(f64::total_cmp);
    (errors[errors.len() / 2], errors[errors.len() - 1])
}

#[test]
fn expectations_have_the_digits_of_high_precision() {
    let rows = reference();
    assert!(rows.len() >= 200);
    let (median, worst) = spread(rows.iter().map(|row| (one(row) / row.expected - 1.0).abs()).collect());
    assert!(median < 1e-15 && worst < 1e-13, "median {median:e}, worst {worst:e}");
    // Absolute where the probability is next to nothing.
    let alive = rows.iter().map(|row| (row.model.alive(row.x, row.t_x, row.watched) - row.alive).abs());
    let (median, worst) = spread(alive.collect());
    assert!(median < 1e-16 && worst < 1e-13, "P(alive): median {median:e}, worst {worst:e}");
}

#[test]
fn quadrature_has_the_digits_of_high_precision_everywhere() {
    let errors = reference().iter().map(|row| (by_quadrature(row) / row.expected - 1.0).abs()).collect();
    let (median, worst) = spread(errors);
    assert!(median < 1e-15 && worst < 1e-13, "median {median:e}, worst {worst:e}");
}

#[test]
fn both_ways_are_taken_by_the_reference() {
    let fast = |row: &Row| {
        let y = row.time / (row.model.parameters()[1] + row.watched);
        Law::new(&row.model, row.x).series(y).is_some()
    };
    let rows = reference();
    let series = rows.iter().filter(|row| fast(row)).count();
    assert!(series > 150 && series < rows.len() - 40, "{series} of {}", rows.len());
}

#[test]
fn no_time_brings_no_purchases_and_wrong_times_are_refused() {
    let model = BgNbd::new(Dropout::BgNbd, 0.24, 4.4, 0.8, 2.4).unwrap();
    assert_eq!(Horizon::new(vec![0.0]).unwrap().expected(&model, 3, 2.0, 5.0), [0.0]);
    assert_eq!(Horizon::new(vec![1.0, -1.0]), Err(HorizonError { index: 1, value: -1.0 }));
    assert!(Horizon::new(vec![f64::NAN]).is_err());
}

#[test]
fn extremes_of_a_fit_stay_finite() {
    let ends = [1e-6, 1.0, 1e5];
    let horizon = Horizon::new(vec![0.0, 1e-9, 1.0, 12.0, 1e9]).unwrap();
    for dropout in [Dropout::BgNbd, Dropout::MbgNbd] {
        for (r, alpha) in ends.iter().flat_map(|&r| ends.map(|alpha| (r, alpha))) {
            for (a, b) in ends.iter().flat_map(|&a| ends.map(|b| (a, b))) {
                let model = BgNbd::new(dropout, r, alpha, a, b).unwrap();
                for x in [0, 1, 1000] {
                    let found = horizon.expected(&model, x, if x == 0 { 0.0 } else { 5.0 }, 6.0);
                    let fine = found.iter().all(|value| value.is_finite() && *value >= 0.0);
                    let rising = found.windows(2).all(|pair| pair[0] <= pair[1] * (1.0 + 1e-13));
                    assert!(fine && rising, "{model:?} {x} {found:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// The two ways share no step.
    #[test]
    fn the_series_agrees_with_quadrature(
        logs in prop::array::uniform4(-4.0f64..4.0),
        (x, watched, time) in (0u32..60, 0.0f64..60.0, 0.01f64..60.0),
        modified in any::<bool>(),
    ) {
        let dropout = if modified { Dropout::MbgNbd } else { Dropout::BgNbd };
        let [r, alpha, a, b] = logs.map(f64::exp);
        let model = BgNbd::new(dropout, r, alpha, a, b).unwrap();
        let row = Row { model, x, t_x: 0.0, watched, time, alive: 0.0, expected: 0.0 };
        let (found, other) = (one(&row), by_quadrature(&row));
        prop_assert!((found / other - 1.0).abs() < 1e-12, "{found} {other}");
        // At most the rate of purchases, r + x in α + T.
        prop_assert!(found <= (r + f64::from(x)) / (alpha + watched) * time * (1.0 + 1e-13));
    }

    #[test]
    fn horizons_do_not_depend_on_each_other(
        times in prop::collection::vec(0.0f64..300.0, 1..6),
        (x, watched) in (0u32..9, 0.0f64..9.0),
    ) {
        let model = BgNbd::new(Dropout::BgNbd, 0.24, 4.4, 0.8, 2.4).unwrap();
        let mut together = vec![0.0; times.len()];
        Horizon::new(times.clone()).unwrap().if_alive(&model, x, watched, &mut together);
        for (time, together) in times.into_iter().zip(together) {
            let row = Row { model, x, t_x: 0.0, watched, time, alive: 0.0, expected: 0.0 };
            let alone = one(&row);
            prop_assert!((alone - together).abs() <= 1e-14 * alone, "{alone} {together}");
        }
    }
}
