//! Segments fitted on the sample: scaling, the sweep over k, the final k-means.

use super::SegmentError;
use crate::charts::SweepPoint;
use crate::config::resolve::{SegmentAlgorithm, SegmentCount, Segments};
use crate::engine::workers;
use crate::features::SampledCustomer;
use crate::features::behaviour::BehaviourColumn;
use crate::numerics::blocks::{Blocks, LANES};
use crate::numerics::kmeans::{Algorithm, KMeans, Options, Prepared};
use crate::numerics::scaling::Scaling;
use crate::numerics::silhouette::{self, Repeats, SilhouetteError};

/// Behaviour columns with a fitted scale; also what similarity vectors start from.
#[derive(Debug, Clone)]
pub struct ScaledBehaviour {
    /// Those with any value in the sample.
    pub columns: Vec<BehaviourColumn>,
    pub scaling: Scaling,
}

impl ScaledBehaviour {
    /// Fits the scale and scales the sample: row-major, one row a sampled customer.
    pub fn fit(
        columns: &[BehaviourColumn],
        sample: &[SampledCustomer],
    ) -> Result<(Self, Vec<f32>), SegmentError> {
        let known: Vec<usize> = (0..columns.len())
            .filter(|column| sample.iter().any(|customer| customer.behaviour[*column].is_finite()))
            .collect();
        let values: Vec<Vec<f64>> = known
            .iter()
            .map(|column| sample.iter().map(|customer| f64::from(customer.behaviour[*column])).collect())
            .collect();
        let kinds: Vec<_> = known.iter().map(|column| columns[*column].kind).collect();
        let scaling = Scaling::fit(&values, &kinds)?;
        let fitted =
            Self { columns: known.into_iter().map(|column| columns[column].clone()).collect(), scaling };
        let rows = fitted.scale(columns, sample)?;
        Ok((fitted, rows))
    }

    /// Scales a sample whose behaviour has the given columns: row-major, one row a sampled customer.
    pub fn scale(
        &self,
        columns: &[BehaviourColumn],
        sample: &[SampledCustomer],
    ) -> Result<Vec<f32>, SegmentError> {
        let places: Vec<Option<usize>> = self
            .columns
            .iter()
            .map(|own| columns.iter().position(|column| column.name == own.name))
            .collect();
        let mut rows = vec![0f32; sample.len() * self.dims()];
        let mut row = vec![0f64; self.dims()];
        for (customer, out) in sample.iter().zip(rows.chunks_exact_mut(self.dims().max(1))) {
            for (value, place) in row.iter_mut().zip(&places) {
                *value = place.map_or(f64::NAN, |place| f64::from(customer.behaviour[place]));
            }
            self.scaling.apply(&row, out)?;
            for (value, column) in out.iter_mut().zip(&self.columns) {
                *value *= column.weight;
            }
        }
        Ok(rows)
    }

    pub fn dims(&self) -> usize {
        self.columns.len()
    }
}

/// One number of segments that was tried.
#[derive(Debug, Clone)]
pub struct SweepRow {
    pub point: SweepPoint,
    pub iterations: usize,
    pub chosen: bool,
}

/// Fitted segments; segment 1 has the most revenue per customer in the sample.
#[derive(Clone)]
pub struct SegmentModel {
    pub behaviour: ScaledBehaviour,
    centres: Blocks,
    pub k: usize,
    pub sweep: Vec<SweepRow>,
}

/// A customer's place among the segments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// From 0.
    pub segment: usize,
    pub distance: f64,
    /// How much farther the second nearest centre is; 0 with one segment.
    pub margin: f64,
}

impl SegmentModel {
    /// Fits on the scaled `sample` (`rows`: row-major, in the order of the customers' hashes) of a base of
    /// so many customers.
    ///
    /// Memory: the sample once more, and some 50 bytes a customer of it for each thread. Time: one k-means for
    /// every k of the sweep.
    pub fn fit(
        behaviour: ScaledBehaviour,
        rows: &[f32],
        (sample, customers): (&[SampledCustomer], u64),
        settings: &Segments,
        seed: u64,
        threads: usize,
        progress: impl Fn(u64) + Sync,
    ) -> Result<Self, SegmentError> {
        let dims = behaviour.dims();
        let n = sample.len();
        let options = Options {
            max_iterations: settings.max_iterations,
            threads,
            algorithm: match settings.algorithm {
                SegmentAlgorithm::Lloyd => Algorithm::Lloyd,
                SegmentAlgorithm::Linfa => Algorithm::Linfa,
            },
            ..Options::new(1, seed)
        };
        let last = |k: usize| Options { k, starts: settings.starts, ..options.clone() };
        let data = Prepared::new(rows, dims)?;
        let (fitted, sweep) = match settings.k {
            SegmentCount::Fixed(k) if k as u64 > customers => {
                return Err(SegmentError::MoreThanCustomers { k, customers });
            }
            SegmentCount::Fixed(k) => (data.fit(&last(k.min(n)))?, Vec::new()),
            // One customer or two cannot be parted.
            SegmentCount::Sweep { .. } if n < 3 => (data.fit(&last(1))?, Vec::new()),
            SegmentCount::Sweep { from, to, step } => {
                let tried: Vec<usize> = (from..=to).step_by(step).filter(|k| *k < n).collect();
                let tried = if tried.is_empty() { vec![2] } else { tried };
                let (first, sweep) = sweep(&data, rows, &tried, settings, &options, progress)?;
                // The sweep's fit was the first start.
                let options = last(first.k);
                (data.fit_on(first, &options)?, sweep)
            }
        };
        let centres = by_revenue(&fitted, rows, sample);
        Ok(Self { behaviour, centres: Blocks::from_rows(&centres, dims), k: fitted.k, sweep })
    }

