//! Lloyd's iterations: rows to the nearest centroids, centroids to the means of their rows.

use super::add::{Pass, reseed};
use super::bounds::Bounds;
use super::{Algorithm, KMeans, KMeansError, Options, Prepared};
use crate::numerics::blocks::LANES;
use linfa::traits::Fit;
use linfa::{DatasetBase, ParamGuard};
use linfa_clustering::KMeansInit;
use ndarray::{Array2, ArrayView2};

/// Rows that are summed before they are merged, at least; more when there are over a quarter million.
const CHUNK: usize = 4096;

/// Chunks at most, so that partial sums stay a bounded 64 × k × dims × 8 bytes.
const CHUNKS: usize = 64;

/// Bounds are worth their time with more iterations than these, because they take a few to tell much, and with more
/// columns: to few of them a distance costs no more than a bound.
const FEW_ITERATIONS: usize = 8;
const FEW_COLUMNS: usize = 8;

/// The model, and the cluster of every row.
pub(super) fn iterate(
    data: &Prepared,
    mut centroids: Vec<f32>,
    options: &Options,
    threads: usize,
) -> Result<(KMeans, Vec<u32>), KMeansError> {
    let still = options.tolerance * data.variance;
    let (mut labels, mut distances) = (vec![0u32; data.len()], vec![0.0f32; data.len()]);
    let (mut iterations, mut converged) = (0, false);
    // A start that is given may hold what is not finite, and bounds nothing. Means of rows are finite.
    let finite = centroids.iter().all(|value| value.is_finite());
    let bounded = options.algorithm == Algorithm::Lloyd
        && options.max_iterations > FEW_ITERATIONS
        && data.dims > FEW_COLUMNS
        && finite;
    let mut bounds = bounded.then(|| Bounds::new(data, &centroids));
    while iterations < options.max_iterations && !converged {
        let next = match options.algorithm {
            Algorithm::Linfa => linfa_step(data, &centroids, options.k)?,
            Algorithm::Lloyd => {
                let mut pass = match &mut bounds {
                    Some(bounds) => place(data, bounds, &centroids, &mut labels, threads),
                    None => assign(data, &centroids, &mut labels, &mut distances, true, threads),
                };
                if pass.counts.contains(&0) {
                    if bounds.is_some() {
                        assign(data, &centroids, &mut labels, &mut distances, false, threads);
                    }
                    reseed(data, &labels, &distances, &mut pass);
                }
                pass.centroids(&centroids, data.dims)
            }
        };
        iterations += 1;
        let moved = centroids.iter().zip(&next).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
        converged = moved.sum::<f64>() <= still;
        centroids = next;
    }
    // Once more, so that inertia and counts are those of the centroids that are returned.
    let last = assign(data, &centroids, &mut labels, &mut distances, false, threads);
    let (dims, k, inertia, counts) = (data.dims, options.k, last.inertia, last.counts);
    Ok((KMeans { centroids, dims, k, inertia, iterations, converged, counts }, labels))
}

/// Rows in a chunk, a multiple of sixteen.
fn chunk_size(n: usize) -> usize {
    n.div_ceil(CHUNKS).next_multiple_of(LANES).max(CHUNK)
}

/// Does the chunks of `n` rows on `threads` threads; every one is summed alone, and they are merged in order.
fn in_chunks<T: Send>(
    chunks: impl Iterator<Item = T>,
    empty: impl Fn() -> Pass,
    threads: usize,
    work: impl Fn(T, &mut Pass) + Sync,
) -> Pass {
    let mut chunks: Vec<(Option<T>, Pass)> = chunks.map(|chunk| (Some(chunk), empty())).collect();
    let run = |chunks: &mut [(Option<T>, Pass)]| {
        for (chunk, pass) in chunks {
            if let Some(chunk) = chunk.take() {
                work(chunk, pass);
            }
        }
    };
    if threads == 1 {
        run(&mut chunks);
    } else {
        let each = chunks.len().div_ceil(threads);
        std::thread::scope(|scope| {
            for part in chunks.chunks_mut(each) {
                scope.spawn(|| run(part));
            }
        });
    }
    let mut total = empty();
    chunks.iter().for_each(|(_, pass)| total.merge(pass));
    total
}

/// Assigns all rows: either with sums or with inertia.
fn assign(
    data: &Prepared,
    centroids: &[f32],
    labels: &mut [u32],
    distances: &mut [f32],
    with_sums: bool,
    threads: usize,
) -> Pass {
    let size = chunk_size(labels.len());
    let chunks = labels.chunks_mut(size).zip(distances.chunks_mut(size)).enumerate();
    let empty = || Pass::empty(centroids.len() / data.dims, data.dims, with_sums);
    in_chunks(chunks, empty, threads, |(chunk, (labels, distances)), pass| {
        let from = chunk * size;
        let blocks = from / LANES..(from + labels.len()).div_ceil(LANES);
        data.points.nearest(centroids, blocks, labels, distances);
        if !with_sums {
            // Nobody asks before the end.
            pass.inertia += distances.iter().map(|&d| f64::from(d)).sum::<f64>();
        }
        pass.add(&data.rows[from * data.dims..], data.dims, labels);
    })
}

/// Assigns all rows as [`assign`] does, but says no distances.
fn place(
    data: &Prepared,
    bounds: &mut Bounds,
    centroids: &[f32],
    labels: &mut [u32],
    threads: usize,
) -> Pass {
    let size = chunk_size(labels.len());
    let (turn, rows) = bounds.turn(centroids);
    let chunks = labels.chunks_mut(size).zip(rows.chunks_mut(turn.arrays(size))).enumerate();
    let empty = || Pass::empty(centroids.len() / data.dims, data.dims, true);
    in_chunks(chunks, empty, threads, |(chunk, (labels, bounds)), sums| {
        let rows = &data.rows[chunk * size * data.dims..][..labels.len() * data.dims];
        turn.place(rows, labels, bounds);
        sums.add(rows, data.dims, labels);
    })
}

fn linfa_step(data: &Prepared, centroids: &[f32], k: usize) -> Result<Vec<f32>, KMeansError> {
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
