//! The silhouette of a labelled sample, its error bars over repeats, and the choice of k by them.
//!
//! For a point, `a` is its mean distance to the others of its cluster and `b` the least mean distance
//! to the points of another cluster; its silhouette is (b − a) / max(a, b), from −1 to 1, and 0 for a
//! point alone in its cluster (Rousseeuw 1987, "Silhouettes: a graphical aid to the interpretation and
//! validation of cluster analysis", J. Comput. Appl. Math. 20).
//!
//! A sweep over k compares differences of a few thousandths, and sampling noise at 2,000 points is
//! several times that. So take one sample for all k, deal it into folds once, and compare means with
//! their standard errors: [`stratified_folds`], [`stratified_repeats`],
//! [`smallest_within_one_standard_error`].

use crate::numerics::blocks::{Blocks, LANES, VACANT};
use crate::numerics::random::{hash_bytes, hash_u64};

/// The silhouette of a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Silhouette {
    /// Mean over all points.
    pub mean: f64,
    /// In order of label.
    pub clusters: Vec<ClusterSilhouette>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClusterSilhouette {
    pub label: u32,
    pub count: usize,
    pub mean: f64,
}

/// Why a sample has no silhouette.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SilhouetteError {
    #[error("the silhouette needs two clusters or more, all {points} points have one label")]
    OneCluster { points: usize },
    #[error("{values} values are not {labels} rows of {dims} columns")]
    Shape { values: usize, labels: usize, dims: usize },
    #[error("row {row}, column {column} is {value}, not a finite number")]
    NotFinite { row: usize, column: usize, value: f32 },
    #[error("{labels} labels but {folds} folds")]
    Folds { labels: usize, folds: usize },
    #[error("{repeats} repeats were asked; a standard error needs two or more, none of them empty")]
    Repeats { repeats: usize },
}

/// The mean silhouette of row-major `rows` with one label each, exact for these rows.
///
/// Cost: n² distances and roots (20,000 rows of 16 columns: 0.2 s on one core); memory 2 n × dims × 4
/// bytes and 8 n. The same bits on any number of threads.
pub fn silhouette(
    rows: &[f32],
    dims: usize,
    labels: &[u32],
    threads: usize,
) -> Result<Silhouette, SilhouetteError> {
    let n = labels.len();
    if dims == 0 || rows.len() != n * dims {
        return Err(SilhouetteError::Shape { values: rows.len(), labels: n, dims });
    }
    if let Some(at) = rows.iter().position(|value| !value.is_finite()) {
        return Err(SilhouetteError::NotFinite { row: at / dims, column: at % dims, value: rows[at] });
    }
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.sort_by_key(|&row| labels[row as usize]);
    let clusters: Vec<&[u32]> = order.chunk_by(|&a, &b| labels[a as usize] == labels[b as usize]).collect();
    if clusters.len() < 2 {
        return Err(SilhouetteError::OneCluster { points: n });
    }
    let grouped = Grouped::new(rows, dims, &clusters);

    // One value a point in the order of the clusters; a thread takes a run of them.
    let mut values = vec![0.0f64; n];
    let part = n.div_ceil(threads.max(1)).next_multiple_of(4);
    std::thread::scope(|scope| {
        for (index, values) in values.chunks_mut(part).enumerate() {
            let points = &order[index * part..][..values.len()];
            let grouped = &grouped;
            scope.spawn(move || grouped.fill(rows, index * part, points, values));
        }
    });

    let mut rest = &values[..];
    let mut means = Vec::with_capacity(clusters.len());
    for cluster in &clusters {
        let (own, after) = rest.split_at(cluster.len());
        rest = after;
        let (label, count) = (labels[cluster[0] as usize], cluster.len());
        means.push(ClusterSilhouette { label, count, mean: own.iter().sum::<f64>() / count as f64 });
    }
    let mean = means.iter().map(|cluster| cluster.mean * cluster.count as f64).sum::<f64>() / n as f64;
    Ok(Silhouette { mean, clusters: means })
}

/// The points cluster by cluster, each cluster from a block of its own.
struct Grouped {
    dims: usize,
    points: Blocks,
    /// First block and number of points of each cluster.
    clusters: Vec<(usize, usize)>,
    /// Place of each cluster's first point in the order of clusters.
    starts: Vec<usize>,
}

impl Grouped {
    fn new(rows: &[f32], dims: usize, members: &[&[u32]]) -> Self {
        let (mut slots, mut clusters, mut starts, mut start) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for cluster in members {
            slots.resize(slots.len().next_multiple_of(LANES), VACANT);
            clusters.push((slots.len() / LANES, cluster.len()));
            starts.push(start);
            slots.extend_from_slice(cluster);
            start += cluster.len();
        }
        Self { dims, points: Blocks::from_slots(rows, dims, &slots), clusters, starts }
    }

