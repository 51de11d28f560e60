//! Whatever a file holds, reading it gives a value or an error: no panic, no abort, no endless loop.
//!
//! Every reader of bytes that come from outside gets noise, and valid input that was changed a little: tokens dropped,
//! doubled, moved or replaced by awkward ones, bytes flipped, the end cut off. The second kind gets past the first
//! check and is where readers fail.

use crate::support::{CATALOGUE, Ids, Purchase, Shop, batch, catalogue, iso, purchases, write_parquet};
use packwise::config::{Config, load};
use packwise::engine::Engine;
use packwise::engine::journal::{Journal, Unfinished};
use packwise::engine::memory::Models;
use packwise::engine::part::RunFolder;
use packwise::engine::progress::Progress;
use packwise::engine::scratch::Scratch;
use packwise::pipeline::{Checked, check_input, compile};
use packwise::policies::PolicyFile;
use packwise::published::PublishedRun;
use packwise::quantities::{
    DurationUnit, SpeedUnit, VolumeStep, VolumeUnit, parse_bytes, parse_duration_days, parse_speed_mbps,
    parse_volume_mb,
};
use packwise::runs::Output;
use packwise::transactions::{InputError, catalogue as stock, shuffle, times};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use serde_json::Value;
use std::io::Write;

/// Texts that parsers stumble over.
const AWKWARD: [&str; 26] = [
    "",
    "0",
    "-1",
    "-0",
    "1e999",
    "nan",
    "inf",
    "9223372036854775808",
    "0x7fffffffffffffff",
    "\"",
    "'''",
    "[",
    "]]",
    "{",
    "}",
    "=",
    "#",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "💥",
    "true",
    "null",
    "9999-12-31",
    "../..",
    "$(x)",
];

/// One change of some bytes: what, where (as a share of the length), and with what.
#[derive(Debug, Clone)]
enum Edit {
    Drop(f64),
    Double(f64),
    Swap(f64, f64),
    Replace(f64, usize),
    Flip(f64, u8),
    Cut(f64),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || 0.0..1.0;
    prop_oneof![
        2 => at().prop_map(Edit::Drop),
        2 => at().prop_map(Edit::Double),
        1 => (at(), at()).prop_map(|(a, b)| Edit::Swap(a, b)),
        4 => (at(), 0..AWKWARD.len()).prop_map(|(a, b)| Edit::Replace(a, b)),
        2 => (at(), any::<u8>()).prop_map(|(a, b)| Edit::Flip(a, b)),
        1 => at().prop_map(Edit::Cut),
    ]
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec(edit(), 1..6)
}

/// Words, numbers, and every other byte by itself.
fn tokens(bytes: &[u8]) -> Vec<Vec<u8>> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') || *byte >= 128;
    bytes.chunk_by(|a, b| is_word(a) && is_word(b)).map(<[u8]>::to_vec).collect()
}

fn changed(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut tokens = tokens(bytes);
    for edit in edits {
        let at = |share: f64| ((tokens.len() as f64 * share) as usize).min(tokens.len().saturating_sub(1));
        if tokens.is_empty() {
            break;
        }
        match edit {
            Edit::Drop(share) => drop(tokens.remove(at(*share))),
            Edit::Double(share) => tokens.insert(at(*share), tokens[at(*share)].clone()),
            Edit::Swap(a, b) => {
                let (a, b) = (at(*a), at(*b));
                tokens.swap(a, b);
            }
            Edit::Replace(share, with) => {
                let at = at(*share);
                tokens[at] = AWKWARD[*with].as_bytes().to_vec();
            }
            Edit::Flip(share, bits) => {
                let at = at(*share);
                if let Some(first) = tokens[at].first_mut() {
                    *first ^= bits;
                }
            }
            Edit::Cut(share) => tokens.truncate(at(*share)),
        }
    }
    tokens.concat()
}

/// Runs `test` on `cases` inputs that `strategy` makes.
fn fuzz<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None::<FileFailurePersistence>.map(|file| Box::new(file) as _),
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    if let Err(error) = TestRunner::new(config).run(&strategy, test) {
        panic!("{error}");
    }
}

