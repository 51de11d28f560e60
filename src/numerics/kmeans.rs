//! k-means over f32 rows: k-means++ starts, Lloyd's iterations on the block kernel, linfa as the other
//! way to the same answer.
//!
//! The answer depends on the rows, their order and the options, never on the number of threads: rows
//! are summed in f64 in chunks whose bounds follow from the number of rows alone, and chunks are merged
//! in order. A start works on a sample of at most [`START_SAMPLE`] rows, chosen by hash.
//!
//! Lloyd's iteration (Lloyd 1982, "Least squares quantization in PCM") costs rows × k distances: a
//! million rows of 16 columns, 50 clusters and 25 iterations take 0.7 s of one core with AVX-512, where
//! linfa takes 13. Bounds that skip distances (Hamerly, Elkan) have not been tried.
//!
//! linfa 0.8.1 runs from the same start with one run, because its own k-means|| start is not
//! reproducible and with several runs its counts belong to the last run, not to the best. It counts the
//! old centroid as one more member (so that an empty cluster stays where it was), hence an inertia that
//! differs by some parts in a million.

use crate::numerics::blocks::{self, Blocks, LANES};
use crate::numerics::random::{generator, hash_bytes, hash_u64};
use crate::numerics::simd::{self, Kernel};
use linfa::traits::Fit;
use linfa::{DatasetBase, ParamGuard};
use linfa_clustering::KMeansInit;
use ndarray::{Array2, ArrayView2};
use rand::Rng;
use std::cmp::Reverse;

/// Rows that a start looks at, at most: enough for hundreds of clusters, small enough to be cheap.
pub const START_SAMPLE: usize = 50_000;

/// Rows that are summed before they are merged, at least; more when there are over a quarter million.
const CHUNK: usize = 4096;

/// Chunks at most, so that partial sums stay a bounded 64 × k × dims × 8 bytes.
const CHUNKS: usize = 64;

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

/// Clusters row-major `rows` of `dims` columns. Memory: a second copy of the rows in blocks, 8 bytes a
/// row, and bounded sums.
pub fn fit(rows: &[f32], dims: usize, options: &Options) -> Result<KMeans, KMeansError> {
    check(rows, dims, options)?;
    let data = Data { rows, dims, points: Blocks::from_rows(rows, dims) };
    let still = options.tolerance * mean_variance(rows, dims);
    let mut best: Option<KMeans> = None;
    for run in 0..options.starts as u64 {
        let centroids = start(&data, options, run);
        let model = iterate(&data, centroids, still, options)?;
        if best.as_ref().is_none_or(|best| model.inertia < best.inertia) {
            best = Some(model);
        }
    }
    best.ok_or(KMeansError::Option { option: "starts", value: 0.0, expected: "at least 1" })
}

fn check(rows: &[f32], dims: usize, options: &Options) -> Result<(), KMeansError> {
    let Options { k, starts, max_iterations, tolerance, threads, .. } = *options;
    if dims == 0 {
        return Err(KMeansError::NoDimensions);
    }
    if !rows.len().is_multiple_of(dims) {
        return Err(KMeansError::Ragged { values: rows.len(), dims });
    }
    if k == 0 {
        return Err(KMeansError::NoClusters);
    }
    if k > rows.len() / dims {
        return Err(KMeansError::MoreClustersThanRows { k, rows: rows.len() / dims });
    }
    for (option, value) in [("starts", starts), ("max_iterations", max_iterations), ("threads", threads)] {
        if value == 0 {
            return Err(KMeansError::Option { option, value: 0.0, expected: "at least 1" });
        }
    }
    // Written so that NaN fails it.
    if !(tolerance >= 0.0 && tolerance.is_finite()) {
        let expected = "0 or a finite number above it";
        return Err(KMeansError::Option { option: "tolerance", value: tolerance, expected });
    }
    if let Start::Given(given) = &options.start
        && given.len() != k * dims
    {
        return Err(KMeansError::Start { given: given.len(), wanted: k * dims });
    }
    match rows.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(KMeansError::NotFinite { row: at / dims, column: at % dims, value: rows[at] }),
        None => Ok(()),
    }
}

struct Data<'a> {
    rows: &'a [f32],
    dims: usize,
    points: Blocks,
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

fn start(data: &Data, options: &Options, run: u64) -> Vec<f32> {
    let size = match options.start {
        Start::Given(ref given) => return given.clone(),
        Start::Rows => options.k,
        Start::PlusPlus => START_SAMPLE.max(options.k),
    };
    let seed = hash_bytes(&run.to_le_bytes(), options.seed);
    let sample: Vec<f32> = hash_sample(data.rows.len() / data.dims, size, seed)
        .into_iter()
        .flat_map(|row| &data.rows[row * data.dims..][..data.dims])
        .copied()
        .collect();
    if options.start == Start::Rows {
        return sample;
    }
    plus_plus(&sample, data.dims, options.k, seed)
}

