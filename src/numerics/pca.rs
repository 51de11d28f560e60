//! Principal components of a sample, and the projection of any rows onto them.
//!
//! The covariance is summed in f64 over a fixed number of blocks of rows, merged in block order: the
//! result is the same bytes for any number of threads. Pearson, 1901; Jolliffe, *Principal
//! Component Analysis* (2nd ed., 2002), chapter 3.

use std::thread;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::eigen::{EigenError, symmetric_eigen};
use super::simd::{self, Kernel};

/// Into how many blocks the rows are cut, whatever the threads: a constant of the result. Enough
/// to keep many cores busy, few enough that one covariance for each is small.
const BLOCKS: usize = 64;

/// Why components cannot be fitted or applied.
#[derive(Debug, Error, PartialEq)]
pub enum PcaError {
    #[error("{values} values do not make whole rows of {columns} columns")]
    Shape { values: usize, columns: usize },
    #[error("principal components need at least 2 rows, not {rows}")]
    TooFewRows { rows: usize },
    #[error("the value in row {row}, column {column} is {value}, not a finite number")]
    NonFinite { row: usize, column: usize, value: f32 },
    #[error("{rows} rows of {kept} components need {} places, not {places}", rows * kept)]
    Output { rows: usize, kept: usize, places: usize },
    #[error("stored components must be finite, with {columns} weights for each of {kept} variances")]
    Stored { columns: usize, kept: usize },
    #[error("the covariance has no eigenvalues")]
    Covariance(#[from] EigenError),
}

/// Fitted components: the mean, the kept directions and how much variance each explains. Reading
/// stored ones checks them again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredPca")]
pub struct Pca {
    mean: Vec<f64>,
    /// kept × columns, row by row: unit vectors, descending variance.
    components: Vec<f64>,
    variances: Vec<f64>,
    total_variance: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPca {
    mean: Vec<f64>,
    components: Vec<f64>,
    variances: Vec<f64>,
    total_variance: f64,
}

impl TryFrom<StoredPca> for Pca {
    type Error = PcaError;

    fn try_from(stored: StoredPca) -> Result<Self, PcaError> {
        let StoredPca { mean, components, variances, total_variance } = stored;
        let (columns, kept) = (mean.len(), variances.len());
        let numbers = mean.iter().chain(&components).chain(&variances).chain([&total_variance]);
        let finite = numbers.copied().all(f64::is_finite);
        if !finite || columns == 0 || columns.checked_mul(kept) != Some(components.len()) {
            return Err(PcaError::Stored { columns, kept });
        }
        Ok(Self { mean, components, variances, total_variance })
    }
}

impl Pca {
    /// Fits the `keep` leading components (clipped to `columns`) of rows given one after another.
    ///
    /// The covariance divides by rows - 1. Each component is turned so that its largest weight is
    /// positive. Cost: `rows · columns²` operations over `threads` threads, and
    /// `64 · columns²` floats while it runs; 200,000 rows × 60 columns take 0.1 s on one.
    pub fn fit(rows: &[f32], columns: usize, keep: usize, threads: usize) -> Result<Self, PcaError> {
        let count = whole_rows(rows.len(), columns)?;
        if count < 2 {
            return Err(PcaError::TooFewRows { rows: count });
        }
        if let Some(at) = rows.iter().position(|value| !value.is_finite()) {
            return Err(PcaError::NonFinite { row: at / columns, column: at % columns, value: rows[at] });
        }
        let block = count.div_ceil(BLOCKS) * columns;
        let blocks = rows.chunks(block).collect::<Vec<_>>();

        let sums = each_block(&blocks, threads, |block| column_sums(block, columns));
        let mean = merged(sums).into_iter().map(|sum| sum / count as f64).collect::<Vec<_>>();
        let products = each_block(&blocks, threads, |block| centred_products(block, &mean));
        let mut covariance =
            merged(products).into_iter().map(|sum| sum / (count - 1) as f64).collect::<Vec<_>>();
        for i in 0..columns {
            for j in 0..i {
                covariance[i * columns + j] = covariance[j * columns + i];
            }
        }

        let total_variance = (0..columns).map(|i| covariance[i * columns + i]).sum();
        let eigen = symmetric_eigen(&covariance, columns)?;
        let keep = keep.min(columns);
        Ok(Self {
            mean,
            components: (0..keep).flat_map(|i| eigen.vector(i).iter().copied()).collect(),
            variances: eigen.values()[..keep].iter().map(|value| value.max(0.0)).collect(),
            total_variance,
        })
    }

    /// How many columns a row must have.
    pub fn columns(&self) -> usize {
        self.mean.len()
    }

    /// How many components were kept.
    pub fn kept(&self) -> usize {
        self.variances.len()
    }