fn noise(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..length)
}

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn configuration() {
    let shop = Shop::new();
    let path = shop.path("fuzzed.toml");
    let sources = ["config/default.toml", "config/telco.toml", "config/retail.toml"].map(file);
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let _ = load(Some(&path), &[]);
    };
    fuzz(2_000, (0..3_usize, edits()), |(source, edits)| {
        read(&changed(sources[source].as_bytes(), &edits));
        Ok(())
    });
    fuzz(500, noise(300), |bytes| {
        read(&bytes);
        Ok(())
    });
    // `--set`: every key with awkward values, and noise.
    let (_, layers) = load(None, &["transactions.path=x".into()]).unwrap();
    let keys: Vec<String> = layers.entries().into_iter().map(|(key, _, _)| key).collect();
    for key in &keys {
        for value in AWKWARD {
            let _ = load(None, &["transactions.path=x".into(), format!("{key}={value}")]);
        }
    }
    fuzz(1_000, ".{0,60}", |text| {
        let _ = load(None, &[text]);
        Ok(())
    });
    for deep in ["[", "{a=", "a.", "[[", "a=[", "a={b="] {
        read(deep.repeat(50_000).as_bytes());
    }
}

fn engine() -> Engine {
    let models = Models { sample: 100, pool: 100, tuning: 100 };
    Engine::new(2, 512 << 20, models, Progress::new(false)).unwrap()
}

#[test]
fn policies() {
    let shop = Shop::open(60);
    let run = shop.run(&[]);
    let packages = shop.table(&run, "packages");
    let features = shop.table(&run, "customer_features").schema();
    let engine = engine();
    let source = file("config/policies.toml");
    let compiled = std::cell::Cell::new(0);
    let read = |text: &str| {
        if let Ok(policies) = PolicyFile::parse(text, "fuzzed.toml") {
            let _ = compile(&policies, &packages, &features, 20_544, &std::sync::Arc::default(), &engine);
            compiled.set(compiled.get() + 1);
        }
    };
    fuzz(1_500, edits(), |edits| {
        read(&String::from_utf8_lossy(&changed(source.as_bytes(), &edits)));
        Ok(())
    });
    // Conditions: an expression changed a little inside a file that is right.
    let condition = "recency_days < 30 and purchases >= 2.5 or (revenue between 1 and 1e6 and segment in (1, 2)) \
                     and not (coalesce(price, 0) % 7 = 0) and package_code like 'P0_%' and -purchases / 3 < 9";
    let rule = |condition: &str| {
        let quoted = toml::Value::from(condition).to_string();
        format!("[[eligibility]]\nname = \"fuzzed\"\nkeep = {quoted}\n")
    };
    fuzz(1_500, edits(), |edits| {
        read(&rule(&String::from_utf8_lossy(&changed(condition.as_bytes(), &edits))));
        Ok(())
    });
    fuzz(500, ".{0,80}", |text| {
        read(&rule(&text));
        read(&text);
        Ok(())
    });
    assert!(compiled.get() > 500, "{} of 3,500 were read as policies", compiled.get());
    for deep in ["(", "not ", "-", "1+", "case when ", "a and ", "[", "x in ("] {
        read(&rule(&deep.repeat(50_000)));
        read(&deep.repeat(50_000));
    }
}

