//! Stages on generated data: shuffle, features, and scoring with neighbours, in rows or customers a
//! second. Sizes are in the ids. `cargo bench --bench stages`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use packwise::affinities;
use packwise::config::{Config, Layers, load};
use packwise::engine::Engine;
use packwise::engine::memory::Models;
use packwise::engine::part::{PartWriter, RunFolder};
use packwise::engine::progress::Progress;
use packwise::engine::scratch::Scratch;
use packwise::engine::session::BucketSession;
use packwise::features::bucket::{BucketFailure, BucketTables, Context};
use packwise::features::linear::Linear;
use packwise::features::totals::Totals;
use packwise::features::{self, Source, Units};
use packwise::generate::{DEFAULT_START, Options, generate};
use packwise::neighbours::pool;
use packwise::pipeline::{Checked, check_input, customer_schema};
use packwise::policies::{ContactHistory, Policies, PolicyFile};
use packwise::recommendations::model::ScoringModel;
use packwise::recommendations::{self, Fitted};
use packwise::segments;
use packwise::transactions::cutoff::Cutoff;
use packwise::transactions::quarantine::Rejected;
use packwise::transactions::whole_customers::{Cleaner, WholeCustomers};
use packwise::transactions::{self, Transactions};
use std::path::Path;

const ROWS: u64 = 500_000;
const CUSTOMERS: u64 = 50_000;

struct Setting {
    config: Config,
    engine: Engine,
    scratch: Scratch,
    folder: RunFolder,
}

impl Setting {
    fn new(dir: &Path) -> Self {
        let out = dir.join("dumps");
        generate(
            &Options {
                out: out.clone(),
                transactions: ROWS,
                customers: CUSTOMERS,
                packages: 120,
                days: 92,
                seed: 1,
                start: DEFAULT_START,
                threads: 0,
            },
            &|_| {},
        )
        .expect("generates");
        let (config, _): (Config, Layers) = load(
            Some(Path::new("config/telco.toml")),
            &[
                format!("transactions.path={}", out.join("transactions").display()),
                format!("catalogue.path={}", out.join("packages.parquet").display()),
                "segments.k=7".to_owned(),
            ],
        )
        .expect("loads");
        let engine = Engine::new(
            config.resources.threads,
            config.resources.memory,
            Models::default(),
            Progress::new(false),
        )
        .expect("starts");
        Self {
            config,
            engine,
            scratch: Scratch::temporary().expect("scratch"),
            folder: RunFolder::scratch(dir.join("run")),
        }
    }

    fn shuffle(&self) -> Transactions {
        let Checked { mut plan, catalogue, .. } = check_input(&self.config, &self.engine).expect("reads");
        let resident = self.engine.memory.resident_rows();
        let (config, scratch, folder) = (&self.config, &self.scratch, &self.folder);
        transactions::shuffle(&mut plan, catalogue, config, &self.engine, resident, scratch, folder)
            .expect("shuffles")
    }

    fn features(&self, transactions: &Transactions) -> features::Features {
        let source = Source::of(Units::Buckets, &transactions.channel_rows, self.config.segments.sample);
        let cutoff = Cutoff::end(transactions);
        features::build(
            transactions,
            &source,
            cutoff,
            &self.config,
            &self.engine,
            &self.scratch,
            &self.folder,
        )
        .expect("features")
    }
}