    /// The variance along each kept component, in squared units of the columns, descending.
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }

    /// The share of the whole variance along each kept component, 0 to 1; all 0 for constant rows.
    pub fn explained_variance(&self) -> Vec<f64> {
        let total = if self.total_variance > 0.0 { self.total_variance } else { 1.0 };
        self.variances.iter().map(|variance| variance / total).collect()
    }

    /// The unit direction of a kept component, one weight a column. Panics beyond `kept()`.
    pub fn component(&self, index: usize) -> &[f64] {
        &self.components[index * self.columns()..][..self.columns()]
    }

    /// Projects whole rows: `out` gets rows × kept coordinates about the fitted mean.
    ///
    /// A missing value (NaN) makes its row's coordinates NaN. Cost: `2 · columns · kept` operations a
    /// row; memory: the components once more.
    pub fn project(&self, rows: &[f32], out: &mut [f32]) -> Result<(), PcaError> {
        let (columns, kept) = (self.columns(), self.kept());
        let count = whole_rows(rows.len(), columns)?;
        if count.checked_mul(kept) != Some(out.len()) {
            return Err(PcaError::Output { rows: count, kept, places: out.len() });
        }
        if kept == 0 {
            return Ok(());
        }
        let mut weights = vec![0.0; columns * kept];
        for (at, component) in self.components.chunks_exact(columns).enumerate() {
            weights.iter_mut().skip(at).step_by(kept).zip(component).for_each(|(own, weight)| *own = *weight);
        }
        simd::widest(Project { rows, mean: &self.mean, weights: &weights, sums: &mut vec![0.0; kept], out });
        Ok(())
    }
}

/// Coordinates of rows, all components at once: each is the sum over the columns in their order.
struct Project<'a> {
    rows: &'a [f32],
    mean: &'a [f64],
    /// columns × kept.
    weights: &'a [f64],
    sums: &'a mut [f64],
    out: &'a mut [f32],
}

impl Kernel for Project<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { rows, mean, weights, sums, out } = self;
        let kept = sums.len();
        for (row, point) in rows.chunks_exact(mean.len()).zip(out.chunks_exact_mut(kept)) {
            sums.fill(0.0);
            for ((x, mean), weights) in row.iter().zip(mean).zip(weights.chunks_exact(kept)) {
                let centred = f64::from(*x) - mean;
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += centred * weight;
                }
            }
            for (coordinate, sum) in point.iter_mut().zip(sums.iter()) {
                *coordinate = *sum as f32;
            }
        }
    }
}

fn whole_rows(values: usize, columns: usize) -> Result<usize, PcaError> {
    match values.checked_rem(columns) {
        Some(0) => Ok(values / columns),
        _ => Err(PcaError::Shape { values, columns }),
    }
}

fn column_sums(block: &[f32], columns: usize) -> Vec<f64> {
    let mut sums = vec![0.0; columns];
    for row in block.chunks_exact(columns) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    sums
}

/// The upper triangle of `Σ (x - mean)(x - mean)ᵀ`; centring first avoids the cancellation of
/// `Σ x xᵀ - n · mean · meanᵀ`.
fn centred_products(block: &[f32], mean: &[f64]) -> Vec<f64> {
    let columns = mean.len();
    let mut products = vec![0.0; columns * columns];
    let mut centred = vec![0.0; columns];
    for row in block.chunks_exact(columns) {
        for ((centred, x), mean) in centred.iter_mut().zip(row).zip(mean) {
            *centred = f64::from(*x) - mean;
        }
        for i in 0..columns {
            let factor = centred[i];
            let line = &mut products[i * columns + i..(i + 1) * columns];
            line.iter_mut().zip(&centred[i..]).for_each(|(sum, x)| *sum += factor * x);
        }
    }
    products
}

/// One result for each block, in block order, whichever thread worked it out.
fn each_block<F>(blocks: &[&[f32]], threads: usize, work: F) -> Vec<Vec<f64>>
where
    F: Fn(&[f32]) -> Vec<f64> + Sync,
{
    let threads = threads.clamp(1, blocks.len().max(1));
    if threads == 1 {
        return blocks.iter().map(|block| work(block)).collect();
    }
    let mut results = vec![Vec::new(); blocks.len()];
    let share = blocks.len().div_ceil(threads);
    thread::scope(|scope| {
        for (blocks, results) in blocks.chunks(share).zip(results.chunks_mut(share)) {
            scope.spawn(|| blocks.iter().zip(results).for_each(|(block, result)| *result = work(block)));
        }
    });
    results
}

