//! packwise's kernels on the files that the peers of `scripts/peers` read.
//!
//! `scripts/bench-peers.sh` starts this with the path of a JSON file that names one task, and reads the
//! figures from another; both are described in `scripts/peers/README.md`. Without a path nothing is done, so
//! that `cargo bench` can go by. Matrices are row-major little-endian f32 files. Reading them is not timed.

use arrow::array::{Array, RecordBatchReader};
use packwise::engine::part::{PartWriter, RunFolder};
use packwise::neighbours::calibrate::{Sample, calibrate, calibrate_lists, search_on_threads};
use packwise::neighbours::cells::Cells;
use packwise::neighbours::exact::Exact;
use packwise::neighbours::graph::{Graph, GraphOptions};
use packwise::neighbours::hnsw::Hnsw;
use packwise::neighbours::index::{NeighbourIndex, Neighbours, Tunable};
use packwise::neighbours::lists::Lists;
use packwise::numerics::blocks::nearest;
use packwise::numerics::kmeans::{self, Options, Start};
use packwise::numerics::silhouette::{stratified_folds, stratified_repeats};
use packwise::numerics::simd::instruction_set;
use packwise::value::models::{Dropout, FitOptions, PurchaseTuple, TimeUnit, Tuples, fit_purchases};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Queries that a thread answers at a time at the most, as in a run.
const BATCH: usize = 1 << 16;

/// Rows decoded at a time.
const DECODED: usize = 65_536;

/// Rows encoded at a time, as in a run.
const ENCODED: usize = 8192;

#[derive(Deserialize)]
struct Spec {
    threads: usize,
    /// Where the figures go.
    result: PathBuf,
    #[serde(flatten)]
    task: Task,
}

#[derive(Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case")]
enum Task {
    Decode(Decode),
    Encode(Encode),
    Sweep(Sweep),
    Fit(Fit),
    Assign(Assign),
    Search(Box<Search>),
    Value(Histories),
}

#[derive(Deserialize)]
struct Matrix {
    path: PathBuf,
    rows: usize,
    dims: usize,
}

#[derive(Deserialize)]
struct Decode {
    files: Vec<PathBuf>,
    columns: Vec<String>,
}

#[derive(Deserialize)]
struct Encode {
    /// Of each table its parts.
    tables: BTreeMap<String, Vec<PathBuf>>,
    /// An empty folder.
    out: PathBuf,
}

#[derive(Deserialize)]
struct Sweep {
    matrix: Matrix,
    ks: Vec<usize>,
    max_iterations: usize,
    tolerance: f64,
    seed: u64,
    /// The first so many rows are the silhouette's sample, dealt into so many folds.
    silhouette_rows: usize,
    silhouette_repeats: usize,
}

#[derive(Deserialize)]
struct Fit {
    matrix: Matrix,
    start: Matrix,
    iterations: usize,
}

#[derive(Deserialize)]
struct Assign {
    matrix: Matrix,
    centroids: Matrix,
}

#[derive(Deserialize)]
struct Histories {
    /// CSV with a header: x, t_x, T in days, customers.
    tuples: PathBuf,
}

#[derive(Deserialize)]
struct Search {
    pool: Matrix,
    queries: Matrix,
    /// Queries that the effort is chosen by.
    calibration: Matrix,
    /// Others, which tell cells where those who ask are.
    sample: Matrix,
    k: usize,
    kind: String,
    /// Mean recalls wanted, in rising order; exact search takes the first.
    recalls: Vec<f64>,
    /// Queries asked one by one on one thread; 0 leaves that out.
    singles: usize,
    /// Where the positions found for the first `judged` queries go, as u32, `k` a query; the wanted recall is
    /// added to the name.
    found: PathBuf,
    judged: usize,
}

impl Matrix {
    fn read(&self) -> Result<Vec<f32>, Failure> {
        let bytes = std::fs::read(&self.path)?;
        let wanted = self.rows * self.dims;
        let values = bytes.chunks_exact(4).take(wanted);
        let rows: Vec<f32> = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if rows.len() < wanted {
            return Err(format!("{} holds {} values, not {wanted}", self.path.display(), rows.len()).into());
        }
        Ok(rows)
    }
}

