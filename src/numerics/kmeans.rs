//! k-means over f32 rows: k-means++ starts, Lloyd's iterations on the block kernel, linfa as the other
//! way to the same answer.
//!
//! The answer depends on the rows, their order and the options, never on the number of threads: rows
//! are summed in f64 in chunks whose bounds follow from the number of rows alone, and chunks are merged
//! in order. A start works on a sample of at most [`START_SAMPLE`] rows, chosen by hash.
//!
//! Lloyd's iteration (Lloyd 1982, "Least squares quantization in PCM") costs rows × k distances: a
//! million rows of 16 columns, 50 clusters and 25 iterations take 0.7 s of one core with AVX-512, where
//! linfa takes 13. Where many iterations are allowed and rows are not short, bounds leave out distances that
//! cannot change an assignment, to the bit (`kmeans/bounds.rs`).
//!
//! linfa 0.8.1 runs from the same start with one run, because its own k-means|| start is not
//! reproducible and with several runs its counts belong to the last run, not to the best. It counts the
//! old centroid as one more member (so that an empty cluster stays where it was), hence an inertia that
//! differs by some parts in a million.

mod add;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bounds;
mod lloyd;
mod start;

use crate::numerics::blocks::{self, Blocks};
pub use start::hash_sample;

/// Rows that a start looks at, at most: enough for hundreds of clusters, small enough to be cheap.
pub const START_SAMPLE: usize = 50_000;

/// Where the centroids begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// Greedy k-means++ on a sample: each new centroid is the best of 2 + ln k rows drawn with a chance
    /// in proportion to the squared distance from those before (Arthur and Vassilvitskii 2007).
    PlusPlus,
    /// Distinct rows by hash: worse centroids, and nearly free when k is in the thousands.
    Rows,
    /// These centroids, row-major k × dims.
    Given(Vec<f32>),
}

/// Whose assignment and update steps run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    #[default]
    Lloyd,
    /// linfa-clustering, one step at a time under the same stopping rule, on rayon's own threads.
    Linfa,
}

/// What to fit. The fields are plain so that a sweep can vary one of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Number of clusters.
    pub k: usize,
    pub seed: u64,
    /// Independent starts; the one with the least inertia is kept, the first of equals.
    pub starts: usize,
    pub max_iterations: usize,
    /// Stop when the centroids' summed squared movement is at or below this share of the mean variance
    /// of a column (scikit-learn's rule, so that the two can be compared).
    pub tolerance: f64,
    pub threads: usize,
    pub start: Start,
    pub algorithm: Algorithm,
}

impl Options {
    /// One k-means++ start, at most 100 iterations, tolerance 1e-4, one thread, Lloyd.
    pub fn new(k: usize, seed: u64) -> Self {
        let (start, algorithm) = (Start::PlusPlus, Algorithm::Lloyd);
        Self { k, seed, starts: 1, max_iterations: 100, tolerance: 1e-4, threads: 1, start, algorithm }
    }
}

/// Fitted centroids.
#[derive(Clone, Debug, PartialEq)]
pub struct KMeans {
    /// Row-major k × dims.
    pub centroids: Vec<f32>,
    pub dims: usize,
    pub k: usize,
    /// Sum over the rows of the squared distance to the nearest of these centroids.
    pub inertia: f64,
    pub iterations: usize,
    /// Whether the centroids came to rest before `max_iterations`.
    pub converged: bool,
    /// Rows nearest to each of these centroids. 0 only when fewer than k rows differ, or when the
    /// iterations ended right after a cluster lost its last row.
    pub counts: Vec<u64>,
}

impl KMeans {
    /// The cluster of each row of `rows` and its squared distance to the centroid, on this thread.
    ///
    /// # Panics
    /// When `labels` or `distances` has not one place a row.
    pub fn assign(&self, rows: &[f32], labels: &mut [u32], distances: &mut [f32]) {
        blocks::nearest(&self.centroids, self.dims, rows, labels, distances);
    }
}

