use super::*;
use crate::value::models::{BgNbd, PurchaseTuple, TimeUnit};
use proptest::prelude::*;

fn tuples(rows: &[(u32, f64, f64, u64)]) -> Tuples {
    let rows = rows.iter().map(|&(x, share, t, customers)| {
        let t_x = if x == 0 { 0.0 } else { share * t };
        PurchaseTuple { x, t_x, t, customers }
    });
    Tuples::new(TimeUnit::Week, rows.collect()).unwrap()
}

proptest! {
    #[test]
    fn the_pass_agrees_with_single_customers_and_differences(
        rows in prop::collection::vec((0u32..30, 0.01f64..1.0, 0.5f64..60.0, 1u64..9), 1..12),
        logs in prop::array::uniform4(-2.0f64..2.5),
        modified in any::<bool>(),
    ) {
        let dropout = if modified { Dropout::MbgNbd } else { Dropout::BgNbd };
        let tuples = tuples(&rows);
        let likelihood = Likelihood::new(&tuples, dropout, 7.0);
        let here = likelihood.mean_loss(&logs);
        let [r, alpha, a, b] = logs.map(f64::exp);
        let model = BgNbd::new(dropout, r, alpha * 7.0, a, b).unwrap();
        let direct: f64 = tuples.rows().iter()
            .map(|row| row.customers as f64 * model.log_likelihood(row.x, row.t_x, row.t)).sum();
        let total = likelihood.in_units(here.value);
        prop_assert!((total - direct).abs() < 1e-11 * (1.0 + direct.abs()), "{total} {direct}");

        let step = 1e-5;
        for i in 0..4 {
            let at = |sign: f64| {
                let mut moved = logs;
                moved[i] += sign * step;
                likelihood.mean_loss(&moved)
            };
            let (up, down) = (at(1.0), at(-1.0));
            let slope = (up.value - down.value) / (2.0 * step);
            let size = 1.0 + here.value.abs();
            prop_assert!((slope - here.gradient[i]).abs() < 2e-8 * size, "{i} {slope} {:?}", here.gradient);
            for j in 0..4 {
                let bend = (up.gradient[j] - down.gradient[j]) / (2.0 * step);
                let found = here.hessian[i][j];
                prop_assert!((bend - found).abs() < 2e-7 * size, "{i} {j} {bend} {found}");
                prop_assert_eq!(found, here.hessian[j][i]);
            }
        }
    }
}