/// The kernels of the features stage over one bucket, in rows a second: sorting, the one reading and the
/// queries that it stands for, and writing.
fn feature_kernels(criterion: &mut Criterion) {
    let dir = Scratch::temporary().expect("folder");
    let setting = Setting::new(dir.path());
    let transactions = setting.shuffle();
    let cutoff = Cutoff::end(&transactions);
    let bucket = transactions.buckets.read(0).expect("reads");
    let count = bucket.rows.len();
    let context = Context::new(&transactions, &transactions.channel_rows, cutoff, &setting.config.features);
    let whole = WholeCustomers::new(bucket.clone(), &transactions, &mut Rejected::new(None, 0));
    let mut totals = Totals::new(context.packages(), cutoff.day(), 28);
    let mut linear = Linear::new(&context, true);
    let mut group = criterion.benchmark_group("features of a bucket");
    group.throughput(Throughput::Elements(count as u64));
    let (mut cleaner, mut sorted) = (Cleaner::default(), WholeCustomers::empty());
    group.bench_function(format!("sort and clean/{count}"), |bench| {
        bench.iter(|| cleaner.clean(&bucket, &transactions, &mut Rejected::new(None, 0), &mut sorted));
    });
    group.bench_function(format!("linear/{count}"), |bench| {
        bench.iter(|| {
            let mut sink = |_: &BucketTables| -> Result<(), BucketFailure> { Ok(()) };
            linear.run(&whole, &mut totals, &mut sink).expect("makes features");
        });
    });
    let session = BucketSession::new(None, setting.scratch.path()).expect("session");
    group.sample_size(10);
    group.bench_function(format!("sql/{count}"), |bench| {
        bench.iter(|| context.run_sql(&whole, &session, setting.engine.runtime.handle()).expect("queries"));
    });
    let made = context.run_sql(&whole, &session, setting.engine.runtime.handle()).expect("queries");
    for (table, batch) in [("customer_features", &made.features), ("customer_packages", &made.packages)] {
        let size = batch.num_rows();
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(format!("write {table}/{size}"), |bench| {
            bench.iter(|| {
                let mut writer =
                    PartWriter::create(&setting.folder, table, 0, batch.schema()).expect("creates");
                writer.write(batch).expect("writes");
                writer.finish().expect("ends")
            });
        });
    }
    group.finish();
}

fn stages(criterion: &mut Criterion) {
    let dir = Scratch::temporary().expect("folder");
    let setting = Setting::new(dir.path());
    let mut group = criterion.benchmark_group("stages");
    group.sample_size(10);
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function(format!("shuffle/{ROWS}"), |bench| bench.iter(|| setting.shuffle()));
    group.bench_function(format!("features/{ROWS}"), |bench| {
        bench.iter_batched(
            || setting.shuffle(),
            |transactions| setting.features(&transactions),
            BatchSize::PerIteration,
        );
    });
    let transactions = setting.shuffle();
    let features = setting.features(&transactions);
    let (config, engine, folder) = (&setting.config, &setting.engine, &setting.folder);
    group.throughput(Throughput::Elements(features.customers));
    group.bench_function(format!("segments/k=7/{}", features.customers), |bench| {
        bench.iter(|| segments::build(&features, config, engine, folder).expect("segments"));
    });
    let segments = segments::build(&features, config, engine, folder).expect("segments");
    let neighbourhood = pool::build(&features, &segments, config, engine, folder).expect("neighbours");
    let window = config.recommendations.window_days;
    group.bench_function(format!("affinities/{}", features.customers), |bench| {
        bench.iter(|| affinities::build(&features, window, config, engine, folder).expect("affinities"));
    });
    let affinities = affinities::build(&features, window, config, engine, folder).expect("affinities");
    let fitted = Fitted { features, segments, neighbourhood, affinities };
    let (model, scratch) = (ScoringModel::untuned(None), &setting.scratch);
    let example =
        PolicyFile::parse(include_str!("../config/policies.toml"), "policies.toml").expect("parses");
    let features = &fitted.features;
    let compile = |file: &PolicyFile| {
        let customers = customer_schema(&features.schema);
        let day = DEFAULT_START + chrono::Days::new(92);
        Policies::compile(file, &features.package_batch, &customers, day, ContactHistory::empty())
            .expect("compiles")
    };
    for (name, policies) in
        [("recommendations", compile(&PolicyFile::empty())), ("with policies", compile(&example))]
    {
        group.bench_function(format!("{name}/{}", features.customers), |bench| {
            bench.iter(|| {
                recommendations::build(&fitted, &model, &policies, config, engine, scratch, folder, None)
                    .expect("recommends")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, feature_kernels, stages);
criterion_main!(benches);