/// Why rows cannot be clustered.
#[derive(Debug, thiserror::Error)]
pub enum KMeansError {
    #[error("the number of clusters is 0")]
    NoClusters,
    #[error("{k} clusters were asked of {rows} rows")]
    MoreClustersThanRows { k: usize, rows: usize },
    #[error("the rows have no columns")]
    NoDimensions,
    #[error("{values} values do not fill rows of {dims} columns")]
    Ragged { values: usize, dims: usize },
    #[error("row {row}, column {column} is {value}, not a finite number")]
    NotFinite { row: usize, column: usize, value: f32 },
    #[error("`{option}` is {value}, it must be {expected}")]
    Option { option: &'static str, value: f64, expected: &'static str },
    #[error("the start has {given} values where k × dims is {wanted}")]
    Start { given: usize, wanted: usize },
    #[error("linfa could not do a k-means step")]
    Linfa(#[source] linfa_clustering::KMeansError),
    #[error("linfa refused the k-means options")]
    LinfaOptions(#[source] linfa_clustering::KMeansParamsError),
}

/// Clusters row-major `rows` of `dims` columns. Memory: a second copy of the rows in blocks, up to 44 bytes a
/// row (for each start that runs beside others), and bounded sums.
pub fn fit(rows: &[f32], dims: usize, options: &Options) -> Result<KMeans, KMeansError> {
    Prepared::new(rows, dims)?.fit(options)
}

/// Rows made ready for several fits.
pub struct Prepared<'a> {
    rows: &'a [f32],
    dims: usize,
    points: Blocks,
    /// Mean variance of a column.
    variance: f64,
}

impl<'a> Prepared<'a> {
    /// Row-major `rows` of `dims` columns.
    pub fn new(rows: &'a [f32], dims: usize) -> Result<Self, KMeansError> {
        if dims == 0 {
            return Err(KMeansError::NoDimensions);
        }
        if !rows.len().is_multiple_of(dims) {
            return Err(KMeansError::Ragged { values: rows.len(), dims });
        }
        if let Some(at) = rows.iter().position(|value| !value.is_finite()) {
            return Err(KMeansError::NotFinite { row: at / dims, column: at % dims, value: rows[at] });
        }
        Ok(Self { rows, dims, points: Blocks::from_rows(rows, dims), variance: mean_variance(rows, dims) })
    }

    /// Clusters the rows.
    pub fn fit(&self, options: &Options) -> Result<KMeans, KMeansError> {
        self.check(options)?;
        self.best(None, options)
    }

    /// The first start alone, with the cluster of every row.
    pub fn first(&self, options: &Options) -> Result<(KMeans, Vec<u32>), KMeansError> {
        self.check(options)?;
        self.run(options, 0, options.threads)
    }

    /// The same as [`Self::fit`], where the model of the first start is known: by [`Self::first`], with the same
    /// options but for threads and starts.
    pub fn fit_on(&self, first: KMeans, options: &Options) -> Result<KMeans, KMeansError> {
        self.check(options)?;
        self.best(Some(first), options)
    }

    /// Starts run side by side, threads that are left over inside them.
    fn best(&self, known: Option<KMeans>, options: &Options) -> Result<KMeans, KMeansError> {
        let runs: Vec<u64> = (u64::from(known.is_some())..options.starts as u64).collect();
        let mut best = known;
        for round in runs.chunks(options.threads) {
            let threads = options.threads / round.len();
            let mut models: Vec<Option<Result<KMeans, KMeansError>>> = round.iter().map(|_| None).collect();
            std::thread::scope(|scope| {
                for (&run, place) in round.iter().zip(&mut models) {
                    let mut work = move || *place = Some(self.run(options, run, threads).map(|run| run.0));
                    if round.len() == 1 {
                        work();
                    } else {
                        scope.spawn(work);
                    }
                }
            });
            for model in models.into_iter().flatten() {
                let model = model?;
                if best.as_ref().is_none_or(|best| model.inertia < best.inertia) {
                    best = Some(model);
                }
            }
        }
        best.ok_or(KMeansError::Option { option: "starts", value: 0.0, expected: "at least 1" })
    }

    fn run(&self, options: &Options, run: u64, threads: usize) -> Result<(KMeans, Vec<u32>), KMeansError> {
        let centroids = start::start(self, options, run);
        lloyd::iterate(self, centroids, options, threads)
    }

    fn check(&self, options: &Options) -> Result<(), KMeansError> {
        let Options { k, starts, max_iterations, tolerance, threads, .. } = *options;
        if k == 0 {
            return Err(KMeansError::NoClusters);
        }
        if k > self.len() {
            return Err(KMeansError::MoreClustersThanRows { k, rows: self.len() });
        }
        for (option, value) in [("starts", starts), ("max_iterations", max_iterations), ("threads", threads)]
        {
            if value == 0 {
                return Err(KMeansError::Option { option, value: 0.0, expected: "at least 1" });
            }
        }
        // Written so that NaN fails it.
        if !(tolerance >= 0.0 && tolerance.is_finite()) {
            let expected = "0 or a finite number above it";
            return Err(KMeansError::Option { option: "tolerance", value: tolerance, expected });
        }
        match &options.start {
            Start::Given(given) if given.len() != k * self.dims => {
                Err(KMeansError::Start { given: given.len(), wanted: k * self.dims })
            }
            _ => Ok(()),
        }
    }

    pub fn dims(&self) -> usize {
        self.dims
    }

    fn len(&self) -> usize {
        self.rows.len() / self.dims
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.rows[row * self.dims..][..self.dims]
    }
}

/// Two passes in f64, in row order.
fn mean_variance(rows: &[f32], dims: usize) -> f64 {
    let n = (rows.len() / dims) as f64;
    let mut means = vec![0.0f64; dims];
    for row in rows.chunks_exact(dims) {
        means.iter_mut().zip(row).for_each(|(mean, &x)| *mean += f64::from(x) / n);
    }
    let squares = rows.chunks_exact(dims).flat_map(|row| row.iter().zip(&means));
    squares.map(|(&x, mean)| (f64::from(x) - mean).powi(2)).sum::<f64>() / (n * dims as f64)
}

#[cfg(test)]
mod tests;