/// At most `size` of `0..n`, in order: those whose hash under the seed is smallest.
pub fn hash_sample(n: usize, size: usize, seed: u64) -> Vec<usize> {
    if size >= n {
        return (0..n).collect();
    }
    let seed = hash_bytes(b"sample", seed);
    let mut keyed: Vec<(u64, usize)> = (0..n).map(|row| (hash_u64(row as u64, seed), row)).collect();
    keyed.select_nth_unstable(size);
    let mut sample: Vec<usize> = keyed[..size].iter().map(|&(_, row)| row).collect();
    sample.sort_unstable();
    sample
}

fn plus_plus(rows: &[f32], dims: usize, k: usize, seed: u64) -> Vec<f32> {
    let n = rows.len() / dims;
    let points = Blocks::from_rows(rows, dims);
    let mut random = generator(seed, "k-means++", k as u64);
    let candidates = 2 + (k as f64).ln() as usize;
    let row = |i: usize| &rows[i * dims..][..dims];
    let first = random.gen_range(0..n);
    let mut centroids = row(first).to_vec();
    // Slots beyond the rows are infinitely far, and no row is drawn there.
    let mut nearest = vec![0.0; points.blocks() * LANES];
    points.distances(row(first), 0..points.blocks(), &mut nearest);
    nearest[n..].fill(0.0);
    let (mut after, mut least) = (nearest.clone(), nearest.clone());
    let mut total: f64 = simd::widest(Nearer { after: &mut after, before: &nearest });
    for chosen in 1..k {
        let draws: Vec<usize> = if total > 0.0 {
            let mut aims: Vec<f64> = (0..candidates).map(|_| random.gen_range(0.0..total)).collect();
            aims.sort_unstable_by(f64::total_cmp);
            weighted(&nearest[..n], &aims)
        } else {
            // Fewer distinct rows than clusters: any row is as good, and copies are kept apart by order.
            vec![chosen]
        };
        let mut best: Option<(f64, usize)> = None;
        for draw in draws {
            points.distances(row(draw), 0..points.blocks(), &mut after);
            let sum = simd::widest(Nearer { after: &mut after, before: &nearest });
            if best.is_none_or(|best| sum < best.0) {
                best = Some((sum, draw));
                std::mem::swap(&mut after, &mut least);
            }
        }
        if let Some((sum, draw)) = best {
            total = sum;
            std::mem::swap(&mut nearest, &mut least);
            centroids.extend_from_slice(row(draw));
        }
    }
    centroids
}

/// The lesser of two distances of every row, and their sum: sixteen sums side by side, so that it is the same with any
/// instructions.
struct Nearer<'a> {
    /// Whole blocks.
    after: &'a mut [f32],
    before: &'a [f32],
}

impl Kernel for Nearer<'_> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let mut sums = [0.0f64; LANES];
        let (after, before) = (self.after.as_chunks_mut::<LANES>().0, self.before.as_chunks::<LANES>().0);
        for (after, before) in after.iter_mut().zip(before) {
            for ((after, before), sum) in after.iter_mut().zip(before).zip(&mut sums) {
                *after = if *after < *before { *after } else { *before };
                *sum += f64::from(*after);
            }
        }
        sums.iter().sum()
    }
}

/// For each of the ascending `aims` the index at which the running sum of `weights` passes it.
fn weighted(weights: &[f32], aims: &[f64]) -> Vec<usize> {
    let mut found = Vec::with_capacity(aims.len());
    let mut sum = 0.0;
    for (i, &weight) in weights.iter().enumerate() {
        sum += f64::from(weight);
        while aims.get(found.len()).is_some_and(|&aim| aim < sum) {
            found.push(i);
        }
    }
    // Rounding can leave the last aim just above the sum.
    found.resize(aims.len(), weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0));
    found.dedup();
    found
}

fn iterate(
    data: &Data,
    mut centroids: Vec<f32>,
    still: f64,
    options: &Options,
) -> Result<KMeans, KMeansError> {
    let n = data.rows.len() / data.dims;
    let (mut labels, mut distances) = (vec![0u32; n], vec![0.0f32; n]);
    let (mut iterations, mut converged) = (0, false);
    while iterations < options.max_iterations && !converged {
        let next = match options.algorithm {
            Algorithm::Linfa => linfa_step(data, &centroids, options.k)?,
            Algorithm::Lloyd => {
                let mut pass = assign(data, &centroids, &mut labels, &mut distances, true, options.threads);
                reseed(data, &labels, &distances, &mut pass);
                pass.centroids(&centroids, data.dims)
            }
        };
        iterations += 1;
        let moved = centroids.iter().zip(&next).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
        converged = moved.sum::<f64>() <= still;
        centroids = next;
    }
    // Once more, so that inertia and counts are those of the centroids that are returned.
    let last = assign(data, &centroids, &mut labels, &mut distances, false, options.threads);
    let (dims, k, inertia, counts) = (data.dims, options.k, last.inertia, last.counts);
    Ok(KMeans { centroids, dims, k, inertia, iterations, converged, counts })
}

/// Counts, sums of coordinates (empty when not asked for) and inertia of some rows.
struct Pass {
    counts: Vec<u64>,
    sums: Vec<f64>,
    inertia: f64,
}

