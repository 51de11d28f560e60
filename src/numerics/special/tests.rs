#![expect(
    clippy::excessive_precision,
    clippy::unreadable_literal,
    reason = "printed with more digits than a double has"
)]

use super::*;
use proptest::prelude::*;

/// x, ln Γ, ψ, ψ′ from mpmath 1.4.1 at 40 digits, for the doubles next to the decimals.
const GAMMAS: [(f64, f64, f64, f64); 12] = [
    (1e-06, 13.815509980749431714, -1000000.5772140200139, 1000000000001.6450222),
    (0.01, 4.5994798780420217016, -100.56088545786867242, 10001.621213528312804),
    (0.3, 1.0957979948180755606, -3.5025242222001331249, 12.245364546107731301),
    (1.0, 0.0, -0.57721566490153286061, 1.6449340668482264365),
    (1.5, -0.12078223763524522235, 0.036489973978576520559, 0.93480220054467930942),
    (2.0, 0.0, 0.42278433509846713939, 0.64493406684822643647),
    (3.7, 1.4280723266653881292, 1.1671535393615114409, 0.31003785767003830216),
    (11.9, 17.258477450595522012, 2.4339335368825374859, 0.087663201190004183574),
    (12.0, 17.502307845873885839, 2.4426616799758120167, 0.08690187287176839075),
    (25.5, 56.389167643719946744, 3.2189424728839197665, 0.039994669649562924037),
    (1234.5, 7550.5509010778948957, 7.1180162318279978433, 0.0008103727271269666527),
    (1000000.0, 12815504.56914761166, 13.815510057964190771, 1.0000005000001666667e-6),
];

/// x, n, ln (x)_n, ψ(x + n) − ψ(x), ψ′(x + n) − ψ′(x), in the same way.
const RISING: [(f64, u32, f64, f64, f64); 11] = [
    (1e-05, 1, -11.512925464970228338, 99999.99999999999182, -9999999999.9999983639),
    (1e-05, 3, -10.819763284472782654, 100001.49998750010432, -10000000001.249975864),
    (0.24, 1, -1.4271163556401457854, 4.1666666666666668209, -17.361111111111112396),
    (0.24, 25, 54.222419986704050008, 7.6146497685791097327, -18.53144331001392312),
    (0.9, 300, 1414.2689455245591981, 6.4600423315669954282, -1.9192110677443743441),
    (3.5, 24, 61.704017226529429507, 2.1927373675697901568, -0.29332495080467550147),
    (3.5, 100000, 1051326.8032829315061, 10.409798823879160649, -0.33034775640022594857),
    (100000.0, 1, 11.51292546497022842, 0.00001, -1.0e-10),
    (100000.0, 1000, 11517.903905966527379, 0.009950380358282777486, -9.9010886192530305868e-8),
    (162754.8, 25, 300.00184448921150289, 0.00015359397646860115055, -9.4364438614965478588e-10),
    (11.5, 40, 134.14922835043470004, 1.5336025215906301732, -0.071239446267671842919),
];

#[test]
fn gamma_functions_have_the_stated_digits() {
    for (x, ln, psi, psi1) in GAMMAS {
        let off = |found: f64, right: f64| (found - right).abs() - 4e-16 * right.abs();
        assert!(off(ln_gamma(x), ln) < 1e-14, "{x} {} {ln}", ln_gamma(x));
        assert!(off(digamma(x), psi) < 1e-14, "{x} {} {psi}", digamma(x));
        assert!((trigamma(x) / psi1 - 1.0).abs() < 2e-15, "{x} {} {psi1}", trigamma(x));
    }
}