fn main() -> Result<(), Failure> {
    let Some(path) = std::env::args().skip(1).find(|argument| !argument.starts_with("--")) else {
        return Ok(());
    };
    let spec: Spec = serde_json::from_reader(File::open(path)?)?;
    let mut figures = match &spec.task {
        Task::Decode(task) => decode(task, spec.threads)?,
        Task::Encode(task) => encode(task, spec.threads)?,
        Task::Sweep(task) => sweep(task, spec.threads)?,
        Task::Fit(task) => fit(task, spec.threads)?,
        Task::Assign(task) => assign(task, spec.threads)?,
        Task::Search(task) => search(task, spec.threads)?,
        Task::Value(task) => value(task)?,
    };
    figures["instruction_set"] = instruction_set().into();
    std::fs::write(&spec.result, serde_json::to_vec_pretty(&figures)?)?;
    Ok(())
}

/// Runs `work` on every thread and returns what each of them did, or the first failure.
fn on_threads<T: Send>(
    threads: usize,
    work: impl Fn() -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(&work)).collect();
        let joined = handles.into_iter().map(|handle| handle.join());
        joined.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// The floor of W1: the columns decoded to Arrow arrays and dropped.
fn decode(task: &Decode, threads: usize) -> Result<Value, Failure> {
    let (next, rows, bytes) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    on_threads(threads, || {
        while let Some(path) = task.files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
            let names = task.columns.iter().map(String::as_str);
            let mask = ProjectionMask::columns(builder.parquet_schema(), names);
            let reader = builder.with_projection(mask).with_batch_size(DECODED).build()?;
            if reader.schema().fields().len() != task.columns.len() {
                return Err(format!("{} lacks some of {:?}", path.display(), task.columns).into());
            }
            for batch in reader {
                let batch = std::hint::black_box(batch?);
                rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                let size: usize = batch.columns().iter().map(|column| column.get_array_memory_size()).sum();
                bytes.fetch_add(size as u64, Ordering::Relaxed);
            }
        }
        Ok(())
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "seconds": seconds, "rows": rows.into_inner(), "decoded_bytes": bytes.into_inner() }))
}

/// The other floor of W1: its tables, read back to Arrow arrays, written as they are published. Only the writing is
/// timed, on each thread.
fn encode(task: &Encode, threads: usize) -> Result<Value, Failure> {
    let parts: Vec<(&str, usize, &PathBuf)> = task
        .tables
        .iter()
        .flat_map(|(table, files)| {
            files.iter().enumerate().map(|(number, path)| (table.as_str(), number, path))
        })
        .collect();
    let folder = RunFolder::scratch(task.out.clone());
    let next = AtomicUsize::new(0);
    let done = on_threads(threads, || {
        let (mut seconds, mut rows, mut bytes) = (0.0, 0, 0);
        while let Some((table, number, path)) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
            let reader = builder.with_batch_size(ENCODED).build()?;
            let schema = reader.schema();
            let batches = reader.collect::<Result<Vec<_>, _>>()?;
            let begun = Instant::now();
            let mut writer = PartWriter::create(&folder, table, *number, schema)?;
            batches.iter().try_for_each(|batch| writer.write(batch))?;
            let part = writer.finish()?;
            seconds += begun.elapsed().as_secs_f64();
            (rows, bytes) = (rows + part.rows, bytes + part.bytes);
        }
        Ok((seconds, rows, bytes))
    })?;
    let seconds: f64 = done.iter().map(|(seconds, ..)| seconds).sum();
    let (rows, bytes) = done.iter().fold((0, 0), |(rows, bytes), one| (rows + one.1, bytes + one.2));
    Ok(json!({ "seconds": seconds / threads as f64, "rows": rows, "encoded_bytes": bytes }))
}

