use super::*;
use crate::numerics::random::generator;
use rand::Rng;

/// The definition, word for word.
fn naive(rows: &[f32], dims: usize, labels: &[u32]) -> Vec<f64> {
    let row = |i: usize| &rows[i * dims..][..dims];
    let distance = |i: usize, j: usize| -> f64 {
        let squares = row(i).iter().zip(row(j)).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let n = labels.len();
    let mean_to = |i: usize, label: u32| {
        let others: Vec<f64> =
            (0..n).filter(|&j| j != i && labels[j] == label).map(|j| distance(i, j)).collect();
        others.iter().sum::<f64>() / others.len() as f64
    };
    (0..n)
        .map(|i| {
            if labels.iter().filter(|&&l| l == labels[i]).count() == 1 {
                return 0.0;
            }
            let a = mean_to(i, labels[i]);
            let others = labels.iter().filter(|&&l| l != labels[i]);
            let b = others.map(|&l| mean_to(i, l)).fold(f64::INFINITY, f64::min);
            (b - a) / a.max(b)
        })
        .collect()
}

fn sample(n: usize, dims: usize, k: u32) -> (Vec<f32>, Vec<u32>) {
    let mut random = generator(5, "silhouette test", n as u64);
    // Uneven clusters with gaps between their labels.
    let labels: Vec<u32> = (0..n).map(|_| 3 * random.gen_range(0..k).min(random.gen_range(0..k))).collect();
    let rows = labels
        .iter()
        .flat_map(|&l| (0..dims).map(move |d| (l as f32 * 0.3, d)))
        .map(|(shift, d)| shift * (d % 3) as f32 + random.gen_range(-1.0..1.0f32))
        .collect();
    (rows, labels)
}

#[test]
fn equals_the_definition_and_does_not_depend_on_threads() {
    let (rows, mut labels) = sample(431, 5, 6);
    labels[17] = 99;
    let expected = naive(&rows, 5, &labels);
    let got = silhouette(&rows, 5, &labels, 1).expect("clusters");
    assert!((got.mean - expected.iter().sum::<f64>() / 431.0).abs() < 1e-6, "{}", got.mean);
    for cluster in &got.clusters {
        let own: Vec<f64> = (0..431).filter(|&i| labels[i] == cluster.label).map(|i| expected[i]).collect();
        assert_eq!(own.len(), cluster.count);
        assert!((cluster.mean - own.iter().sum::<f64>() / own.len() as f64).abs() < 1e-6, "{cluster:?}");
    }
    let alone = got.clusters.last().expect("clusters");
    assert_eq!((alone.label, alone.count, alone.mean), (99, 1, 0.0), "a single point counts as 0");
    for threads in [2, 3, 8, 500] {
        assert_eq!(got, silhouette(&rows, 5, &labels, threads).expect("clusters"), "{threads} threads");
    }
}

/// The example of two pairs on a line: 0 and 1 against 10 and 11.
#[test]
fn two_pairs_worked_out_by_hand() {
    let got = silhouette(&[0.0, 1.0, 10.0, 11.0], 1, &[0, 0, 1, 1], 2).expect("clusters");
    let expected = ((10.5 - 1.0) / 10.5 + (9.5 - 1.0) / 9.5) / 2.0;
    assert!((got.mean - expected).abs() < 1e-7, "{} {expected}", got.mean);
}

#[test]
fn copies_of_one_point_are_zero_and_one_label_is_an_error() {
    assert_eq!(silhouette(&[1.0; 6], 1, &[0, 0, 0, 1, 1, 1], 1).expect("clusters").mean, 0.0);
    let one = silhouette(&[1.0, 2.0], 1, &[4, 4], 1);
    assert_eq!(one, Err(SilhouetteError::OneCluster { points: 2 }));
    let shape = silhouette(&[1.0, 2.0, 3.0], 2, &[0, 1], 1).unwrap_err().to_string();
    assert_eq!(shape, "3 values are not 2 rows of 2 columns");
    let nan = silhouette(&[1.0, 2.0, 3.0, f32::NAN], 2, &[0, 1], 1).unwrap_err().to_string();
    assert_eq!(nan, "row 1, column 1 is NaN, not a finite number");
}

#[test]
fn folds_are_even_in_every_stratum_and_follow_the_seed() {
    let strata: Vec<u32> = (0..1000).map(|i| u32::from(i % 10 == 0)).collect();
    let folds = stratified_folds(&strata, 4, 1);
    for fold in 0..4 {
        let own: Vec<usize> = (0..1000).filter(|&i| folds[i] == fold).collect();
        assert_eq!(own.len(), 250);
        assert_eq!(own.iter().filter(|&&i| strata[i] == 1).count(), 25);
    }
    assert_eq!(folds, stratified_folds(&strata, 4, 1));
    assert_ne!(folds, stratified_folds(&strata, 4, 2));
}

#[test]
fn repeats_average_the_folds() {
    let (rows, labels) = sample(900, 4, 5);
    let folds = stratified_folds(&labels, 3, 9);
    let got = stratified_repeats(&rows, 4, &labels, &folds, 3, 2).expect("clusters");
    let whole = silhouette(&rows, 4, &labels, 2).expect("clusters").mean;
    assert_eq!(got.means.len(), 3);
    assert!((got.mean - whole).abs() < 0.05 && got.standard_error > 0.0, "{got:?} {whole}");
    let spread = got.means.iter().map(|m| (m - got.mean).powi(2)).sum::<f64>();
    assert!((got.standard_error - (spread / 6.0).sqrt()).abs() < 1e-12);
    let one = stratified_repeats(&rows, 4, &labels, &folds, 1, 1);
    assert_eq!(one, Err(SilhouetteError::Repeats { repeats: 1 }));
    let empty = stratified_repeats(&rows, 4, &labels, &folds, 4, 1);
    assert_eq!(empty, Err(SilhouetteError::Repeats { repeats: 4 }));
}

#[test]
fn the_smallest_k_within_one_standard_error_of_the_best() {
    let sweep = [(42, 0.300, 0.004), (7, 0.297, 0.001), (3, 0.295, 0.050), (22, 0.302, 0.004)];
    assert_eq!(smallest_within_one_standard_error(&sweep), Some(22));
    let close = [(42, 0.300, 0.004), (7, 0.2985, 0.001), (3, 0.295, 0.050), (22, 0.302, 0.004)];
    assert_eq!(smallest_within_one_standard_error(&close), Some(7));
    assert_eq!(smallest_within_one_standard_error(&[(9, 0.5, 0.0), (4, 0.5, 0.0)]), Some(4));
    assert_eq!(smallest_within_one_standard_error(&[(9, 0.5, f64::NAN), (4, f64::NAN, 0.0)]), Some(9));
    assert_eq!(smallest_within_one_standard_error(&[]), None);
}

#[test]
fn labellings_together_are_those_alone() {
    let (rows, labels) = sample(900, 4, 5);
    let folds = stratified_folds(&labels, 3, 9);
    let halves: Vec<u32> = labels.iter().map(|label| label / 6).collect();
    let one = vec![7; 900];
    let all = stratified_sweep(&rows, 4, &[&labels, &one, &halves, &labels[1..]], &folds, 3, 2);
    assert_eq!(all[0], stratified_repeats(&rows, 4, &labels, &folds, 3, 1));
    assert_eq!(all[1], Err(SilhouetteError::OneCluster { points: 300 }));
    assert_eq!(all[2], stratified_repeats(&rows, 4, &halves, &folds, 3, 7));
    assert_eq!(all[3], Err(SilhouetteError::Folds { labels: 899, folds: 900 }));
    assert_ne!(all[0], all[2]);
}
