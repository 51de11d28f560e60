//! The silhouette of a labelled sample, its error bars over repeats, and the choice of k by them.
//!
//! For a point, `a` is its mean distance to the others of its cluster and `b` the least mean distance
//! to the points of another cluster; its silhouette is (b − a) / max(a, b), from −1 to 1, and 0 for a
//! point alone in its cluster (Rousseeuw 1987, "Silhouettes: a graphical aid to the interpretation and
//! validation of cluster analysis", J. Comput. Appl. Math. 20).
//!
//! A sweep over k compares differences of a few thousandths, and sampling noise at 2,000 points is
//! several times that. So take one sample for all k, deal it into folds once, and compare means with
//! their standard errors: [`stratified_folds`], [`stratified_sweep`],
//! [`smallest_within_one_standard_error`].
//!
//! The distances of a sample are the same for every k: they are measured once, sixteen points to all, and
//! added up for one labelling after the other while they are in a cache.

mod sums;

use crate::numerics::blocks::{Blocks, LANES};
use crate::numerics::random::{hash_bytes, hash_u64};
use std::sync::{Mutex, PoisonError};
use sums::Clusters;

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
/// Cost: n² distances and roots (20,000 rows of 16 columns: 0.2 s on one core); memory n × dims × 4 bytes
/// and 16 n, and 64 n a thread. The same bits on any number of threads.
pub fn silhouette(
    rows: &[f32],
    dims: usize,
    labels: &[u32],
    threads: usize,
) -> Result<Silhouette, SilhouetteError> {
    let mut one = silhouettes(rows, dims, &[labels], threads);
    one.pop().unwrap_or(Err(SilhouetteError::OneCluster { points: labels.len() }))
}

/// The silhouette of the same rows with several labellings, in their order; one that has none is an error for
/// itself. Distances are measured once for all.
fn silhouettes(
    rows: &[f32],
    dims: usize,
    labellings: &[&[u32]],
    threads: usize,
) -> Vec<Result<Silhouette, SilhouetteError>> {
    let bad = rows.iter().position(|value| !value.is_finite());
    let clusters = |labels: &&[u32]| {
        let n = labels.len();
        if dims == 0 || rows.len() != n * dims {
            return Err(SilhouetteError::Shape { values: rows.len(), labels: n, dims });
        }
        if let Some(at) = bad {
            return Err(SilhouetteError::NotFinite { row: at / dims, column: at % dims, value: rows[at] });
        }
        let clusters = Clusters::new(labels);
        if clusters.len() < 2 {
            return Err(SilhouetteError::OneCluster { points: n });
        }
        Ok(clusters)
    };
    let clusters: Vec<Result<Clusters, SilhouetteError>> = labellings.iter().map(clusters).collect();
    let sound: Vec<&Clusters> = clusters.iter().flatten().collect();
    let values = if sound.is_empty() { Vec::new() } else { values(rows, dims, &sound, threads) };
    let (width, mut place) = (sound.len(), 0);
    let mean = |clusters: Result<Clusters, SilhouetteError>| {
        let clusters = clusters?;
        let own = place;
        place += 1;
        Ok(clusters.summary(|row| values[row / LANES * width + own][row % LANES]))
    };
    clusters.into_iter().map(mean).collect()
}

/// The silhouette of every point: for each sixteen points an array a labelling.
fn values(rows: &[f32], dims: usize, labellings: &[&Clusters], threads: usize) -> Vec<[f64; LANES]> {
    let points = Blocks::from_rows(rows, dims);
    let mut values = vec![[0.0; LANES]; points.blocks() * labellings.len()];
    // Blocks are handed out one by one, so that all threads end together.
    let jobs = Mutex::new(values.chunks_exact_mut(labellings.len()).enumerate());
    let work = || {
        let mut tile = vec![[0.0; LANES]; points.slots()];
        while let Some((block, values)) = { jobs.lock().unwrap_or_else(PoisonError::into_inner).next() } {
            points.roots(block, rows, &mut tile);
            for (values, clusters) in values.iter_mut().zip(labellings) {
                *values = clusters.values(block, &tile);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(points.blocks()).max(1) {
            scope.spawn(work);
        }
        work();
    });
    values
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
    let mut one = stratified_sweep(rows, dims, &[labels], folds, repeats, threads);
    one.pop().unwrap_or(Err(SilhouetteError::Repeats { repeats }))
}

/// [`stratified_repeats`] of several labellings of the same rows, in their order; one without a silhouette is
/// an error for itself. Cost: n² / repeats distances for all together, and as many additions for each.
pub fn stratified_sweep(
    rows: &[f32],
    dims: usize,
    labellings: &[&[u32]],
    folds: &[u32],
    repeats: usize,
    threads: usize,
) -> Vec<Result<Repeats, SilhouetteError>> {
    let mut means: Vec<Result<Vec<f64>, SilhouetteError>> = labellings
        .iter()
        .map(|labels| {
            if folds.len() != labels.len() {
                return Err(SilhouetteError::Folds { labels: labels.len(), folds: folds.len() });
            }
            if dims == 0 || rows.len() != labels.len() * dims {
                return Err(SilhouetteError::Shape { values: rows.len(), labels: labels.len(), dims });
            }
            if repeats < 2 {
                return Err(SilhouetteError::Repeats { repeats });
            }
            Ok(Vec::with_capacity(repeats))
        })
        .collect();
    for fold in 0..repeats as u32 {
        let members: Vec<usize> = (0..folds.len()).filter(|&row| folds[row] == fold).collect();
        let sound: Vec<usize> = (0..means.len()).filter(|&labelling| means[labelling].is_ok()).collect();
        if sound.is_empty() {
            break;
        }
        let own_rows: Vec<f32> =
            members.iter().flat_map(|row| &rows[row * dims..][..dims]).copied().collect();
        let own_labels: Vec<Vec<u32>> = sound
            .iter()
            .map(|&labelling| members.iter().map(|&row| labellings[labelling][row]).collect())
            .collect();
        let own_labels: Vec<&[u32]> = own_labels.iter().map(Vec::as_slice).collect();
        for (labelling, found) in sound.into_iter().zip(silhouettes(&own_rows, dims, &own_labels, threads)) {
            match (&mut means[labelling], found) {
                (Ok(means), Ok(found)) => means.push(found.mean),
                (means, Err(_)) if members.is_empty() => *means = Err(SilhouetteError::Repeats { repeats }),
                (means, Err(error)) => *means = Err(error),
                (Err(_), Ok(_)) => {}
            }
        }
    }
    means.into_iter().map(|means| means.map(repeated)).collect()
}

/// Two means or more.
fn repeated(means: Vec<f64>) -> Repeats {
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Repeats { mean, standard_error: (variance / n).sqrt(), means }
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
mod tests;