/// One k-means for every k and its silhouette on the folds of the sample.
fn sweep(task: &Sweep, threads: usize) -> Result<Value, Failure> {
    let rows = task.matrix.read()?;
    let dims = task.matrix.dims;
    let sampled = task.silhouette_rows.min(task.matrix.rows);
    let sample = &rows[..sampled * dims];
    let (mut fits, mut silhouettes, mut table) = (0.0, 0.0, Vec::new());
    for &k in &task.ks {
        let begun = Instant::now();
        let options = Options {
            max_iterations: task.max_iterations,
            tolerance: task.tolerance,
            threads,
            ..Options::new(k, task.seed)
        };
        let model = kmeans::fit(&rows, dims, &options)?;
        fits += begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let (mut labels, mut distances) = (vec![0; sampled], vec![0.0; sampled]);
        model.assign(sample, &mut labels, &mut distances);
        let folds = stratified_folds(&labels, task.silhouette_repeats, task.seed);
        let found = stratified_repeats(sample, dims, &labels, &folds, task.silhouette_repeats, threads)?;
        silhouettes += begun.elapsed().as_secs_f64();
        table.push(json!({ "k": k, "inertia": model.inertia, "iterations": model.iterations,
                           "silhouette": found.mean, "standard_error": found.standard_error }));
    }
    Ok(json!({ "seconds": fits + silhouettes, "sweep": table,
               "stages": { "fits": fits, "silhouettes": silhouettes } }))
}

/// One fit from a given start with a stated number of iterations.
fn fit(task: &Fit, threads: usize) -> Result<Value, Failure> {
    let (rows, start) = (task.matrix.read()?, task.start.read()?);
    let options = Options {
        max_iterations: task.iterations,
        tolerance: 0.0,
        threads,
        start: Start::Given(start),
        ..Options::new(task.start.rows, 1)
    };
    let begun = Instant::now();
    let model = kmeans::fit(&rows, task.matrix.dims, &options)?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "seconds": seconds, "inertia": model.inertia, "iterations": model.iterations }))
}