#[test]
fn quantities_and_times() {
    let quantities = [
        "1.5 GB",
        "1,5GB",
        "2 TB",
        "unlimited",
        "512 kbit/s",
        "100 Mbps",
        "30 days",
        "P1Y2M3W4DT5H6M7S",
        "1 month",
        "2GiB",
        "1 234 567,5 MB",
    ];
    let times_texts = [
        "2026-05-31",
        "20260531",
        "2026-05-31 23:59:59",
        "2026-05-31T23:59:59.999Z",
        "2026-05-31 14:00:00+02:00",
        "2026-05-31T14:00",
        "-0001-01-01",
        "9999-12-31T23:59:60Z",
    ];
    let read = |text: &str| {
        for step in [VolumeStep::Binary, VolumeStep::Decimal] {
            if let Ok(volume) = parse_volume_mb(text, VolumeUnit::Mb, step) {
                let limit = volume.limit_mb();
                prop_assert!(
                    limit.is_none_or(|limit| limit.is_finite() && limit >= 0.0),
                    "{text:?}: {limit:?}"
                );
            }
        }
        for parsed in [parse_speed_mbps(text, SpeedUnit::Mbps), parse_duration_days(text, DurationUnit::Days)]
        {
            prop_assert!(
                parsed.is_err() || parsed.as_ref().is_ok_and(|n| n.is_finite() && *n >= 0.0),
                "{text:?}"
            );
        }
        let _ = parse_bytes(text);
        if let Some(seconds) = times::parse(text) {
            let shown = chrono::DateTime::from_timestamp(seconds, 0);
            prop_assert!(shown.is_some(), "{text:?} is {seconds}");
        }
        Ok(())
    };
    let sources = [&quantities[..], &times_texts[..]].concat();
    fuzz(20_000, (0..sources.len(), edits()), |(source, edits)| {
        read(&String::from_utf8_lossy(&changed(sources[source].as_bytes(), &edits)))
    });
    fuzz(20_000, ".{0,40}", |text| read(&text));
    fuzz(5_000, "[0-9TZ:+ .,-]{0,30}", |text| read(&text));
    // What is written as ISO 8601 says is read as what it is, in every form.
    fuzz(5_000, 0_i64..4_294_967_295, |seconds| {
        let text = iso(seconds);
        for form in [text.clone(), text.replace('T', " "), format!("{text}Z"), format!("{text}.250+00:00")] {
            prop_assert_eq!(times::parse(&form), Some(seconds), "{}", form);
        }
        prop_assert_eq!(times::parse(&text[..10]), Some(seconds - seconds % 86_400));
        Ok(())
    });
    read(&"9".repeat(1_000_000)).unwrap();
}

/// A node of a JSON document, counted in the order of writing, taken out, doubled or replaced.
fn change_node(value: &mut Value, left: &mut usize, with: &Value) -> bool {
    if *left == 0 {
        *value = with.clone();
        return true;
    }
    *left -= 1;
    match value {
        Value::Array(values) => values.iter_mut().any(|value| change_node(value, left, with)),
        Value::Object(values) => values.iter_mut().any(|(_, value)| change_node(value, left, with)),
        _ => false,
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(nodes).sum::<usize>(),
        Value::Object(values) => values.values().map(nodes).sum(),
        _ => 0,
    }
}

fn awkward_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::from(true)),
        Just(Value::from(-1)),
        Just(Value::from(u64::MAX)),
        Just(Value::from(1e300)),
        Just(Value::from(Vec::<i32>::new())),
        Just(serde_json::json!({})),
        (0..AWKWARD.len()).prop_map(|text| Value::from(AWKWARD[text])),
        Just(Value::from("../../../etc/passwd")),
        Just(Value::from("x".repeat(5_000))),
    ]
}

/// Documents made of `text`: one node replaced, or the text changed.
fn documents(text: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let document: Value = serde_json::from_slice(&text).unwrap();
    let count = nodes(&document);
    prop_oneof![
        2 => (0..count, awkward_json()).prop_map(move |(node, with)| {
            let mut changed = document.clone();
            change_node(&mut changed, &mut node.clone(), &with);
            changed.to_string().into_bytes()
        }),
        1 => edits().prop_map(move |edits| changed(&text, &edits)),
    ]
}

