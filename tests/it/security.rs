//! What readers and writers of files may not do: read or write elsewhere, run for ever, see what is not theirs, or find
//! ids where none belong.

use crate::support::{Ids, Shop, batch, purchases, replace, shop, write_parquet};
use arrow::array::{ArrayRef, StringArray};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

fn query(shop: &Shop, flags: &[&str], sql: &str) -> Output {
    shop.packwise(&[&["query", "-c", "packwise.toml"], flags, &[sql]].concat())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { [files(&path), vec![path]].concat() } else { vec![path] })
        .collect()
}

#[test]
fn a_query_reads_the_run_and_nothing_else_and_not_for_ever() {
    let shop = shop(Ids::Integer, 200);
    shop.run(&[]);
    shop.write("secret.csv", "a,b\n1,2\n");
    let parquet = shop.path("dumps/all.parquet").display().to_string();
    for sql in [
        "SELECT * FROM 'secret.csv'".to_owned(),
        "SELECT * FROM \"secret.csv\"".to_owned(),
        "SELECT * FROM '/etc/passwd'".to_owned(),
        format!("SELECT * FROM '{parquet}'"),
        format!("SELECT * FROM read_parquet('{parquet}')"),
        format!("SELECT * FROM parquet_metadata('{parquet}')"),
        format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{parquet}'"),
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "COPY recommendations TO 'stolen.parquet'".to_owned(),
        "INSERT INTO recommendations SELECT * FROM recommendations".to_owned(),
        "DROP TABLE recommendations".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
    ] {
        let output = query(&shop, &[], &sql);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{sql}: {message}");
        assert!(!message.contains("panicked"), "{sql}: {message}");
    }
    assert!(!shop.path("stolen.parquet").exists());
    let endless = "SELECT count(*) FROM generate_series(1, 100000000000) AS a(x) WHERE x % 7 = sin(x)";
    let output = query(&shop, &["--timeout", "1"], endless);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(6), "{message}");
    assert!(message.contains("--timeout"), "{message}");
    let cut =
        query(&shop, &["--max-rows", "3", "--format", "csv"], "SELECT customer_id FROM recommendations");
    assert!(cut.status.success());
    assert_eq!(String::from_utf8(cut.stdout).unwrap().lines().count(), 4);
    assert!(String::from_utf8(cut.stderr).unwrap().contains("--max-rows 3"));
    let all = query(&shop, &["--max-rows", "1", "--format", "csv"], "SELECT 1");
    assert!(all.status.success() && all.stderr.is_empty());
}

#[test]
fn names_and_links_do_not_lead_out_of_the_output() {
    let shop = shop(Ids::Integer, 200);
    let run = shop.run(&[]);
    shop.write("elsewhere/manifest.json", "{}");
    for id in ["../../elsewhere", "..", "/etc", "a/../../../elsewhere", ""] {
        for command in [
            vec!["query", "-c", "packwise.toml", "--run", id, "SELECT 1"],
            vec!["runs", "-c", "packwise.toml", "show", id],
        ] {
            let output = shop.packwise(&command);
            assert_eq!(
                output.status.code(),
                Some(1),
                "{command:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    let part = shop.path(&format!("out/runs/{}/{}", run.run_id, run.tables["packages"].files[0].path));
    let outside = shop.path("elsewhere/part.parquet");
    std::fs::rename(&part, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &part).unwrap();
    let output = query(&shop, &[], "SELECT * FROM packages");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("is a link"), "{message}");
}

#[test]
fn what_is_written_is_for_its_user_alone() {
    let shop = shop(Ids::Phone, 300);
    let spilling = ["resources.buckets=8", "metrics.path=packwise.prom"];
    shop.run(&spilling);
    shop.ok(&["check", "-c", "packwise.toml"]);
    let mut seen = 0;
    for path in ["out", "scratch", "packwise.prom"].map(|name| shop.path(name)) {
        for path in [files(&path), vec![path]].concat() {
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

/// Every word that a planted id has, and no other does.
const PLANTED: &str = "77123";

/// Files below a folder that have a planted id in the clear.
fn leaks(folder: &Path) -> Vec<String> {
    let is_leak = |path: &PathBuf| {
        path.is_file()
            && std::fs::read(path).unwrap().windows(PLANTED.len()).any(|bytes| bytes == PLANTED.as_bytes())
    };
    files(folder).into_iter().filter(is_leak).map(|path| path.display().to_string()).collect()
}

#[test]
fn ids_are_in_the_tables_that_name_them_and_nowhere_else() {
    let shop = shop(Ids::Phone, 300);
    let rows = batch(&purchases(300, 4), Ids::Phone);
    let ids: StringArray = crate::support::texts(&rows, "MSISDN")
        .iter()
        .map(|id| Some(format!("{PLANTED}{}", &id[id.len() - 6..])))
        .collect();
    let planted = replace(&rows, "MSISDN", Arc::new(ids) as ArrayRef);
    write_parquet(&shop.path("dumps/all.parquet"), &planted);
    // Rows that are rejected, for their package, time and amount.
    let odd: StringArray =
        (0..rows.num_rows()).map(|row| Some(if row % 40 == 0 { "ODD" } else { "P02" })).collect();
    write_parquet(
        &shop.path("dumps/odd.parquet"),
        &replace(&planted, "PACKAGE_CODE", Arc::new(odd) as ArrayRef),
    );
    let common = [
        "--set",
        "contract.max_rejected_share=0.9",
        "--set",
        "metrics.path=packwise.prom",
        "--log-format",
        "json",
        "-vv",
    ];
    let commands: [&[&str]; 11] = [
        &["check"],
        &["run"],
        &["run", "--json"],
        &["run", "--json", "--set", "contract.max_rejected_share=0.0"],
        &["run", "--set", "contract.freshness.on_break=fail"],
        &["runs", "list"],
        &["value"],
        &["evaluate", "--cutoffs", "1"],
        &["query", "SELECT count(*) FROM recommendations WHERE customer_id = 'x'"],
        &["doctor"],
        &["lookup", "no-such-customer"],
    ];
    for command in commands {
        let mut arguments = vec![command[0], "-c", "packwise.toml"];
        arguments.extend(common);
        arguments.extend(&command[1..]);
        let output = shop.packwise(&arguments);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains(PLANTED), "{command:?}: {text}");
    }
    std::fs::write(
        shop.path("dumps/torn.parquet"),
        &std::fs::read(shop.path("dumps/all.parquet")).unwrap()[..900],
    )
    .unwrap();
    let torn = shop.packwise(&["run", "-c", "packwise.toml", "-vv"]);
    assert!(!torn.status.success());
    assert!(!String::from_utf8_lossy(&torn.stderr).contains(PLANTED));

    assert!(leaks(&shop.path("scratch")).is_empty());
    assert!(!std::fs::read_to_string(shop.path("packwise.prom")).unwrap().contains(PLANTED));
    let with_ids = packwise::tables::ALL.iter().filter(|table| table.by_customer()).map(|table| table.name);
    let allowed: Vec<&str> =
        with_ids.chain(["quarantine", "neighbour_candidates", "manifest.json"]).collect();
    for leak in leaks(&shop.path("out")) {
        assert!(allowed.iter().any(|name| leak.contains(&format!("/{name}"))), "{leak}");
    }
    assert!(
        leaks(&shop.path("out")).iter().any(|leak| leak.contains("manifest.json")),
        "the search finds what is there"
    );
}
