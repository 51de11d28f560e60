//! The kernels that the engine's time goes to: assignment, a k-means step, neighbour search.
//!
//! `cargo bench --bench kernels`. Sizes are in the ids, throughput is rows or lookups a second on one
//! thread. The queries are all customers and the pool the third that spends most, as in production.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use packwise::neighbours::calibrate::{Askers, BuildOptions, IndexKind, Sample, build};
use packwise::neighbours::exact::Exact;
use packwise::neighbours::graph::GraphOptions;
use packwise::neighbours::index::{NeighbourIndex, Neighbours};
use packwise::numerics::blocks::{Blocks, nearest};
use packwise::numerics::factor::{FactorOptions, Factors, SparseRows};
use packwise::numerics::kmeans::{self, Algorithm, Options, Start};
use packwise::numerics::random::generator;
use packwise::numerics::silhouette::silhouette;
use packwise::numerics::simd::instruction_set;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use std::hint::black_box;

const DIMS: usize = 16;

/// Customers of 42 groups, skewed; column 0 is what they spend.
fn customers(n: usize) -> Vec<f32> {
    let mut random = generator(1, "bench customers", 0);
    let groups: Vec<f32> = (0..42 * DIMS).map(|_| random.gen_range(-1.5..1.5f32)).collect();
    let mut rows = Vec::with_capacity(n * DIMS);
    for _ in 0..n {
        let group = random.gen_range(0..42usize).min(random.gen_range(0..42usize));
        let scale: f32 = random.gen_range(0.3..1.0);
        for d in 0..DIMS {
            let noise: f32 = StandardNormal.sample(&mut random);
            rows.push(groups[group * DIMS + d] + scale * noise);
        }
    }
    rows
}

/// The `n` customers who spend most, in their order.
fn best(customers: &[f32], n: usize) -> Vec<f32> {
    let mut order: Vec<usize> = (0..customers.len() / DIMS).collect();
    order.sort_by(|&a, &b| customers[b * DIMS].total_cmp(&customers[a * DIMS]));
    order.truncate(n);
    order.sort_unstable();
    order.iter().flat_map(|&row| &customers[row * DIMS..][..DIMS]).copied().collect()
}

fn assignment(c: &mut Criterion) {
    let rows = customers(100_000);
    let centres = &rows[..50 * DIMS];
    let points = Blocks::from_rows(&rows, DIMS);
    let (mut labels, mut distances) = (vec![0; 100_000], vec![0.0; 100_000]);
    let mut group = c.benchmark_group(format!("nearest/{}", instruction_set()));
    group.throughput(Throughput::Elements(100_000));
    group.bench_function("rows/100000x16/k50", |b| {
        b.iter(|| nearest(centres, DIMS, black_box(&rows), &mut labels, &mut distances));
    });
    group.bench_function("blocks/100000x16/k50", |b| {
        let blocks = 0..points.blocks();
        b.iter(|| black_box(&points).nearest(centres, blocks.clone(), &mut labels, &mut distances));
    });
    group.finish();

    let mut group = c.benchmark_group("kmeans");
    group.sample_size(10).throughput(Throughput::Elements(500_000));
    for algorithm in [Algorithm::Lloyd, Algorithm::Linfa] {
        let start = Start::Given(rows[..50 * DIMS].to_vec());
        let options = Options { max_iterations: 5, tolerance: 0.0, start, algorithm, ..Options::new(50, 1) };
        group.bench_function(BenchmarkId::new(format!("{algorithm:?}"), "100000x16/k50/5 steps"), |b| {
            b.iter(|| kmeans::fit(black_box(&rows), DIMS, &options).expect("fits"));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("silhouette");
    group.sample_size(10);
    group.bench_function("10000x16/k42", |b| {
        let rows = &rows[..10_000 * DIMS];
        let labels: Vec<u32> = (0..10_000).map(|row| row % 42).collect();
        b.iter(|| silhouette(black_box(rows), DIMS, &labels, 1).expect("clusters"));
    });
    group.finish();
}

fn search(c: &mut Criterion) {
    const QUERIES: usize = 4096;
    const LISTED: usize = 1 << 16;
    let all = customers(600_000);
    let pool = best(&all, 200_000);
    let queries = &all[..QUERIES * DIMS];
    let sample = Sample { queries: &all[QUERIES * DIMS..][..2000 * DIMS], exclude: None };
    let mut out = Neighbours::new();
    let mut group = c.benchmark_group(format!("search/{}", instruction_set()));
    group.sample_size(10).throughput(Throughput::Elements(QUERIES as u64));
    let exact = Exact::build(&pool, DIMS).expect("points");
    group.bench_function("exact/200000x16/k20", |b| {
        b.iter(|| exact.search(black_box(queries), 20, None, &mut out).expect("queries"));
    });
    for recall_wanted in [0.95, 0.99, 1.0] {
        let graph = GraphOptions::default();
        let options =
            BuildOptions { kind: IndexKind::Cells, k: 20, recall_wanted, seed: 1, threads: 1, graph };
        let cells = build(&pool, DIMS, sample, None, &options).expect("points");
        group.bench_function(BenchmarkId::new("cells/200000x16/k20/recall", recall_wanted), |b| {
            b.iter(|| cells.index.search(black_box(queries), 20, None, &mut out).expect("queries"));
        });
    }
    let many = &all[..LISTED * DIMS];
    let askers = Askers { rows: &all[LISTED * DIMS..][..48_000 * DIMS], count: 5_000_000 };
    group.throughput(Throughput::Elements(LISTED as u64));
    for recall_wanted in [0.95, 0.99] {
        let graph = GraphOptions::default();
        let options =
            BuildOptions { kind: IndexKind::Cells, k: 20, recall_wanted, seed: 1, threads: 1, graph };
        let lists = build(&pool, DIMS, sample, Some(askers), &options).expect("points");
        group.bench_function(BenchmarkId::new("lists/200000x16/k20/recall", recall_wanted), |b| {
            b.iter(|| lists.index.search(black_box(many), 20, None, &mut out).expect("queries"));
        });
    }
    group.throughput(Throughput::Elements(QUERIES as u64));
    let graph = GraphOptions { connections: 16, build_width: 200 };
    let options =
        BuildOptions { kind: IndexKind::Graph, k: 20, recall_wanted: 0.95, seed: 1, threads: 2, graph };
    let graph = build(&pool, DIMS, sample, None, &options).expect("points");
    group.bench_function("graph/200000x16/k20/recall/0.95/single", |b| {
        b.iter(|| {
            for query in queries.chunks_exact(DIMS) {
                graph.index.search(black_box(query), 20, None, &mut out).expect("query");
            }
        });
    });
    group.finish();
}

fn factors(criterion: &mut Criterion) {
    let (customers, packages, bought) = (100_000, 24_000, 10);
    let mut random = generator(1, "factors", 0);
    let offsets: Vec<usize> = (0..=customers).map(|customer| customer * bought).collect();
    let columns: Vec<u32> = (0..customers * bought).map(|_| random.gen_range(0..packages)).collect();
    let values = vec![1.0; columns.len()];
    let matrix = SparseRows::new(&offsets, &columns, &values, packages as usize).expect("a matrix");
    let mut group = criterion.benchmark_group("factors");
    group.sample_size(10);
    group.bench_function("100000x24000/1000000/rank=16", |bench| {
        bench.iter(|| Factors::fit(black_box(matrix), &FactorOptions::new(16, 1)).expect("factors"));
    });
    group.finish();
}

criterion_group!(benches, factors, assignment, search);
criterion_main!(benches);
