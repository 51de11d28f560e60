//! What a schedule and its monitoring see of a run: the log, the last line, the metrics file, the data contract.

use crate::support::{Ids, Shop, batch, purchases, replace, shop, write_parquet};
use arrow::array::{ArrayRef, StringArray};
use serde_json::Value;
use std::process::Output;
use std::sync::Arc;

fn run(shop: &Shop, flags: &[&str], settings: &[&str]) -> Output {
    let mut arguments = [&["run", "-c", "packwise.toml"], flags].concat();
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    shop.packwise(&arguments)
}

/// The last line of standard output.
#[track_caller]
fn last_line(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let last = text.lines().last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"))
}

#[test]
fn the_json_log_is_one_object_a_line_with_the_run_and_says_a_failure_once() {
    let shop = shop(Ids::Integer, 200);
    let good = run(&shop, &["--log-format", "json", "--json"], &[]);
    assert!(good.status.success());
    let id = last_line(&good)["run_id"].as_str().unwrap().to_owned();
    let log = String::from_utf8(good.stderr).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 5, "{log}");
    for line in &lines {
        assert!(line["time"].as_str().unwrap().ends_with('Z') && line["level"].is_string(), "{line}");
    }
    assert!(lines.iter().filter(|line| line["run_id"] == id.as_str()).count() >= 5, "{log}");

    let bad = run(&shop, &["--log-format", "json"], &["transactions.columns.time=WHEN"]);
    assert_eq!(bad.status.code(), Some(3));
    let log = String::from_utf8(bad.stderr).unwrap();
    let failures: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["level"] == "ERROR")
        .collect();
    assert_eq!(failures.len(), 1, "{log}");
    assert_eq!(failures[0]["exit_code"], 3);
    assert!(failures[0]["hint"].as_str().unwrap().contains("transactions.columns.time"), "{log}");
    // People get the text, once, and no log without -v.
    let bad = run(&shop, &[], &["transactions.columns.time=WHEN"]);
    let text = String::from_utf8(bad.stderr).unwrap();
    assert_eq!(text.matches("WHEN").count(), 1, "{text}");
    assert!(text.starts_with("error: "), "{text}");
}

#[test]
fn the_last_line_says_how_it_ended_whatever_happened() {
    let shop = shop(Ids::Integer, 200);
    let published = last_line(&run(&shop, &["--json"], &[]));
    assert_eq!((&published["status"], &published["exit_code"]), (&"published".into(), &0.into()));
    let manifest = shop.path(published["manifest"].as_str().unwrap());
    assert!(manifest.exists(), "{published}");
    assert!(published["seconds"].as_f64().unwrap() > 0.0 && published["rows"].as_u64().unwrap() > 1_000);
    let nothing = run(&shop, &["--json", "--skip-if-fresh"], &[]);
    assert_eq!(nothing.status.code(), Some(99));
    let nothing = last_line(&nothing);
    assert_eq!((&nothing["status"], &nothing["exit_code"]), (&"nothing-new".into(), &99.into()));
    assert_eq!(nothing["run_id"], published["run_id"]);
    for (settings, code) in [(vec!["recommendations.topp=3"], 2), (vec!["transactions.path=nowhere"], 3)] {
        let failed = run(&shop, &["--json"], &settings);
        assert_eq!(failed.status.code(), Some(code));
        let line = last_line(&failed);
        assert_eq!((&line["status"], &line["exit_code"]), (&"failed".into(), &code.into()), "{line}");
        assert!(line["error"].is_string() && line["manifest"].is_null(), "{line}");
    }
    let strict = ["gate.mode=warn", "gate.max_same_for_all=0.0"];
    let warned = run(&shop, &["--json", "--strict"], &strict);
    assert_eq!(warned.status.code(), Some(4));
    assert_eq!(last_line(&warned)["warnings"].as_array().unwrap().len(), 1);
}

/// Samples of a metrics file, after its form was checked: every sample belongs to the head above it.
fn samples(shop: &Shop) -> Vec<(String, f64)> {
    let text = std::fs::read_to_string(shop.path("packwise.prom")).unwrap();
    let mut family = String::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.split_once(' ').unwrap().1.ends_with('.'), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.strip_suffix(" gauge").unwrap_or_else(|| panic!("{line}")).to_owned();
            assert!(family.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(name.split('{').next().unwrap(), family, "{line}");
            samples.push((name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}"))));
        }
    }
    samples
}

fn sample(samples: &[(String, f64)], name: &str) -> f64 {
    samples.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name} in {samples:?}")).1
}

