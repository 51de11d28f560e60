use super::*;
use crate::numerics::random::generator;
use rand_xoshiro::rand_core::RngCore;

/// Uniform in 0..1.
fn uniform(random: &mut impl RngCore) -> f32 {
    (random.next_u64() >> 40) as f32 / (1_u64 << 24) as f32
}

/// Hits of two methods: the same half of the time, so that pairing matters; 0.5 and 0.4 on
/// average.
fn hits(customers: usize, key: u64) -> (Vec<f32>, Vec<f32>) {
    let mut random = generator(3, "hits", key);
    let hit = |share: f32, draw: f32| if draw < share { 1.0 } else { 0.0 };
    let pair = |_| {
        let (common, own) = (uniform(&mut random), uniform(&mut random));
        let other = if uniform(&mut random) < 0.5 { common } else { own };
        (hit(0.5, common), hit(0.4, other))
    };
    (0..customers).map(pair).unzip()
}

#[test]
fn intervals_of_means_hold_the_truth_as_often_as_they_say() {
    let covered = |simulation: &u64| {
        let (a, b) = hits(300, *simulation);
        let interval = difference(&a, &b, None, 400, *simulation).unwrap();
        assert!(interval.low <= interval.mean && interval.mean <= interval.high, "{interval:?}");
        interval.low <= 0.1 && 0.1 <= interval.high
    };
    // 190 expected, standard deviation 3.1.
    let held = (0..200).filter(covered).count();
    assert!((178..=199).contains(&held), "{held} of 200");
}

#[test]
fn intervals_of_ratios_hold_the_truth_as_often_as_they_say() {
    // Money between 0.5 and 1.5; a finds 3/5 of it, b half, independently of the amount.
    let covered = |simulation: &u64| {
        let mut random = generator(4, "money", *simulation);
        let money = (0..300).map(|_| 0.5 + uniform(&mut random)).collect::<Vec<_>>();
        let mut found = |share| {
            money.iter().map(|&m| if uniform(&mut random) < share { m } else { 0.0 }).collect::<Vec<_>>()
        };
        let (a, b) = (found(0.6), found(0.5));
        let interval = difference(&a, &b, Some(&money), 400, *simulation).unwrap();
        interval.low <= 0.1 && 0.1 <= interval.high
    };
    let held = (0..200).filter(covered).count();
    assert!((178..=199).contains(&held), "{held} of 200");
}

#[test]
fn the_width_is_that_of_the_paired_standard_error() {
    let (a, b) = hits(4_000, 9);
    let interval = difference(&a, &b, None, 2_000, 5).unwrap();
    let differences = a.iter().zip(&b).map(|(a, b)| f64::from(a - b)).collect::<Vec<_>>();
    let mean = differences.iter().sum::<f64>() / 4_000.0;
    let variance = differences.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / 4_000.0;
    let width = 2.0 * 1.96 * (variance / 4_000.0).sqrt();
    assert!((interval.mean - mean).abs() < 1e-12);
    assert!(((interval.high - interval.low) / width - 1.0).abs() < 0.06, "{interval:?} {width}");
}

#[test]
fn a_method_does_not_differ_from_itself() {
    let (a, _) = hits(500, 1);
    let money = vec![250.0; 500];
    for denominators in [None, Some(&money[..])] {
        let interval = difference(&a, &a, denominators, 100, 1).unwrap();
        assert_eq!(interval, Interval { mean: 0.0, low: 0.0, high: 0.0, repeats: 100 });
    }
}

#[test]
fn a_ratio_with_equal_denominators_is_a_mean() {
    let (a, b) = hits(3_000, 6);
    let mean = difference(&a, &b, None, 200, 8).unwrap();
    let ratio = difference(&a, &b, Some(&vec![4.0; 3_000]), 200, 8).unwrap();
    for (mean, ratio) in [(mean.mean, ratio.mean), (mean.low, ratio.low), (mean.high, ratio.high)] {
        assert!((mean - 4.0 * ratio).abs() < 1e-12, "{mean} {ratio}");
    }
}

#[test]
fn neither_threads_nor_other_pairs_show_and_the_seed_does() {
    // Three blocks, the last one not full.
    let (a, b) = hits(5_003, 2);
    let (c, d) = hits(1_201, 3);
    let money = a.iter().map(|hit| 100.0 + hit).collect::<Vec<_>>();
    let pairs = [
        Pair { a: &a, b: &b, denominators: None },
        Pair { a: &c, b: &d, denominators: None },
        Pair { a: &b, b: &a, denominators: Some(&money) },
    ];
    let one = differences(&pairs, 101, 7, 1).unwrap();
    for threads in [0, 2, 3, 64, 500] {
        assert_eq!(differences(&pairs, 101, 7, threads).unwrap(), one, "{threads}");
    }
    assert_eq!(difference(&c, &d, None, 101, 7).unwrap(), one[1]);
    assert_ne!(difference(&c, &d, None, 101, 8).unwrap(), one[1]);
    // Turned around, ends change places.
    let back = difference(&b, &a, None, 101, 7).unwrap();
    assert!((back.low + one[0].high).abs() < 1e-12 && (back.high + one[0].low).abs() < 1e-12);
}