#[test]
fn manifests_and_evaluations() {
    let shop = Shop::open(80);
    let run = shop.run(&[]);
    let path = shop.path("out/runs").join(&run.run_id).join("manifest.json");
    let manifest = std::fs::read(&path).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let output = Output::open(shop.path("out").to_str().unwrap(), runtime.handle()).unwrap();
    let opened = std::cell::Cell::new(0);
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let _ = output.made_of("another job");
        if let Ok(run) = PublishedRun::open(&output, None, 64 << 20) {
            opened.set(opened.get() + 1);
            let _ = runtime.block_on(run.register_all());
        }
    };
    fuzz(600, documents(manifest.clone()), |bytes| {
        read(&bytes);
        Ok(())
    });
    assert!(opened.get() > 30, "{} of 600 could be opened", opened.get());
    fuzz(200, noise(500), |bytes| {
        read(&bytes);
        Ok(())
    });
    read("[".repeat(100_000).as_bytes());

    // The commands that read it, as processes: an exit code of their own and one message.
    fuzz(25, documents(manifest.clone()), |bytes| {
        std::fs::write(&path, bytes).unwrap();
        for arguments in [
            &["runs", "-c", "packwise.toml", "show", &run.run_id][..],
            &["runs", "-c", "packwise.toml", "list"],
            &["lookup", "-c", "packwise.toml", "1"],
            &["value", "-c", "packwise.toml"],
            &["query", "-c", "packwise.toml", "SELECT count(*) FROM recommendations"],
        ] {
            let ended = shop.packwise(arguments);
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            prop_assert!(
                matches!(ended.status.code(), Some(0..=6)),
                "{:?}: {:?} {}",
                arguments,
                ended.status,
                said
            );
            prop_assert!(!said.contains("panicked"), "{:?}: {}", arguments, said);
        }
        Ok(())
    });
    std::fs::write(&path, &manifest).unwrap();

    shop.ok(&["evaluate", "-c", "packwise.toml", "--cutoffs", "1"]);
    let evaluation = std::fs::read_dir(shop.path("out/evaluations")).unwrap().next().unwrap().unwrap().path();
    let path = evaluation.join("evaluation.json");
    let text = std::fs::read(&path).unwrap();
    let read = |bytes: Vec<u8>| {
        std::fs::write(&path, bytes).unwrap();
        let _ = output.last_evaluation();
        Ok(())
    };
    fuzz(600, documents(text), read);
    fuzz(200, noise(500), read);
}

#[test]
fn journals() {
    let shop = Shop::new();
    let path = shop.path("journal.jsonl");
    let begun = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
    let journal = Journal::begin(&path, "work", "20260601T000000Z-00000000", begun).unwrap();
    for number in 0..5 {
        let done = serde_json::json!({"files": [{"path": "a", "rows": number}], "figures": [1, 2, 3]});
        journal.finish(&format!("part-{number}"), "basis", &done).unwrap();
    }
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    let read = |bytes: Vec<u8>| {
        std::fs::write(&path, bytes).unwrap();
        if let Some(unfinished) = Unfinished::read(&path, "work") {
            let journal = Journal::resume(&path, unfinished).unwrap();
            for number in 0..6 {
                let _ = journal.finished::<Value>(&format!("part-{number}"), "basis");
            }
            journal.finish("more", "basis", &1).unwrap();
        }
        Ok(())
    };
    fuzz(1_500, edits(), |edits| read(changed(&whole, &edits)));
    fuzz(500, noise(300), read);
}

/// Reads the transactions of a shop as a run does.
fn ingest(
    config: &Config,
    engine: &Engine,
    folder: &RunFolder,
) -> Result<(u64, usize), packwise::error::Error> {
    let Checked { mut plan, catalogue, .. } = check_input(config, engine)?;
    let scratch = Scratch::temporary().unwrap();
    let transactions = shuffle(&mut plan, catalogue, config, engine, 1 << 20, &scratch, folder)?;
    Ok((transactions.counts.rows, plan.left_out.len()))
}