#[test]
fn the_metrics_file_tells_of_success_and_failure() {
    let shop = shop(Ids::Integer, 200);
    let metrics = "metrics.path=packwise.prom";
    assert!(run(&shop, &[], &[metrics]).status.success());
    let good = samples(&shop);
    assert_eq!(sample(&good, "packwise_exit_code"), 0.0);
    assert_eq!(sample(&good, "packwise_customers"), 200.0);
    assert!(sample(&good, "packwise_stage_seconds{stage=\"features\"}") >= 0.0);
    assert!(sample(&good, "packwise_peak_memory_bytes") > 1e6);
    let success = sample(&good, "packwise_last_success_timestamp_seconds");
    assert!(success > 1.7e9 && sample(&good, "packwise_data_age_seconds") > 0.0);

    assert!(!run(&shop, &[], &[metrics, "transactions.columns.package=WHAT"]).status.success());
    let bad = samples(&shop);
    assert_eq!(sample(&bad, "packwise_exit_code"), 3.0);
    assert_eq!(sample(&bad, "packwise_last_success_timestamp_seconds"), success, "it survives a failure");
    assert_eq!(sample(&bad, "packwise_customers"), 200.0);
    assert_eq!(run(&shop, &["--skip-if-fresh"], &[metrics]).status.code(), Some(99));
    let fresh = samples(&shop);
    assert_eq!(sample(&fresh, "packwise_exit_code"), 99.0);
    assert!(sample(&fresh, "packwise_last_success_timestamp_seconds") > success);
    // A file that cannot be written is a warning: the offers are there.
    let nowhere = run(&shop, &[], &["metrics.path=missing/packwise.prom"]);
    assert!(nowhere.status.success());
    assert!(String::from_utf8(nowhere.stderr).unwrap().contains("missing/packwise.prom"));
}

