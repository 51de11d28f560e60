//! A run that is stopped goes on where it was; one that has nothing to do, or that another one is in the way of,
//! says so by its exit code.

use crate::support::{Ids, Shop, lines, shop};
use packwise::config::load;
use packwise::engine::Engine;
use packwise::engine::memory::Models;
use packwise::engine::part::RunFolder;
use packwise::engine::progress::Progress;
use packwise::engine::scratch::Scratch;
use packwise::pipeline::{Checked, check_input};
use packwise::runs::manifest::Manifest;
use packwise::transactions::{self, InputError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A shop whose run takes some seconds in one thread, most of them for offers in 64 parts.
fn slow_shop() -> (Shop, Vec<&'static str>) {
    let shop = Shop::new();
    let made = ["generate", "--out", "made", "--transactions", "60000", "--customers", "20000"];
    shop.ok(&[&made[..], &["--packages", "60", "--days", "30"]].concat());
    let settings = vec![
        "transactions.path=made/transactions",
        "transactions.columns.amount=",
        "transactions.columns.quantity=",
        "segments.k=7",
        "resources.buckets=64",
        "resources.threads=1",
        "neighbours.index=exact",
    ];
    (shop, settings)
}

fn arguments<'a>(settings: &[&'a str], flags: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["run", "-c", "packwise.toml"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    arguments.extend(flags);
    arguments
}

fn start(shop: &Shop, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_packwise"))
        .current_dir(shop.path(""))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn journal(shop: &Shop) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir(shop.path("scratch/packwise-unfinished")).ok()?;
    Some(entries.next()?.unwrap().path())
}

/// Lines of the journal: one for the run, and one for each part whose offers are finished.
fn journal_lines(shop: &Shop) -> usize {
    let text = journal(shop).and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    text.iter().filter(|byte| **byte == b'\n').count()
}