/// A good file beside one that `bytes` makes: the run is made, with the bad one whole, without it, or fails by an error
/// that names what is wrong with its columns or rows.
fn beside_a_good_file(name: &str, cases: u32, bytes: impl Strategy<Value = Vec<u8>>) -> usize {
    let shop = Shop::new();
    let good = purchases(40, 71);
    write_parquet(&shop.path("dumps/a.parquet"), &batch(&good, Ids::Phone));
    let settings = [
        format!("transactions.path={}", shop.path("dumps").display()),
        "transactions.on_bad_file=quarantine".to_owned(),
        "contract.max_rejected_share=1".to_owned(),
    ];
    let (config, _) = load(Some(&shop.path("packwise.toml")), &settings).unwrap();
    let engine = engine();
    let folder = RunFolder::scratch(shop.path("run"));
    let left_out = std::cell::Cell::new(0);
    fuzz(cases, bytes, |bytes| {
        std::fs::write(shop.path("dumps").join(name), bytes).unwrap();
        match ingest(&config, &engine, &folder) {
            Ok((rows, 0)) => prop_assert!(rows >= good.len() as u64),
            Ok((rows, files)) => {
                left_out.set(left_out.get() + 1);
                prop_assert_eq!((rows, files), (good.len() as u64, 1), "nothing is half counted");
            }
            Err(packwise::error::Error::Input(
                InputError::MissingColumn { .. }
                | InputError::WrongType { .. }
                | InputError::TooManyRejected { .. },
            )) => {}
            Err(error) => prop_assert!(false, "{}", packwise::error::chain(&error).join(": ")),
        }
        Ok(())
    });
    left_out.get()
}

fn bad_rows() -> Vec<Purchase> {
    purchases(60, 72)
}

/// Changes of single bytes, most of them in the last part of the file, where Parquet has its footer.
fn flipped(whole: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = whole.len();
    let footer = u32::from_le_bytes(whole[length - 8..length - 4].try_into().unwrap()) as usize + 8;
    let at = prop_oneof![length - footer..length, 0..length];
    prop::collection::vec((at, any::<u8>()), 1..5).prop_map(move |flips| {
        let mut bytes = whole.clone();
        for (at, value) in flips {
            bytes[at] = value;
        }
        bytes
    })
}

#[test]
fn parquet_files() {
    let shop = Shop::new();
    write_parquet(&shop.path("whole.parquet"), &batch(&bad_rows(), Ids::Phone));
    let whole = std::fs::read(shop.path("whole.parquet")).unwrap();
    let left_out = beside_a_good_file("b.parquet", 1_500, flipped(whole.clone()));
    assert!(left_out > 300, "{left_out} of 1,500 were left out");
    let cut = (0..whole.len()).prop_map({
        let whole = whole.clone();
        move |length| whole[..length].to_vec()
    });
    assert_eq!(beside_a_good_file("b.parquet", 100, cut), 100);
    beside_a_good_file("b.parquet", 300, edits().prop_map(move |edits| changed(&whole, &edits)));
    beside_a_good_file("b.parquet", 100, noise(400));
}

#[test]
fn csv_files() {
    let mut text = "MSISDN,PACKAGE_CODE,BUY_DATE,CHANNEL,AMOUNT,QUANTITY\n".to_owned();
    for row in bad_rows() {
        let (id, time) = (Ids::Phone.name(row.customer), iso(row.seconds));
        text.push_str(&format!("{id},{},{time},\"APP\",1.5,1\n", row.package));
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
    for (name, whole) in [("b.csv", text.into_bytes()), ("b.csv.gz", gzip), ("b.csv.zst", zstd)] {
        beside_a_good_file(name, 500, edits().prop_map(move |edits| changed(&whole, &edits)));
        beside_a_good_file(name, 100, noise(400));
    }
}

#[test]
fn catalogues() {
    let shop = Shop::open(5);
    shop.configure(CATALOGUE);
    shop.stock(&catalogue());
    let whole = std::fs::read(shop.path("packages.parquet")).unwrap();
    let text = catalogue();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let read = |name: &str, bytes: &[u8]| {
        std::fs::write(shop.path(name), bytes).unwrap();
        let setting = format!("catalogue.path={}", shop.path(name).display());
        let (config, _) = load(Some(&shop.path("packwise.toml")), &[setting]).unwrap();
        let _ = stock::read(config.catalogue.as_ref().unwrap(), &config.money, runtime.handle());
        Ok(())
    };
    fuzz(1_000, flipped(whole), |bytes| read("fuzzed.parquet", &bytes));
    fuzz(1_000, edits(), |edits| read("fuzzed.csv", &changed(text.as_bytes(), &edits)));
}