#[test]
fn customers_without_a_value_are_left_out() {
    let a = [1.0, f32::NAN, 0.0, 1.0, 0.5];
    let b = [0.0, 1.0, f32::NAN, 1.0, 0.0];
    let interval = difference(&a, &b, None, 2_000, 1).unwrap();
    assert_eq!(interval.mean, 0.5);
    assert!(interval.low >= 0.0 && interval.high <= 1.0);
    // Three customers are in no resample at all with probability e^-3.
    assert!((1_850..=1_940).contains(&interval.repeats), "{}", interval.repeats);
}

#[test]
fn weights_are_poisson_and_independent_between_customers_and_repeats() {
    let mut counts = [0_u32; 9];
    let (mut sum, mut next, mut other) = (0.0, 0.0, 0.0);
    let (mut weights, mut others) = ([0.0; BLOCK], [0.0; BLOCK]);
    for block in 0..100 {
        draw_weights(11, block * BLOCK, &mut weights);
        draw_weights(12, block * BLOCK, &mut others);
        for (at, &weight) in weights.iter().enumerate() {
            counts[weight as usize] += 1;
            sum += weight;
            next += (weight - 1.0) * (weights[(at + 1) % BLOCK] - 1.0);
            other += (weight - 1.0) * (others[at] - 1.0);
        }
    }
    let n = 100.0 * BLOCK as f64;
    // Five standard deviations: 1 / √n each.
    for (name, value) in [("mean", sum / n - 1.0), ("next", next / n), ("other repeat", other / n)] {
        assert!(value.abs() < 5.0 / n.sqrt(), "{name} {value}");
    }
    let mut probability = (-1.0_f64).exp();
    for (weight, &count) in counts.iter().enumerate().take(6) {
        let expected = n * probability;
        assert!((f64::from(count) - expected).abs() < 5.0 * expected.sqrt(), "{weight}: {count}");
        probability /= (weight + 1) as f64;
    }
}

#[test]
fn the_steps_are_those_of_the_distribution() {
    let (mut probability, mut sum, mut mean) = ((-1.0_f64).exp(), 0.0, 0.0);
    for (weight, &step) in STEPS.iter().enumerate() {
        sum += probability;
        probability /= (weight + 1) as f64;
        assert_eq!((sum * 65_536.0).round(), f64::from(step));
        mean += 1.0 - f64::from(step) / 65_536.0;
    }
    assert!((mean - 1.0).abs() < 1e-4, "{mean}");
}

#[test]
fn what_does_not_fit_is_named() {
    let error =
        |a: &[f32], b: &[f32], denominators, repeats| difference(a, b, denominators, repeats, 1).unwrap_err();
    assert_eq!(error(&[1.0], &[1.0], None, 39), BootstrapError::Repeats { repeats: 39 });
    assert_eq!(error(&[1.0], &[], None, 50), BootstrapError::Lengths { a: 1, b: 0, denominators: 1 });
    assert_eq!(error(&[1.0], &[1.0], Some(&[]), 50), BootstrapError::Lengths { a: 1, b: 1, denominators: 0 });
    let infinite = error(&[0.0, f32::INFINITY], &[1.0, 1.0], None, 50);
    assert_eq!(infinite.to_string(), "customer 1 has the values inf and 1, not finite numbers");
    assert_eq!(
        error(&[0.0], &[1.0], Some(&[-2.0]), 50),
        BootstrapError::Denominator { customer: 0, denominator: -2.0 }
    );
    assert_eq!(error(&[], &[], None, 50), BootstrapError::Nothing { customers: 0 });
    assert_eq!(error(&[f32::NAN], &[1.0], None, 50), BootstrapError::Nothing { customers: 1 });
    assert_eq!(error(&[1.0], &[1.0], Some(&[0.0]), 50), BootstrapError::Nothing { customers: 1 });
    assert_eq!(differences(&[], 50, 1, 2), Ok(vec![]));
}

#[test]
fn quantiles_lie_between_neighbours() {
    assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), Some(2.0));
    assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
    assert_eq!((quantile(&[5.0], 0.975), quantile(&[], 0.5)), (Some(5.0), None));
}
