//! A disk that fills up, on scratch and on the output: a clear error, nothing half published, and the next run does it.
//!
//! The disk is a small one in memory (tmpfs), mounted in a namespace of the test's own, so that nothing of it can be
//! left behind. Where the system does not allow that, the tests say so and pass.
#![cfg(target_os = "linux")]

use crate::support::{Ids, Shop, batch, purchases, write_parquet};
use std::process::{Command, Output};

/// What every script begins with: `run` starts a run and says how it ended, `runs` lists what readers see, `sums`
/// prints a checksum of every table of the newest run, without those that speak of the run itself.
const BEGIN: &str = r#"
set -u
CONFIG=packwise.toml
run() { "$PACKWISE" run -c "$CONFIG" "$@" >said 2>&1; echo "exit $?"; sed 's/^/  | /' said; }
runs() { "$PACKWISE" runs -c "$CONFIG" --json list; }
sums() {
    newest=$(ls -d disk/out/runs/*/manifest.json | tail -n 1)
    (cd "$(dirname "$newest")" && find . -name '*.parquet' ! -path './data_quality/*' ! -path './rfm_migration/*' |
        LC_ALL=C sort | xargs sha256sum)
}
"#;

/// Runs a shell script in the shop, where `disk` has room for `kibibytes`. None if such a disk cannot be made here.
fn on_a_small_disk(shop: &Shop, kibibytes: u32, script: &str) -> Option<String> {
    std::fs::create_dir_all(shop.path("disk")).unwrap();
    let shell = |script: &str| -> Option<Output> {
        let mount = format!("mount -t tmpfs -o size={kibibytes}k none disk || exit 77\n");
        Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &format!("{mount}{script}")])
            .current_dir(shop.path(""))
            .env("PACKWISE", env!("CARGO_BIN_EXE_packwise"))
            .env("NO_COLOR", "1")
            .output()
            .ok()
    };
    if shell("true").is_none_or(|output| !output.status.success()) {
        eprintln!("skipped: no file system can be mounted in a namespace here");
        return None;
    }
    let output = shell(&format!("{BEGIN}{script}"))?;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    Some(said)
}

fn shop() -> Shop {
    let shop = Shop::new();
    write_parquet(&shop.path("dumps/all.parquet"), &batch(&purchases(300, 61), Ids::Integer));
    shop
}

/// Splits what a script printed at its lines of `==`.
fn parts(said: &str) -> Vec<&str> {
    said.split("==\n").map(str::trim).collect()
}

#[test]
fn an_output_that_fills_up_shows_the_old_run_until_the_new_one_is_whole() {
    let shop = shop();
    let config = std::fs::read_to_string(shop.path("packwise.toml")).unwrap();
    shop.write("disk.toml", config.replace("\"out\"", "\"disk/out\""));
    // The second run starts with less and less room, so that it ends in other places: tables, charts, manifest.
    let script = r#"
        CONFIG=disk.toml; set -- --set run.seed=7 --fresh
        run "$@" --set value.enabled=false; echo ==
        runs; echo ==
        run "$@"; sums; echo ==
        full=$(du -sk disk/out | cut -f1)
        for left in 0 16 48 96 160 240 320 400 480 560 640 720; do
            rm -rf disk/filler
            room=$(df -k --output=avail disk | tail -n 1)
            head -c $(( (room - left) * 1024 )) /dev/zero >disk/filler
            run "$@"; runs; echo ==
        done
        rm -f disk/filler
        run "$@"; runs; sums
    "#;
    let Some(said) = on_a_small_disk(&shop, 12 * 1024, script) else { return };
    let parts = parts(&said);
    assert!(parts[0].starts_with("exit 0"), "{said}");
    let count = |text: &str| text.matches("\"run_id\"").count();
    assert_eq!(count(parts[1]), 1, "{said}");
    let sums = |text: &str| {
        text.lines().filter(|line| line.ends_with(".parquet")).map(str::to_owned).collect::<Vec<String>>()
    };
    let expected = sums(parts[2]);
    assert!(expected.len() > 20 && parts[2].starts_with("exit 0"), "{said}");
    let mut published = 2;
    let mut failures = 0;
    for attempt in &parts[3..parts.len() - 1] {
        if attempt.starts_with("exit 0") {
            published += 1;
        } else {
            failures += 1;
            assert!(attempt.starts_with("exit 1"), "{attempt}");
            assert!(attempt.contains("No space left on device"), "{attempt}");
            assert!(attempt.contains("hint: free space on the disk"), "{attempt}");
            assert!(!attempt.contains("panicked"), "{attempt}");
        }
        assert_eq!(count(attempt), published, "readers see whole runs and no others: {attempt}");
    }
    assert!(failures >= 5, "{failures} failures: {said}");
    let last = parts[parts.len() - 1];
    assert!(last.starts_with("exit 0"), "{last}");
    assert_eq!(sums(last), expected, "the run after a full disk publishes the same bytes");
}

#[test]
fn scratch_that_fills_up_fails_the_run_with_its_place() {
    let shop = Shop::new();
    write_parquet(&shop.path("dumps/all.parquet"), &batch(&purchases(50_000, 62), Ids::FreeText));
    let script = r#"
        set -- --set resources.scratch=disk --set resources.memory=400MiB --set segments.sample=1000000 --set neighbours.pool=1000 --set resources.buckets=8
        run "$@"; runs; echo ==
        ls -A disk; echo ==
        mount -o remount,size=200m disk && run "$@" && runs
    "#;
    let Some(said) = on_a_small_disk(&shop, 3 * 1024, script) else { return };
    let parts = parts(&said);
    assert!(parts[0].starts_with("exit 1"), "{said}");
    assert!(parts[0].contains("cannot write bucket file disk/packwise-buckets/bucket-"), "{said}");
    assert!(parts[0].contains("No space left on device") && parts[0].contains("hint: free space"), "{said}");
    assert!(parts[0].ends_with("[]"), "nothing is published: {said}");
    assert!(!parts[1].contains("packwise-buckets"), "what filled the disk is gone: {said}");
    assert!(parts[2].starts_with("exit 0") && parts[2].contains("run_id"), "{said}");
}

#[test]
fn scratch_without_any_room_fails_with_its_place() {
    let shop = shop();
    let script = r#"
        head -c 1M /dev/zero >disk/filler 2>/dev/null
        run --set resources.scratch=disk; runs
    "#;
    let Some(said) = on_a_small_disk(&shop, 64, script) else { return };
    assert!(said.starts_with("exit 1") && said.contains("disk/"), "{said}");
    assert!(said.contains("No space left on device") && !said.contains("panicked"), "{said}");
    assert!(said.trim_end().ends_with("[]"), "{said}");
}

/// A limit that is too small is refused with one that will do, and that one does.
#[test]
fn the_least_memory_that_is_named_is_enough() {
    let shop = Shop::new();
    write_parquet(&shop.path("dumps/all.parquet"), &batch(&purchases(60_000, 63), Ids::Integer));
    for (sample, pool, threads) in [(100_000, 100_000, 2), (40_000, 150_000, 3), (200_000, 1_000, 4)] {
        let settings = [
            format!("segments.sample={sample}"),
            format!("neighbours.pool={pool}"),
            format!("resources.threads={threads}"),
        ];
        let run = |memory: &str| {
            let memory = format!("resources.memory={memory}");
            let mut arguments = vec!["run", "-c", "packwise.toml", "--set", &memory];
            settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
            shop.packwise(&arguments)
        };
        let refused = run("128MiB");
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(6), "{message}");
        let least = message.split("this needs ").nth(1).unwrap().split(" at least").next().unwrap();
        let done = run(least);
        let message = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(0), "{least}: {message}");
        let published = shop.manifest("out", shop.runs().last().unwrap());
        let limit = packwise::quantities::parse_bytes(least).unwrap();
        assert!(published.peak_memory_bytes < limit, "{} of {least}", published.peak_memory_bytes);
    }
}