#[test]
fn differences_over_steps_keep_their_digits() {
    for (x, n, ln, first, second) in RISING {
        let found = rising(x, n);
        assert!((found.ln - ln).abs() < 1e-14 * ln.abs().max(1.0), "{x} {n} {} {ln}", found.ln);
        assert!((found.first / first - 1.0).abs() < 1e-14, "{x} {n} {} {first}", found.first);
        assert!((found.second / second - 1.0).abs() < 1e-14, "{x} {n} {} {second}", found.second);
        let by = rising_by(x, f64::from(n));
        assert!((by.ln - ln).abs() < 1e-14 * ln.abs().max(1.0), "{x} {n} {} {ln}", by.ln);
        assert!((by.first / first - 1.0).abs() < 1e-14, "{x} {n} {} {first}", by.first);
        assert!((by.second / second - 1.0).abs() < 1e-14, "{x} {n} {} {second}", by.second);
    }
    assert_eq!(rising(3.0, 0), Rising { ln: 0.0, first: 0.0, second: 0.0 });
}

#[test]
fn sums_of_exponentials_do_not_overflow() {
    assert_eq!(log_add_exp(f64::NEG_INFINITY, 3.0), 3.0);
    assert_eq!(log_add_exp(3.0, f64::NEG_INFINITY), 3.0);
    assert_eq!(log_add_exp(f64::NEG_INFINITY, f64::NEG_INFINITY), f64::NEG_INFINITY);
    assert!((log_add_exp(1000.0, 1000.0) - 1000.0 - 2f64.ln()).abs() < 1e-12);
    assert!((log_add_exp(0.0, -40.0) - 4.248_354_255_291_589e-18).abs() < 1e-30);
}

proptest! {
    /// Γ(x + 1) = x·Γ(x), and its derivatives.
    #[test]
    fn recurrences_hold(x in 1e-3f64..200.0) {
        prop_assert!((ln_gamma(x + 1.0) - ln_gamma(x) - x.ln()).abs() < 5e-13);
        prop_assert!((digamma(x + 1.0) - digamma(x) - 1.0 / x).abs() < 1e-12);
        prop_assert!(((trigamma(x) - trigamma(x + 1.0)) * x * x - 1.0).abs() < 1e-10);
    }

    #[test]
    fn exp_of_negative_is_that_of_the_library(x in -700.0f64..=0.0, near in -2.0f64..=0.0) {
        for x in [x, near, 0.0, -0.0] {
            prop_assert!((exp_of_negative(x) / x.exp() - 1.0).abs() < 4e-16, "{x}");
        }
        prop_assert!(exp_of_negative(f64::NEG_INFINITY) < 1e-303);
    }

    #[test]
    fn ln_1p_is_that_of_the_library(log in -80.0f64..80.0) {
        let x = log.exp();
        prop_assert!((ln_1p(x) / x.ln_1p() - 1.0).abs() < 5e-16, "{x}");
        prop_assert_eq!(ln_1p(0.0), 0.0);
    }

    #[test]
    fn distances_add_up(x in 1e-3f64..1e4, d in 0.0f64..60.0, e in 0.0f64..60.0) {
        let (one, two, both) = (rising_by(x, d), rising_by(x + d, e), rising_by(x, d + e));
        prop_assert!((one.ln + two.ln - both.ln).abs() < 1e-13 * (1.0 + both.ln.abs() + one.ln.abs()));
        prop_assert!((one.first + two.first - both.first).abs() < 1e-13 * (1e-3 + both.first));
        prop_assert!((one.second + two.second - both.second).abs() < 1e-13 * (1e-6 - both.second));
        prop_assert!((ln_gamma(x + d) - ln_gamma(x) - one.ln).abs() < 1e-10);
    }

    #[test]
    fn steps_add_up(x in 1e-3f64..1e4, n in 0u32..60, m in 0u32..60) {
        let (one, two, both) = (rising(x, n), rising(x + f64::from(n), m), rising(x, n + m));
        prop_assert!((one.ln + two.ln - both.ln).abs() < 1e-13 * (1.0 + both.ln.abs() + one.ln.abs()));
        prop_assert!((one.first + two.first - both.first).abs() < 1e-13 * (1e-3 + both.first));
        let expected = ln_beta(x, 2.5) - ln_beta(x + f64::from(n), 2.5);
        let found = rising(x + 2.5, n).ln - one.ln;
        prop_assert!((found - expected).abs() < 1e-10, "{found} {expected}");
    }
}