    /// The nearest segment of one scaled row; ties to the lower number.
    pub fn place(&self, row: &[f32], distances: &mut Vec<f32>) -> Place {
        distances.resize(self.centres.blocks() * LANES, 0.0);
        self.centres.distances(row, 0..self.centres.blocks(), distances);
        let (mut best, mut first, mut second) = (0, f32::INFINITY, f32::INFINITY);
        for (segment, distance) in distances[..self.k].iter().enumerate() {
            if *distance < first {
                (best, second, first) = (segment, first, *distance);
            } else if *distance < second {
                second = *distance;
            }
        }
        let distance = f64::from(first).sqrt();
        let margin = if second.is_finite() { f64::from(second).sqrt() - distance } else { 0.0 };
        Place { segment: best, distance, margin }
    }
}

/// A fit of the sweep.
struct Fitted {
    model: KMeans,
    /// Of the customers that the silhouette is taken on.
    labels: Vec<u32>,
}

/// Tries every k on the sample, in ascending order, and returns the fit of the chosen one. The silhouette is
/// taken on the same customers for every k, dealt into folds that are stratified by one reference clustering,
/// so that the difference between two k is not the difference between two samples; and for all k together,
/// because distances are the same.
fn sweep(
    data: &Prepared,
    rows: &[f32],
    tried: &[usize],
    settings: &Segments,
    options: &Options,
    progress: impl Fn(u64) + Sync,
) -> Result<(KMeans, Vec<SweepRow>), SegmentError> {
    let dims = data.dims();
    let n = rows.len() / dims;
    let judged = n.min(settings.silhouette_sample);
    let judged_rows = &rows[..judged * dims];
    let repeats = settings.silhouette_repeats.min(judged / 2).max(2);
    // Few threads each: a start cannot be divided. The longest first, so that all end together.
    let threads = (options.threads / tried.len()).max(1);
    let states = workers::for_each(
        options.threads,
        tried.len(),
        Vec::new,
        |done: &mut Vec<Fitted>, number| -> Result<(), SegmentError> {
            let k = tried[tried.len() - 1 - number];
            let (model, mut labels) = data.first(&Options { k, threads, ..options.clone() })?;
            labels.truncate(judged);
            labels.shrink_to_fit();
            done.push(Fitted { model, labels });
            progress(n as u64);
            Ok(())
        },
    )?;
    let mut fitted: Vec<Fitted> = states.into_iter().flatten().collect();
    fitted.sort_by_key(|fitted| fitted.model.k);
    // The labels of one of them deal the folds.
    let folds = silhouette::stratified_folds(&fitted[tried.len() / 4].labels, repeats, options.seed);
    let labellings: Vec<&[u32]> = fitted.iter().map(|fitted| fitted.labels.as_slice()).collect();
    let found =
        silhouette::stratified_sweep(judged_rows, dims, &labellings, &folds, repeats, options.threads);
    let row = |(Fitted { model, .. }, found): (&Fitted, Result<Repeats, SilhouetteError>)| {
        // A clustering that puts a whole fold into one segment has no silhouette there.
        let (silhouette, standard_error) =
            found.map_or((f64::NAN, f64::NAN), |repeats| (repeats.mean, repeats.standard_error));
        let inertia = model.inertia / n as f64;
        SweepRow {
            point: SweepPoint { k: model.k, silhouette, standard_error, inertia },
            iterations: model.iterations,
            chosen: false,
        }
    };
    let mut sweep: Vec<SweepRow> = fitted.iter().zip(found).map(row).collect();
    let judged: Vec<(usize, f64, f64)> =
        sweep.iter().map(|row| (row.point.k, row.point.silhouette, row.point.standard_error)).collect();
    let k = silhouette::smallest_within_one_standard_error(&judged).unwrap_or(tried[0]);
    for row in &mut sweep {
        row.chosen = row.point.k == k;
    }
    let chosen = tried.iter().position(|tried| *tried == k).unwrap_or(0);
    Ok((fitted.swap_remove(chosen).model, sweep))
}

/// Centres in the order of mean revenue of the sampled customers in them, highest first.
fn by_revenue(fitted: &KMeans, rows: &[f32], sample: &[SampledCustomer]) -> Vec<f32> {
    let mut labels = vec![0; sample.len()];
    let mut distances = vec![0.0; sample.len()];
    fitted.assign(rows, &mut labels, &mut distances);
    let mut totals = vec![(0i128, 0i128); fitted.k];
    for (customer, label) in sample.iter().zip(&labels) {
        let (revenue, count) = &mut totals[*label as usize];
        *revenue += i128::from(customer.revenue);
        *count += 1;
    }
    let mut order: Vec<usize> = (0..fitted.k).collect();
    order.sort_by(|a, b| {
        let ((ra, na), (rb, nb)) = (totals[*a], totals[*b]);
        // Cross-multiplied means: exact, and an empty centre counts as zero revenue.
        (rb * na.max(1)).cmp(&(ra * nb.max(1))).then(a.cmp(b))
    });
    order
        .iter()
        .flat_map(|centre| fitted.centroids[centre * fitted.dims..][..fitted.dims].iter().copied())
        .collect()
}