/// The sum of the blocks' results, first to last.
fn merged(parts: Vec<Vec<f64>>) -> Vec<f64> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_default();
    for part in parts {
        total.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::random::generator;
    use rand::Rng;
    use rand_distr::StandardNormal;

    /// Rows with standard deviation 5 along (3, 4, 0)/5, 1 along the third axis, 0.1 across.
    fn slanted(count: usize) -> Vec<f32> {
        let mut random = generator(2, "pca test", 0);
        let mut rows = Vec::new();
        for _ in 0..count {
            let [long, up, across]: [f64; 3] = std::array::from_fn(|_| random.sample(StandardNormal));
            let (long, across) = (5.0 * long, 0.1 * across);
            rows.push((10.0 + 0.6 * long - 0.8 * across) as f32);
            rows.push((-20.0 + 0.8 * long + 0.6 * across) as f32);
            rows.push(up as f32);
        }
        rows
    }

    #[test]
    fn four_points_worked_by_hand() {
        // Covariance [[8/3, 0], [0, 2/3]].
        let pca = Pca::fit(&[2.0, 0.0, -2.0, 0.0, 0.0, 1.0, 0.0, -1.0], 2, 2, 1).unwrap();
        assert!((pca.variances()[0] - 8.0 / 3.0).abs() < 1e-12);
        assert!((pca.explained_variance()[0] - 0.8).abs() < 1e-12);
        let mut point = [0.0; 2];
        pca.project(&[2.0, 3.0], &mut point).unwrap();
        assert_eq!(point, [2.0, 3.0]);
    }

    #[test]
    fn planted_directions_are_found_and_projected_with_unit_covariance() {
        let rows = slanted(20_000);
        let pca = Pca::fit(&rows, 3, 2, 1).unwrap();
        let first = pca.component(0);
        assert!((first[0] - 0.6).abs() < 0.01 && (first[1] - 0.8).abs() < 0.01, "{first:?}");
        assert!((pca.component(1)[2] - 1.0).abs() < 0.01);
        assert!((pca.variances()[0] / 25.0 - 1.0).abs() < 0.05);

        let mut points = vec![0.0; 2 * 20_000];
        pca.project(&rows, &mut points).unwrap();
        let mean = points.iter().step_by(2).map(|x| f64::from(*x)).sum::<f64>() / 20_000.0;
        let cross = points.chunks(2).map(|p| f64::from(p[0] * p[1])).sum::<f64>() / 19_999.0;
        assert!(mean.abs() < 1e-4 && cross.abs() < 1e-3, "{mean} {cross}");
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        let rows = slanted(1_003);
        let one = Pca::fit(&rows, 3, 3, 1).unwrap();
        for threads in [0, 2, 7, 1_000] {
            assert_eq!(one, Pca::fit(&rows, 3, 3, threads).unwrap(), "{threads} threads");
        }
    }

    #[test]
    fn a_far_mean_does_not_cost_precision() {
        let rows = [0.0, 1.0, 2.0, 3.0].map(|x: f32| 4_000_000.0 + x);
        let pca = Pca::fit(&rows, 1, 1, 1).unwrap();
        assert!((pca.variances()[0] - 5.0 / 3.0).abs() < 1e-12, "{:?}", pca.variances());
    }

    #[test]
    fn stored_components_of_the_wrong_shape_are_refused() {
        let stored = |components: Vec<f64>| StoredPca {
            mean: vec![0.0, 1.0],
            components,
            variances: vec![3.0],
            total_variance: 4.0,
        };
        assert_eq!(Pca::try_from(stored(vec![0.6, 0.8])).unwrap().explained_variance(), [0.75]);
        for components in [vec![1.0], vec![f64::NAN, 1.0]] {
            assert_eq!(Pca::try_from(stored(components)), Err(PcaError::Stored { columns: 2, kept: 1 }));
        }
    }

    #[test]
    fn bad_shapes_and_values_are_refused() {
        assert_eq!(Pca::fit(&[1.0; 5], 2, 1, 1), Err(PcaError::Shape { values: 5, columns: 2 }));
        assert_eq!(Pca::fit(&[], 0, 1, 1), Err(PcaError::Shape { values: 0, columns: 0 }));
        assert_eq!(Pca::fit(&[1.0; 2], 2, 1, 1), Err(PcaError::TooFewRows { rows: 1 }));
        let error = Pca::fit(&[1.0, 2.0, 3.0, f32::INFINITY], 2, 1, 1).unwrap_err();
        assert_eq!(error, PcaError::NonFinite { row: 1, column: 1, value: f32::INFINITY });
        let pca = Pca::fit(&[1.0, 1.0, 1.0, 1.0], 2, 9, 1).unwrap();
        assert_eq!((pca.kept(), pca.explained_variance()), (2, vec![0.0, 0.0]));
        assert!(matches!(pca.project(&[0.0; 4], &mut [0.0; 3]), Err(PcaError::Output { .. })));
    }
}
