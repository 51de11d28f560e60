//! Every command that reads what a run has published, or looks before there is a run.

use crate::support::{Ids, Shop, batch, integers, purchases, read_parquet, shop, texts, write_parquet};
use std::process::{Command, Stdio};
use std::time::Duration;

const ON: [&str; 2] = ["-c", "packwise.toml"];

#[test]
fn runs_can_be_listed_shown_and_told_apart() {
    let shop = shop(Ids::Integer, 200);
    assert_eq!(shop.ok(&["runs", "-c", "packwise.toml", "list"]), "no published runs\n");
    let first = shop.run(&[]);
    // The names of runs tell seconds.
    std::thread::sleep(Duration::from_millis(1_100));
    let second = shop.run(&["recommendations.top=3"]);
    assert_eq!(shop.runs(), [first.run_id.clone(), second.run_id.clone()]);
    let listed = shop.ok(&["runs", "-c", "packwise.toml", "list"]);
    assert!(listed.contains(&first.run_id) && listed.contains("2026-03-31"), "{listed}");
    let shown = shop.ok(&["runs", "-c", "packwise.toml", "show", &first.run_id]);
    assert!(shown.contains("200 customers") && shown.contains("recommendation_shortfalls"), "{shown}");
    let shown = shop.ok(&["runs", "-c", "packwise.toml", "--json", "show", &second.run_id]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["config"]["recommendations.top"], 3);
    let count = |more: &[&str]| {
        let sql = "SELECT max(rank) AS top FROM recommendations";
        shop.ok(&[&["query", "-c", "packwise.toml", "--format", "csv", sql], more].concat())
    };
    assert_eq!(count(&[]), "top\n3\n");
    assert_eq!(count(&["--run", &first.run_id]), "top\n10\n");
}

#[test]
fn a_query_answers_in_four_formats() {
    let shop = shop(Ids::Integer, 200);
    let run = shop.run(&[]);
    let sql = "SELECT package_code, price FROM packages WHERE price < 9 ORDER BY package_code";
    let query = |format: &str| shop.packwise(&["query", ON[0], ON[1], "--format", format, sql]).stdout;
    let text = |format: &str| String::from_utf8(query(format)).unwrap();
    assert_eq!(text("csv"), "package_code,price\nP01,4.99\nP02,7.99\n");
    let json: serde_json::Value = serde_json::from_slice(&query("json")).unwrap();
    assert_eq!(
        json,
        serde_json::json!([{"package_code": "P01", "price": 4.99}, {"package_code": "P02", "price": 7.99}])
    );
    assert_eq!(
        json,
        serde_json::from_str::<serde_json::Value>(&shop.ok(&["--json", "query", ON[0], ON[1], sql])).unwrap()
    );
    insta::assert_snapshot!("query_as_a_table", text("table"));
    std::fs::write(shop.path("answer.parquet"), query("parquet")).unwrap();
    let rows = read_parquet(&shop.path("answer.parquet"));
    assert_eq!(rows.iter().map(|rows| rows.num_rows()).sum::<usize>(), 2);
    // Every table is there by its name.
    for (name, table) in &run.tables {
        let sql = format!("SELECT count(*) FROM {name}");
        let counted = shop.ok(&["query", ON[0], ON[1], "--format", "csv", &sql]);
        assert_eq!(counted.lines().nth(1), Some(table.rows.to_string().as_str()), "{name}");
    }
}