/// Waits until a run has finished the offers of so many parts; panics if it ends before.
fn wait_for_parts(shop: &Shop, child: &mut Child, parts: usize) {
    while journal_lines(shop) <= parts {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it had finished {parts} parts");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Every file of a run with its checksum.
fn files(run: &Manifest) -> BTreeMap<&str, &str> {
    let tables = run.tables.values().flat_map(|table| &table.files);
    tables.map(|file| (file.path.as_str(), file.checksum.as_str())).collect()
}

/// Files of one run that the other does not have with the same bytes. The migration between segments is that from
/// the run before, which is another one.
fn differing<'a>(one: &'a Manifest, other: &'a Manifest) -> Vec<&'a str> {
    let (one, other) = (files(one), files(other));
    let all = one.iter().chain(&other).map(|(path, _)| *path);
    all.filter(|path| !path.starts_with("rfm_migration/") && one.get(path) != other.get(path)).collect()
}

fn checksums_hold(folder: &Path, run: &Manifest) {
    for (path, checksum) in files(run) {
        let found = blake3::hash(&std::fs::read(folder.join(path)).unwrap()).to_hex().to_string();
        assert_eq!(found, checksum, "{path}");
    }
}

fn newest(shop: &Shop) -> Manifest {
    shop.manifest("out", shop.runs().last().unwrap())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_killed_run_goes_on_and_publishes_the_same_bytes() {
    let (shop, settings) = slow_shop();
    let undisturbed = shop.run(&settings);
    assert_eq!(undisturbed.resumed, None);
    assert!(journal(&shop).is_none(), "the journal ends with the run");
    let mut killed = start(&shop, &arguments(&settings, &[]));
    wait_for_parts(&shop, &mut killed, 5);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(shop.runs(), std::slice::from_ref(&undisturbed.run_id));

    let text = shop.ok(&arguments(&settings, &[]));
    assert!(text.contains("went on with a run that was stopped"), "{text}");
    let resumed = newest(&shop);
    let parts = resumed.resumed.as_ref().unwrap().parts;
    assert!((5..64).contains(&parts), "{parts} parts were finished before");
    assert_eq!(differing(&resumed, &undisturbed), [""; 0]);
    checksums_hold(&shop.path("out/runs").join(&resumed.run_id), &resumed);
    assert_eq!(
        serde_json::to_value(&resumed.quality.offers).unwrap(),
        serde_json::to_value(&undisturbed.quality.offers).unwrap()
    );
    assert!(journal(&shop).is_none());
}

#[test]
fn only_the_same_work_is_gone_on_with_and_only_if_its_files_are_whole() {
    let (shop, settings) = slow_shop();
    let stop = || {
        let mut killed = start(&shop, &arguments(&settings, &[]));
        wait_for_parts(&shop, &mut killed, 6);
        killed.kill().unwrap();
        killed.wait().unwrap();
    };
    stop();
    let other = [&settings[..], &["recommendations.top=3"]].concat();
    shop.ok(&arguments(&other, &[]));
    assert_eq!(newest(&shop).resumed, None, "other settings");
    stop();
    shop.ok(&arguments(&settings, &["--fresh"]));
    let undisturbed = newest(&shop);
    assert_eq!(undisturbed.resumed, None, "--fresh");

    stop();
    let unfinished = std::fs::read_dir(shop.path("out/runs")).unwrap().map(|run| run.unwrap().path());
    let unfinished = unfinished.max().unwrap();
    let part = |number: u32| unfinished.join(format!("recommendations/part-{number:05}.parquet"));
    std::fs::write(part(0), b"damaged").unwrap();
    std::fs::remove_file(part(1)).unwrap();
    shop.ok(&arguments(&settings, &[]));
    let resumed = newest(&shop);
    let parts = resumed.resumed.as_ref().unwrap().parts;
    assert!((4..62).contains(&parts), "{parts}");
    assert_eq!(differing(&resumed, &undisturbed), [""; 0]);
    checksums_hold(&shop.path("out/runs").join(&resumed.run_id), &resumed);
}

#[test]
fn signals_leave_nothing_but_what_the_next_run_goes_on_with() {
    let (shop, settings) = slow_shop();
    for (name, code, json) in [("INT", 130, false), ("TERM", 143, true)] {
        let flags: &[&str] = if json { &["--json"] } else { &[] };
        // The second goes on with what the first has left.
        let finished = journal_lines(&shop).saturating_sub(1);
        let mut child = start(&shop, &arguments(&settings, flags));
        wait_for_parts(&shop, &mut child, finished + 2);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(&format!("stopped by SIG{name}; nothing was published")));
        assert!(output.stdout.is_empty() || json);
        assert!(shop.runs().is_empty());
        let mut scratch: Vec<_> = std::fs::read_dir(shop.path("scratch")).unwrap().collect();
        scratch.retain(|entry| entry.as_ref().unwrap().file_name() != ".packwise.lock");
        let left: Vec<_> = scratch.into_iter().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["packwise-unfinished"], "buckets are cleaned up");
    }
    shop.ok(&arguments(&settings, &[]));
    assert!(newest(&shop).resumed.unwrap().parts >= 4);
}

#[test]
fn a_second_run_is_refused_or_waits() {
    let (shop, settings) = slow_shop();
    let mut first = start(&shop, &arguments(&settings, &[]));
    wait_for_parts(&shop, &mut first, 1);
    let refused = shop.packwise(&arguments(&settings, &[]));
    assert_eq!(refused.status.code(), Some(5), "{}", said(&refused));
    assert!(said(&refused).contains("in use by another run"), "{}", said(&refused));
    let elsewhere = [&settings[..], &["resources.scratch=scratch2"]].concat();
    let refused = shop.packwise(&arguments(&elsewhere, &[]));
    assert_eq!(refused.status.code(), Some(5), "{}", said(&refused));
    assert!(said(&refused).contains("another run is writing to out"), "{}", said(&refused));
    let waited = shop.packwise(&arguments(&settings, &["--wait", "--skip-if-fresh"]));
    assert!(first.wait().unwrap().success());
    assert_eq!(waited.status.code(), Some(99), "the first has done it: {}", said(&waited));
    let mut killed = start(&shop, &arguments(&settings, &[]));
    wait_for_parts(&shop, &mut killed, 1);
    killed.kill().unwrap();
    killed.wait().unwrap();
    shop.ok(&arguments(&settings, &["--set", "resources.threads=2"]));
    assert_eq!(shop.runs().len(), 2, "a killed run leaves no lock");
}

#[test]
fn a_run_is_skipped_until_input_settings_or_rules_change() {
    let shop = shop(Ids::Integer, 200);
    shop.write("policies.toml", "");
    let policies = "policies.path=policies.toml";
    let skip = |more: &[&str]| {
        let output = shop.packwise(&arguments(&[&[policies], more].concat(), &["--skip-if-fresh"]));
        let code = output.status.code().unwrap();
        assert!(code == 0 || code == 99, "{}", said(&output));
        (code, String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(skip(&[]).0, 0, "there is no run yet");
    let (code, text) = skip(&["resources.threads=1", "resources.memory=700MiB"]);
    assert_eq!(code, 99, "threads and memory change no row");
    assert_eq!(
        text,
        format!("Nothing new: run {} was made of the same input and settings\n", shop.runs()[0])
    );
    assert_eq!(skip(&["recommendations.top=4"]).0, 0, "settings");
    assert_eq!(skip(&[]).0, 0, "and back again: the newest run is the measure");
    shop.write("policies.toml", "[[deny]]\nname = \"none of it\"\nowner = \"us\"\npackages = [\"P1\"]\n");
    let changed = shop.packwise(&arguments(&[policies], &["--skip-if-fresh"]));
    assert_ne!(changed.status.code(), Some(99), "rules");
    shop.write("policies.toml", "");
    assert_eq!(skip(&[]).0, 99);
    let dumps = std::fs::read(shop.path("dumps/all.parquet")).unwrap();
    shop.write("dumps/more.parquet", dumps);
    assert_eq!(skip(&[]).0, 0, "a new file beside the old ones");
    assert_eq!(skip(&[]).0, 99);
    let catalogue = std::fs::read(shop.path("packages.parquet")).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    shop.write("packages.parquet", catalogue);
    assert_eq!(skip(&[]).0, 0, "the catalogue was written again");
    let last = newest(&shop);
    assert!(lines(&shop.table(&last, "recommendations")).len() > 1);
}

#[test]
fn warnings_are_an_exit_code_when_asked_for() {
    let shop = shop(Ids::Integer, 200);
    let limits = ["gate.mode=warn", "gate.max_same_for_all=0.0"];
    assert_eq!(shop.packwise(&arguments(&limits, &[])).status.code(), Some(0));
    assert_eq!(shop.packwise(&arguments(&limits, &["--strict"])).status.code(), Some(4));
    assert_eq!(shop.packwise(&arguments(&[], &["--strict"])).status.code(), Some(0));
    assert_eq!(shop.runs().len(), 3, "all three are published");
}

#[test]
fn a_file_that_changes_while_it_is_read_fails_the_run_with_its_name() {
    let shop = shop(Ids::Integer, 200);
    let dumps = format!("transactions.path={}", shop.path("dumps").display());
    let catalogue = format!("catalogue.path={}", shop.path("packages.parquet").display());
    let (config, _) = load(Some(&shop.path("packwise.toml")), &[dumps, catalogue]).unwrap();
    let models = Models { sample: 1_000, pool: 1_000, tuning: 1_000 };
    let engine = Engine::new(2, 512 << 20, models, Progress::new(false)).unwrap();
    let scratch = Scratch::temporary().unwrap();
    let folder = RunFolder::scratch(scratch.path().join("run"));
    let shuffle = |change: &dyn Fn()| {
        let Checked { mut plan, catalogue, .. } = check_input(&config, &engine).unwrap();
        change();
        transactions::shuffle(&mut plan, catalogue, &config, &engine, 1 << 20, &scratch, &folder).map(drop)
    };
    shuffle(&|| ()).unwrap();
    let path = shop.path("dumps/all.parquet");
    let appended = shuffle(&|| {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(b"more");
        std::fs::write(&path, bytes).unwrap();
    });
    let error = appended.unwrap_err();
    assert!(error.to_string().ends_with("all.parquet changed while it was read"), "{error}");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
    shuffle(&|| ()).unwrap();
    let removed = shuffle(&|| std::fs::remove_file(&path).unwrap());
    assert!(matches!(removed, Err(InputError::Changed { .. })), "{removed:?}");
}