/// The rules of `check`, each with its status.
fn rules(shop: &Shop, code: i32, settings: &[&str]) -> Vec<(String, String)> {
    let mut arguments = vec!["check", "-c", "packwise.toml", "--json"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let output = shop.packwise(&arguments);
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["contract_kept"], code == 0);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    report["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| (text(&rule["rule"]), text(&rule["status"])))
        .collect()
}

fn status(rules: &[(String, String)], name: &str) -> String {
    rules.iter().find(|(rule, _)| rule == name).unwrap_or_else(|| panic!("{name} in {rules:?}")).1.clone()
}

#[test]
fn every_rule_of_the_contract_is_judged_on_what_was_read() {
    let shop = shop(Ids::Integer, 200);
    let made = purchases(200, 4);
    let revenue = made.iter().map(|purchase| purchase.cents).sum::<i64>() as f64 / 100.0;
    let total = format!("contract.reconciliation.control_total={revenue}");
    let on = [
        "contract.freshness.on_break=warn",
        "contract.row_count.on_break=fail",
        "contract.nulls.on_break=warn",
        "contract.nulls.channel=0.0",
        "contract.accepted.on_break=warn",
        "contract.accepted.channels=[\"APP\"]",
        "contract.unknown_packages.on_break=fail",
        "contract.unknown_packages.max_share=1.0",
        "contract.uniqueness.on_break=fail",
        "contract.uniqueness.max_duplicates=1.0",
        "contract.reconciliation.on_break=warn",
        "contract.reconciliation.tolerance=0.5",
        &total,
    ];
    let found = rules(&shop, 0, &on);
    assert_eq!(status(&found, "contract.freshness"), "warned");
    assert_eq!(status(&found, "contract.row_count"), "not-judged", "nothing is published yet");
    assert_eq!(status(&found, "contract.accepted"), "warned");
    assert_eq!(status(&found, "contract.unknown_packages"), "kept");
    assert_eq!(status(&found, "contract.uniqueness.duplicates"), "kept");
    assert_eq!(status(&found, "contract.uniqueness.repeated_ids"), "not-judged");
    assert_eq!(status(&found, "contract.reconciliation"), "kept");
    let wrong = format!("contract.reconciliation.control_total={}", revenue * 9.0);
    let found = rules(&shop, 3, &["contract.reconciliation.on_break=fail", &wrong]);
    assert_eq!(status(&found, "contract.reconciliation"), "failed");

    // Published with warnings, beside a report; then half the rows are gone.
    let flags = ["--strict", "--json"];
    let warned = run(&shop, &flags, &on);
    assert_eq!(warned.status.code(), Some(4), "{}", String::from_utf8_lossy(&warned.stderr));
    let id = last_line(&warned)["run_id"].as_str().unwrap().to_owned();
    let manifest = shop.manifest("out", &id);
    assert!(
        manifest.quality.warnings.iter().any(|text| text.starts_with("contract.freshness: the data ends on"))
    );
    let report = std::fs::read_to_string(shop.path(&format!("out/runs/{id}/contract.xml"))).unwrap();
    assert!(
        report.contains("<testcase classname=\"packwise.contract\" name=\"contract.freshness\">"),
        "{report}"
    );
    assert!(manifest.extras.iter().any(|file| file.path == "contract.json"));
    write_parquet(&shop.path("dumps/all.parquet"), &batch(&made[..made.len() / 3], Ids::Integer));
    let refused = run(&shop, &["--json"], &["contract.row_count.on_break=fail"]);
    assert_eq!(refused.status.code(), Some(3));
    let line = last_line(&refused);
    assert!(line["error"].as_str().unwrap().contains("contract.row_count"), "{line}");
    assert_eq!(shop.runs(), [id], "nothing of it is published");
    let report = std::fs::read_to_string(shop.path("out/contract.xml")).unwrap();
    assert!(report.contains("failures=\"1\""), "{report}");
}

#[test]
fn rows_that_break_the_contract_go_to_quarantine() {
    let shop = shop(Ids::Integer, 200);
    let rows = batch(&purchases(200, 4), Ids::Integer);
    let count = rows.num_rows();
    let channels: StringArray = (0..count)
        .map(|row| match row % 20 {
            0 => None,
            1 => Some("KIOSK"),
            _ => Some("APP"),
        })
        .collect();
    write_parquet(
        &shop.path("dumps/all.parquet"),
        &replace(&rows, "CHANNEL", Arc::new(channels) as ArrayRef),
    );
    let settings = [
        "contract.nulls.on_break=quarantine",
        "contract.nulls.channel=0.0",
        "contract.accepted.on_break=quarantine",
        "contract.accepted.channels=[\"APP\", \"WEB\"]",
        "contract.max_rejected_share=0.5",
    ];
    let found = rules(&shop, 0, &settings);
    assert_eq!(status(&found, "contract.nulls.channel"), "quarantined");
    assert_eq!(status(&found, "contract.accepted"), "quarantined");
    let run = shop.run(&settings);
    let reasons =
        "SELECT reason, count(*) AS rows FROM quarantine WHERE reason LIKE 'channel%' GROUP BY 1 ORDER BY 1";
    let counted = shop.ok(&["query", "-c", "packwise.toml", "--format", "csv", reasons]);
    let per = run.tables["quarantine"].rows;
    assert!(per >= 2, "{counted}");
    assert!(counted.contains("channel is not accepted by the contract,"), "{counted}");
    assert!(counted.contains("\"channel is null, which the contract refuses\","), "{counted}");
    // Without the rules the same rows are bought from.
    let lenient = shop.run(&["contract.max_rejected_share=0.5"]);
    assert!(lenient.quality.purchases > run.quality.purchases);
    // Too many of them, and the run fails.
    let strict = [&settings[..4], &["contract.max_rejected_share=0.05"]].concat();
    rules(&shop, 3, &strict);
}

#[test]
fn a_contract_that_makes_no_sense_is_refused_with_its_keys() {
    let shop = shop(Ids::Integer, 50);
    let refused = run(
        &shop,
        &[],
        &[
            "contract.freshness.on_break=quarantine",
            "contract.accepted.on_break=fail",
            "contract.nulls.channel=1.5",
            "contract.row_count.min_ratio=3.0",
            "contract.reconciliation.tolerance=-1.0",
        ],
    );
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    for key in [
        "freshness.on_break",
        "accepted.channels",
        "nulls.channel",
        "row_count.min_ratio",
        "reconciliation.tolerance",
    ] {
        assert!(message.contains(&format!("contract.{key}")), "{key}: {message}");
    }
    shop.write("control.csv", "day,total\n2026-03-01,ten\n");
    let settings =
        ["contract.reconciliation.on_break=warn", "contract.reconciliation.control_file=control.csv"];
    let refused = run(&shop, &[], &settings);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{message}");
    assert!(message.contains("line 2") && message.contains("control.csv"), "{message}");
}

#[test]
fn rejected_rows_of_dumps_that_are_gone_are_brought_back_once() {
    for ids in [Ids::Integer, Ids::Phone] {
        let shop = shop(ids, 200);
        let made = purchases(200, 4);
        let (first, second) = made.split_at(made.len() / 2);
        std::fs::remove_file(shop.path("dumps/all.parquet")).unwrap();
        write_parquet(&shop.path("dumps/a.parquet"), &batch(first, ids));
        let late = batch(second, ids);
        let odd: StringArray =
            (0..late.num_rows()).map(|row| Some(if row % 10 == 0 { "NEW" } else { "P02" })).collect();
        write_parquet(
            &shop.path("dumps/b.parquet"),
            &replace(&late, "PACKAGE_CODE", Arc::new(odd) as ArrayRef),
        );
        let before = shop.run(&["contract.max_rejected_share=0.5"]);
        let lost = late.num_rows().div_ceil(10) as u64;
        let said = |flags: &[&str]| -> Value {
            let arguments =
                ["replay", "-c", "packwise.toml", "--json", "--run", &before.run_id, "--out", "back"];
            serde_json::from_str(&shop.ok(&[&arguments[..], flags].concat())).unwrap()
        };
        // Both dumps are there: the next run reads them again, and nothing is written.
        let nothing = said(&[]);
        assert_eq!((nothing["rows"].as_u64(), nothing["file"].is_null()), (Some(0), true), "{nothing}");
        assert!(nothing["still_there"].as_u64().unwrap() >= lost);
        // One is gone; the catalogue knows the package by now.
        std::fs::remove_file(shop.path("dumps/b.parquet")).unwrap();
        let gone = said(&[]);
        let back = gone["rows"].as_u64().unwrap();
        assert!(back >= lost && gone["still_there"] != nothing["still_there"], "{gone}");
        let there =
            shop.packwise(&["replay", "-c", "packwise.toml", "--run", &before.run_id, "--out", "back"]);
        assert_eq!(there.status.code(), Some(1), "it is not written over");
        std::fs::rename(shop.path("back"), shop.path("dumps/back")).unwrap();
        let mut catalogue = crate::support::catalogue();
        let line = catalogue.lines().last().unwrap().replacen("P12", "NEW", 1);
        catalogue.push_str(&line);
        catalogue.push('\n');
        shop.stock(&catalogue);
        let after = shop.run(&["contract.max_rejected_share=0.5"]);
        let rows = |run: &packwise::runs::manifest::Manifest| run.input.rows;
        assert_eq!(rows(&after), rows(&before) - late.num_rows() as u64 + back);
        let counted = "SELECT count(*) AS rows FROM quarantine WHERE reason LIKE 'package is not%'";
        assert_eq!(shop.ok(&["query", "-c", "packwise.toml", "--format", "csv", counted]), "rows\n0\n");
        let kind =
            |run: &packwise::runs::manifest::Manifest| run.tables["customer_features"].columns[0].clone();
        assert_eq!(kind(&after), kind(&before), "ids stay what they were");
    }
}

#[test]
fn the_doctor_says_what_will_fail_and_leaves_nothing_behind() {
    let shop = shop(Ids::Integer, 200);
    let examine = |code: i32, settings: &[&str]| -> Value {
        let mut arguments = vec!["doctor", "-c", "packwise.toml", "--json"];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
        let output = shop.packwise(&arguments);
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let status = |said: &Value, check: &str| -> String {
        let checks = said["checks"].as_array().unwrap();
        let found = checks
            .iter()
            .find(|finding| finding["check"] == check)
            .unwrap_or_else(|| panic!("{check}: {said}"));
        assert!(found["status"] == "ok" || found["advice"].is_string(), "{found}");
        found["status"].as_str().unwrap().to_owned()
    };
    let well = examine(0, &[]);
    for check in ["memory", "input", "clock", "open files", "scratch", "output"] {
        assert_ne!(status(&well, check), "fails", "{well}");
    }
    assert!(!shop.path("out").exists() && !shop.path("scratch").exists());
    shop.run(&[]);
    assert_eq!(status(&examine(0, &[]), "output"), "ok");
    let mut left: Vec<_> =
        std::fs::read_dir(shop.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".packwise.lock", "_log", "runs"]);

    let huge = examine(1, &["resources.memory=100TiB", "transactions.path=nowhere"]);
    assert_eq!((status(&huge, "memory"), status(&huge, "input")), ("fails".to_owned(), "fails".to_owned()));
    assert_eq!(status(&huge, "output"), "ok", "one failure does not hide the rest");
    shop.write("a-file", "not a folder");
    assert_eq!(status(&examine(1, &["resources.scratch=a-file/scratch"]), "scratch"), "fails");
    assert_eq!(status(&examine(1, &["output.path=a-file/out"]), "output"), "fails");
    shop.ok(&["privacy", "keygen", "--out", "key"]);
    let keyed = ["privacy.pseudonymise=keyed", "privacy.key_file=key"];
    assert_eq!(status(&examine(0, &keyed), "key of pseudonyms"), "ok");
    std::os::unix::fs::symlink(shop.path("nowhere"), shop.path("no-key")).unwrap();
    let lost = examine(1, &[keyed[0], "privacy.key_file=no-key"]);
    assert_eq!(status(&lost, "key of pseudonyms"), "fails");
    let people = shop.ok(&["doctor", "-c", "packwise.toml"]);
    assert!(people.contains("open files") && people.contains("ok"), "{people}");
}