/// Every row to its nearest centroid, each thread a run of the rows.
fn assign(task: &Assign, threads: usize) -> Result<Value, Failure> {
    let (rows, centroids) = (task.matrix.read()?, task.centroids.read()?);
    let (n, dims) = (task.matrix.rows, task.matrix.dims);
    let (mut labels, mut distances) = (vec![0u32; n], vec![0.0f32; n]);
    let part = n.div_ceil(threads.max(1)).max(1);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let parts = rows.chunks(part * dims).zip(labels.chunks_mut(part)).zip(distances.chunks_mut(part));
        for ((rows, labels), distances) in parts {
            let centroids = &centroids;
            scope.spawn(move || nearest(centroids, dims, rows, labels, distances));
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let inertia: f64 = distances.iter().map(|&distance| f64::from(distance)).sum();
    Ok(json!({ "seconds": seconds, "rows": n, "rows_per_second": n as f64 / seconds, "inertia": inertia }))
}

/// Every index of packwise that a spec can name.
enum Index {
    Exact(Exact),
    Lists(Box<Lists>),
    Tunable(Box<dyn Tunable>),
}

impl Index {
    fn build(task: &Search, pool: &[f32], sample: &[f32], threads: usize) -> Result<Self, Failure> {
        let dims = task.pool.dims;
        Ok(match &*task.kind {
            "exact" => Self::Exact(Exact::build(pool, dims)?),
            // As a run does where all customers are looked up.
            "cells" => {
                let cells = Cells::build(pool, dims, None, 1, threads)?;
                Self::Lists(Box::new(Lists::build(cells, sample, task.k, 1, threads)?))
            }
            "graph" => Self::Tunable(Box::new(Graph::build(
                pool,
                dims,
                GraphOptions { build_width: 200, ..GraphOptions::default() },
                1,
                threads,
            )?)),
            "hnsw" => Self::Tunable(Box::new(Hnsw::build(pool, dims, GraphOptions::default())?)),
            other => return Err(format!("no index is called {other}").into()),
        })
    }

    fn reader(&self) -> &dyn NeighbourIndex {
        match self {
            Self::Exact(exact) => exact,
            Self::Lists(lists) => lists.as_ref(),
            Self::Tunable(tunable) => tunable.as_ref(),
        }
    }
}

/// Builds an index once and asks it at every wanted recall.
fn search(task: &Search, threads: usize) -> Result<Value, Failure> {
    let (pool, queries) = (task.pool.read()?, task.queries.read()?);
    let (calibration, sample) = (task.calibration.read()?, task.sample.read()?);
    let (dims, k) = (task.pool.dims, task.k);
    let begun = Instant::now();
    let mut index = Index::build(task, &pool, &sample, threads)?;
    let build_seconds = begun.elapsed().as_secs_f64();

    let mut recalls = Vec::new();
    for &wanted in &task.recalls {
        let begun = Instant::now();
        let mut row = json!({ "wanted": wanted, "reached": true });
        if !matches!(index, Index::Exact(_)) {
            let sample = Sample { queries: &calibration, exclude: None };
            let truth = search_on_threads(&Exact::build(&pool, dims)?, sample, k, threads)?;
            let calibrated = match &mut index {
                Index::Lists(lists) => calibrate_lists(lists, sample, &truth, wanted, threads)?,
                Index::Tunable(index) => calibrate(index.as_mut(), sample, &truth, wanted, threads)?,
                Index::Exact(_) => break,
            };
            row["effort"] = calibrated.effort.into();
            row["reached"] = calibrated.reached.into();
            row["calibration_seconds"] = begun.elapsed().as_secs_f64().into();
        }
        let (found, seconds) = lookups(index.reader(), &queries, task, threads)?;
        let path = format!("{}-{wanted}", task.found.display());
        write_found(Path::new(&path), &found[..task.judged.min(task.queries.rows) * k])?;
        row["found"] = path.into();
        row["seconds"] = seconds.into();
        row["lookups_per_second"] = (task.queries.rows as f64 / seconds).into();
        row["singles_per_second"] = singles(index.reader(), &queries, task)?.into();
        recalls.push(row);
        if matches!(index, Index::Exact(_)) {
            break;
        }
    }
    Ok(json!({ "seconds": build_seconds, "build_seconds": build_seconds, "recalls": recalls }))
}

/// All queries, each thread a batch at a time: the positions found, and the seconds.
fn lookups(
    index: &dyn NeighbourIndex,
    queries: &[f32],
    task: &Search,
    threads: usize,
) -> Result<(Vec<u32>, f64), Failure> {
    let (dims, k) = (task.pool.dims, task.k);
    let mut found = vec![u32::MAX; task.queries.rows * k];
    // As many for each thread.
    let batches = task.queries.rows.div_ceil(BATCH).next_multiple_of(threads);
    let batch = task.queries.rows.div_ceil(batches);
    let begun = Instant::now();
    let work = Mutex::new(queries.chunks(batch * dims).zip(found.chunks_mut(batch * k)));
    on_threads(threads, || {
        let mut out = Neighbours::new();
        loop {
            let next = work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
            let Some((queries, found)) = next else { return Ok(()) };
            index.search(queries, k, None, &mut out)?;
            for (query, found) in found.chunks_exact_mut(k).enumerate() {
                let positions = out.of(query).0;
                found[..positions.len()].copy_from_slice(positions);
            }
        }
    })?;
    Ok((found, begun.elapsed().as_secs_f64()))
}

/// Lookups a second, one query a call on one thread.
fn singles(index: &dyn NeighbourIndex, queries: &[f32], task: &Search) -> Result<Option<f64>, Failure> {
    let count = task.singles.min(task.queries.rows);
    if count == 0 {
        return Ok(None);
    }
    let step = task.queries.rows / count;
    let mut out = Neighbours::new();
    let begun = Instant::now();
    for query in queries.chunks_exact(task.pool.dims).step_by(step).take(count) {
        index.search(std::hint::black_box(query), task.k, None, &mut out)?;
    }
    Ok(Some(count as f64 / begun.elapsed().as_secs_f64()))
}

fn write_found(path: &Path, found: &[u32]) -> Result<(), Failure> {
    let bytes: Vec<u8> = found.iter().flat_map(|position| position.to_le_bytes()).collect();
    Ok(std::fs::write(path, bytes)?)
}

/// BG/NBD on distinct histories.
fn value(task: &Histories) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(&task.tuples)?;
    let mut rows = Vec::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [x, t_x, t, customers] = cells[..] else { return Err(format!("not four cells: {line}").into()) };
        rows.push(PurchaseTuple {
            x: x.parse()?,
            t_x: t_x.parse()?,
            t: t.parse()?,
            customers: customers.parse()?,
        });
    }
    let begun = Instant::now();
    let tuples = Tuples::new(TimeUnit::Day, rows)?;
    let fit = fit_purchases(&tuples, Dropout::BgNbd, &FitOptions::default())?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "seconds": seconds, "parameters": fit.report.parameters, "tuples": tuples.rows().len() }))
}