/// `packwise query … | head` is no failure.
#[test]
fn a_reader_that_stops_reading_is_no_failure() {
    let shop = shop(Ids::Integer, 3_000);
    shop.run(&[]);
    for format in ["table", "csv", "json", "parquet"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_packwise"))
            .current_dir(shop.path(""))
            .args(["query", ON[0], ON[1], "--format", format, "SELECT * FROM recommendations"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && message.is_empty(), "{format}: {message}");
    }
}

#[test]
fn a_lookup_tells_everything_about_one_customer() {
    let shop = shop(Ids::FreeText, 200);
    let run = shop.run(&["resources.buckets=8"]);
    let text = shop.ok(&["lookup", ON[0], ON[1], "cust-α-30"]);
    for part in ["Customer cust-α-30", "Offers", "Packages bought", "Features", "revenue_30d_share"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json = shop.ok(&["lookup", ON[0], ON[1], "--json", "cust-α-30"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let features = shop.table(&run, "customer_features");
    let row = texts(&features, "customer_id").iter().position(|id| id == "cust-α-30").unwrap();
    let purchases = integers(&features, "purchases").value(row);
    assert_eq!(json["run_id"], run.run_id);
    assert_eq!(json["customer_id"], "cust-α-30");
    assert_eq!(json["features"]["purchases"], purchases);
    assert_eq!(json["recommendations"].as_array().unwrap().len(), 10);
    assert_eq!(json["recommendations"][0]["rank"], 1);
    // Every customer can be found, wherever the files part.
    for id in texts(&features, "customer_id").iter().step_by(17) {
        assert!(shop.ok(&["lookup", ON[0], ON[1], id]).starts_with(&format!("Customer {id} ")));
    }
}

#[test]
fn check_reports_and_publishes_nothing() {
    let shop = shop(Ids::Integer, 200);
    let text = shop.ok(&["check", ON[0], ON[1]]);
    assert!(text.contains("The contract is kept: 0.0 % of the rows are rejected."), "{text}");
    let mut rows = purchases(200, 4);
    let rejected = rows.len() / 4;
    rows[..rejected].iter_mut().for_each(|row| row.package = "P99");
    write_parquet(&shop.path("dumps/all.parquet"), &batch(&rows, Ids::Integer));
    let output = shop.packwise(&["check", ON[0], ON[1], "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["contract_kept"], false);
    let measures = json["measures"].as_array().unwrap();
    let found =
        measures.iter().find(|m| m["measure"] == "rejected: package is not in the catalogue").unwrap();
    assert_eq!(found["value"], rejected as f64);
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(
            &std::fs::read(shop.path("out/data_quality.json")).unwrap()
        )
        .unwrap(),
        json
    );
    assert!(shop.runs().is_empty());
    assert_eq!(std::fs::read_dir(shop.path("out/runs")).unwrap().count(), 0);
}

#[test]
fn a_dry_run_plans_and_touches_nothing() {
    let shop = shop(Ids::Integer, 200);
    let text = shop.ok(&["run", ON[0], ON[1], "--dry-run"]);
    for part in ["12 packages", "bucket", "10 offers a customer", "512 MiB"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&shop.ok(&["run", ON[0], ON[1], "--dry-run", "--json"])).unwrap();
    assert_eq!(json["rows"], purchases(200, 4).len());
    assert!(!shop.path("out").exists() && !shop.path("scratch").exists());
    let run: serde_json::Value = serde_json::from_str(&shop.ok(&["run", ON[0], ON[1], "--json"])).unwrap();
    let stages: Vec<&serde_json::Value> =
        run["stages"].as_array().unwrap().iter().map(|stage| &stage["stage"]).collect();
    assert_eq!(json["stages"].as_array().unwrap().iter().collect::<Vec<_>>(), stages, "planned, and done");
}

#[test]
fn the_small_commands_answer() {
    let shop = shop(Ids::Integer, 10);
    let json = shop.ok(&["config", "show", ON[0], ON[1], "--set", "recommendations.top=5", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["recommendations.top"], serde_json::json!({"value": 5, "source": "--set"}));
    assert_eq!(json["segments.sweep_to"], serde_json::json!({"value": 7, "source": "packwise.toml"}));
    assert_eq!(json["run.seed"], serde_json::json!({"value": 1, "source": "default"}));
    let text = shop.ok(&["config", "show"]);
    assert!(text.contains("contract.max_rejected_share") && !text.contains('\u{1b}'), "{text}");
    assert!(shop.ok(&["completions", "bash"]).contains("_packwise()"));
    for command in ["demo", "generate", "check", "run", "query", "lookup", "runs", "config", "completions"] {
        assert!(shop.ok(&[command, "--help"]).contains("Example"), "{command}");
    }
    let failed = shop.packwise(&["lookup", ON[0], ON[1], "--json", "1"]);
    let json: serde_json::Value = serde_json::from_slice(&failed.stderr).unwrap();
    assert_eq!(json["exit_code"], 1);
    assert_eq!(json["error"], "there is no published run in out");
}

#[test]
fn the_demo_runs_twice_in_one_folder() {
    let shop = Shop::new();
    for _ in 0..2 {
        let text = shop.ok(&["demo", "--transactions", "5000", "--customers", "500"]);
        assert!(text.contains("Offers for customer ") && text.contains("Try next"), "{text}");
    }
    let runs = shop.ok(&["runs", "-c", "packwise-demo/packwise.toml", "--json", "list"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&runs).unwrap().as_array().unwrap().len(), 2);
}