impl Pass {
    fn merge(&mut self, other: &Pass) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        self.inertia += other.inertia;
    }

    /// The means; a cluster that is still empty stays where it was.
    fn centroids(&self, before: &[f32], dims: usize) -> Vec<f32> {
        let mut centroids = before.to_vec();
        let clusters = centroids.chunks_exact_mut(dims).zip(self.sums.chunks_exact(dims)).zip(&self.counts);
        for ((centroid, sums), &count) in clusters.filter(|(_, count)| **count > 0) {
            centroid.iter_mut().zip(sums).for_each(|(c, sum)| *c = (sum / count as f64) as f32);
        }
        centroids
    }
}

/// Assigns all rows on `threads` threads; every chunk is summed alone and merged in order.
fn assign(
    data: &Data,
    centroids: &[f32],
    labels: &mut [u32],
    distances: &mut [f32],
    with_sums: bool,
    threads: usize,
) -> Pass {
    let n = labels.len();
    let size = n.div_ceil(CHUNKS).next_multiple_of(LANES).max(CHUNK);
    let chunks = n.div_ceil(size);
    let empty = || Pass {
        counts: vec![0; centroids.len() / data.dims],
        sums: vec![0.0; if with_sums { centroids.len() } else { 0 }],
        inertia: 0.0,
    };
    let mut passes: Vec<Pass> = (0..chunks).map(|_| empty()).collect();
    let each = chunks.div_ceil(threads);
    std::thread::scope(|scope| {
        let parts = passes.chunks_mut(each).zip(labels.chunks_mut(each * size));
        for (part, ((passes, labels), distances)) in parts.zip(distances.chunks_mut(each * size)).enumerate()
        {
            let work = move || {
                let chunks = labels.chunks_mut(size).zip(distances.chunks_mut(size)).zip(passes);
                for (chunk, ((labels, distances), pass)) in chunks.enumerate() {
                    let from = (part * each + chunk) * size;
                    let blocks = from / LANES..(from + labels.len()).div_ceil(LANES);
                    data.points.nearest(centroids, blocks, labels, distances);
                    add(&data.rows[from * data.dims..], data.dims, labels, distances, pass);
                }
            };
            if threads == 1 {
                work();
            } else {
                scope.spawn(work);
            }
        }
    });
    let mut total = empty();
    passes.iter().for_each(|pass| total.merge(pass));
    total
}

fn add(rows: &[f32], dims: usize, labels: &[u32], distances: &[f32], pass: &mut Pass) {
    pass.inertia += distances.iter().map(|&d| f64::from(d)).sum::<f64>();
    for &label in labels {
        pass.counts[label as usize] += 1;
    }
    if !pass.sums.is_empty() {
        for (row, &label) in rows.chunks_exact(dims).zip(labels) {
            let sums = &mut pass.sums[label as usize * dims..][..dims];
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
    }
}

/// Moves the rows farthest from their centroids into empty clusters, one each: of equals the first
/// row, never the last row of a cluster, never a row that already lies on its centroid.
fn reseed(data: &Data, labels: &[u32], distances: &[f32], pass: &mut Pass) {
    let dims = data.dims;
    let empty: Vec<usize> = (0..pass.counts.len()).filter(|&c| pass.counts[c] == 0).collect();
    if empty.is_empty() {
        return;
    }
    let mut far: Vec<usize> = (0..labels.len()).filter(|&row| distances[row] > 0.0).collect();
    far.sort_by_key(|&row| Reverse(distances[row].to_bits()));
    let mut far = far.into_iter();
    for cluster in empty {
        let Some(row) = far.find(|&row| pass.counts[labels[row] as usize] > 1) else { return };
        let from = labels[row] as usize;
        pass.counts[from] -= 1;
        pass.counts[cluster] = 1;
        for d in 0..dims {
            let x = f64::from(data.rows[row * dims + d]);
            pass.sums[from * dims + d] -= x;
            pass.sums[cluster * dims + d] = x;
        }
    }
}

fn linfa_step(data: &Data, centroids: &[f32], k: usize) -> Result<Vec<f32>, KMeansError> {
    let shape = |_| KMeansError::Ragged { values: data.rows.len(), dims: data.dims };
    let rows = ArrayView2::from_shape((data.rows.len() / data.dims, data.dims), data.rows).map_err(shape)?;
    let before = Array2::from_shape_vec((k, data.dims), centroids.to_vec()).map_err(shape)?;
    // linfa takes no tolerance of 0; with one iteration its value decides nothing.
    let options = linfa_clustering::KMeans::<f32, _>::params(k)
        .init_method(KMeansInit::Precomputed(before))
        .n_runs(1)
        .max_n_iterations(1)
        .tolerance(1.0)
        .check()
        .map_err(KMeansError::LinfaOptions)?;
    let model = options.fit(&DatasetBase::from(rows)).map_err(KMeansError::Linfa)?;
    Ok(model.centroids().iter().copied().collect())
}

#[cfg(test)]
mod tests;