    /// The silhouettes of `points`, which are the `first`-th and on in the order of clusters.
    fn fill(&self, rows: &[f32], first: usize, points: &[u32], values: &mut [f64]) {
        let row = |point: u32| &rows[point as usize * self.dims..][..self.dims];
        for (group, (points, values)) in points.chunks(4).zip(values.chunks_mut(4)).enumerate() {
            // A short last group repeats its last point: the same bits, and one kernel less.
            let queries: [&[f32]; 4] = std::array::from_fn(|q| row(points[q.min(points.len() - 1)]));
            let place = |q: usize| first + group * 4 + q;
            let own: [usize; 4] =
                std::array::from_fn(|q| self.starts.partition_point(|&start| start <= place(q)) - 1);
            let (mut a, mut b) = ([0.0f64; 4], [f64::INFINITY; 4]);
            for (cluster, &(block, count)) in self.clusters.iter().enumerate() {
                let sums = self.points.distance_sums(queries, block, count);
                for q in 0..values.len() {
                    if cluster == own[q] {
                        a[q] = if count > 1 { sums[q] / (count - 1) as f64 } else { f64::NAN };
                    } else {
                        b[q] = b[q].min(sums[q] / count as f64);
                    }
                }
            }
            for (q, value) in values.iter_mut().enumerate() {
                let larger = a[q].max(b[q]);
                // Alone in its cluster (a is NaN), or all points in one place: 0 by definition.
                *value = if a[q].is_nan() || larger == 0.0 { 0.0 } else { (b[q] - a[q]) / larger };
            }
        }
    }
}

/// Deals rows into `repeats` disjoint folds, so that every stratum is spread evenly over them.
///
/// Returns the fold of each row. Depends on the strata and the seed only, so that the same folds serve
/// every k of a sweep. Rows of a stratum are taken in hash order, and each stratum goes on where the
/// one before it stopped, so fold sizes differ by one at most.
pub fn stratified_folds(strata: &[u32], repeats: usize, seed: u64) -> Vec<u32> {
    let seed = hash_bytes(b"silhouette folds", seed);
    let mut order: Vec<(u32, u64, usize)> =
        strata.iter().enumerate().map(|(row, &s)| (s, hash_u64(row as u64, seed), row)).collect();
    order.sort_unstable();
    let mut folds = vec![0; strata.len()];
    for (place, &(_, _, row)) in order.iter().enumerate() {
        folds[row] = (place % repeats.max(1)) as u32;
    }
    folds
}

/// A silhouette over disjoint repeats.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeats {
    /// Mean of the repeats' means.
    pub mean: f64,
    /// Standard deviation of the repeats' means (n − 1) over the root of their number.
    pub standard_error: f64,
    pub means: Vec<f64>,
}

/// The silhouette of every fold of the sample and the standard error over folds.
///
/// `folds` has the fold of each row, 0 to `repeats` − 1, as [`stratified_folds`] deals them. A fold of
/// one label has no silhouette, which is an error, as for the whole. Cost: n² / repeats distances.
pub fn stratified_repeats(
    rows: &[f32],
    dims: usize,
    labels: &[u32],
    folds: &[u32],
    repeats: usize,
    threads: usize,
) -> Result<Repeats, SilhouetteError> {
    if folds.len() != labels.len() {
        return Err(SilhouetteError::Folds { labels: labels.len(), folds: folds.len() });
    }
    if dims == 0 || rows.len() != labels.len() * dims {
        return Err(SilhouetteError::Shape { values: rows.len(), labels: labels.len(), dims });
    }
    let mut means = Vec::with_capacity(repeats);
    for fold in 0..repeats as u32 {
        let members = || (0..labels.len()).filter(|&row| folds[row] == fold);
        let own_labels: Vec<u32> = members().map(|row| labels[row]).collect();
        if own_labels.is_empty() {
            return Err(SilhouetteError::Repeats { repeats });
        }
        let own_rows: Vec<f32> = members().flat_map(|row| &rows[row * dims..][..dims]).copied().collect();
        means.push(silhouette(&own_rows, dims, &own_labels, threads)?.mean);
    }
    if means.len() < 2 {
        return Err(SilhouetteError::Repeats { repeats });
    }
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Ok(Repeats { mean, standard_error: (variance / n).sqrt(), means })
}

/// The smallest k whose mean reaches the best mean less that best's standard error (the rule of
/// Breiman et al. 1984 for trees). `sweep` holds (k, mean, standard error) in any order; entries with a
/// NaN mean are passed over; `None` when nothing is left.
pub fn smallest_within_one_standard_error(sweep: &[(usize, f64, f64)]) -> Option<usize> {
    let measured = || sweep.iter().filter(|(_, mean, _)| !mean.is_nan());
    // The larger mean; of equals the smaller k.
    let best = measured().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))?;
    let least = if best.2.is_nan() { best.1 } else { best.1 - best.2 };
    measured().filter(|(_, mean, _)| *mean >= least).map(|&(k, _, _)| k).min()
}

#[cfg(test)]
mod tests {
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
        let labels: Vec<u32> =
            (0..n).map(|_| 3 * random.gen_range(0..k).min(random.gen_range(0..k))).collect();
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
            let own: Vec<f64> =
                (0..431).filter(|&i| labels[i] == cluster.label).map(|i| expected[i]).collect();
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
}
