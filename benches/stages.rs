//! Stages on generated data: shuffle, features, and scoring with neighbours, in rows or customers a
//! second. Sizes are in the ids. `cargo bench --bench stages`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use packwise::affinities;
use packwise::config::{Config, Layers, load};
use packwise::engine::Engine;
use packwise::engine::memory::Models;
use packwise::engine::part::RunFolder;
use packwise::engine::progress::Progress;
use packwise::engine::scratch::Scratch;
use packwise::features::{self, Source, Units};
use packwise::generate::{DEFAULT_START, Options, generate};
use packwise::neighbours::pool;
use packwise::pipeline::{Checked, check_input, customer_schema};
use packwise::policies::{ContactHistory, Policies, PolicyFile};
use packwise::recommendations::model::ScoringModel;
use packwise::recommendations::{self, Fitted};
use packwise::segments;
use packwise::transactions::cutoff::Cutoff;
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
            folder: RunFolder::Local { root: dir.join("run") },
        }
    }

    fn shuffle(&self) -> Transactions {
        let Checked { plan, catalogue, .. } = check_input(&self.config, &self.engine).expect("reads");
        let resident = self.engine.memory.resident_rows();
        let (config, scratch, folder) = (&self.config, &self.scratch, &self.folder);
        transactions::shuffle(&plan, catalogue, config, &self.engine, resident, scratch, folder)
            .expect("shuffles")
    }

    fn features(&self, transactions: &Transactions) -> features::Features {
        let source =
            Source { units: Units::Buckets, channel_rows: &transactions.channel_rows, sampler: None };
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
                recommendations::build(&fitted, &model, &policies, config, engine, scratch, folder)
                    .expect("recommends")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, stages);
criterion_main!(benches);
