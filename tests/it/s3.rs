//! The whole job on an S3 API: the same bytes as on local disk, also over a bad network; and errors that say what
//! to do. `scripts/moto.sh` does the first of it on a server of others.

use crate::s3_server::{ACCESS_KEY, BUCKET, Fault, S3Server, SECRET_KEY};
use crate::support::{CATALOGUE, Ids, Purchase, Shop, batch, iso, purchases, shop};
use packwise::runs::manifest::Manifest;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde_json::Value;
use std::process::Output;

/// A shop whose files are in a bucket too.
struct Branch {
    shop: Shop,
    server: S3Server,
    key: &'static str,
}

impl Branch {
    fn new(customers: u32) -> Self {
        let (shop, server) = (shop(Ids::Phone, customers), S3Server::start());
        for (name, path) in
            [("in/all.parquet", "dumps/all.parquet"), ("packages.parquet", "packages.parquet")]
        {
            server.put(name, std::fs::read(shop.path(path)).unwrap());
        }
        Self { shop, server, key: ACCESS_KEY }
    }

    fn packwise(&self, arguments: &[&str]) -> Output {
        self.shop
            .command(arguments)
            .env("AWS_ACCESS_KEY_ID", self.key)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_REGION", "us-east-1")
            .output()
            .unwrap()
    }

    /// A command whose input and output are in the bucket, pausing little.
    fn there(&self, command: &[&str]) -> Output {
        let endpoint = format!("object_store.endpoint={}", self.server.endpoint());
        let mut arguments = vec![command[0], "-c", "packwise.toml", "--json"];
        for setting in [
            "transactions.path=s3://bucket/in",
            "catalogue.path=s3://bucket/packages.parquet",
            "output.path=s3://bucket/out",
            "object_store.allow_http=true",
            "object_store.first_pause_seconds=0.001",
            "object_store.longest_pause_seconds=0.01",
            &endpoint,
        ] {
            arguments.extend(["--set", setting]);
        }
        arguments.extend(&command[1..]);
        self.packwise(&arguments)
    }

    /// What a command that must succeed says.
    #[track_caller]
    fn said(&self, command: &[&str]) -> Value {
        let output = self.there(command);
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The manifest of a run that is made there now.
    #[track_caller]
    fn run(&self) -> Manifest {
        let said = self.said(&["run"]);
        let path = format!("out/runs/{}/manifest.json", said["run_id"].as_str().unwrap());
        serde_json::from_slice(&self.server.get(&path).unwrap()).unwrap()
    }
}

/// Checksums of all files of all tables but the one that compares with the run before.
fn checksums(run: &Manifest) -> Vec<(String, String)> {
    let files = run.tables.iter().filter(|(name, _)| *name != "rfm_migration");
    files.flat_map(|(_, table)| &table.files).map(|file| (file.path.clone(), file.checksum.clone())).collect()
}

#[test]
fn a_bucket_gets_the_same_bytes_as_a_folder() {
    let branch = Branch::new(600);
    branch.shop.configure(CATALOGUE);
    let local = branch.shop.run(&[]);
    let remote = branch.run();
    assert_eq!(checksums(&remote), checksums(&local));
    assert_eq!(remote.input.rows, local.input.rows);
    assert_eq!(branch.server.open_uploads(), 0);
    assert!(!branch.server.names().iter().any(|name| name.ends_with(".lock")), "the lease is given back");
    let scratch: Vec<_> = std::fs::read_dir(branch.shop.path("scratch"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(scratch, [".packwise.lock"], "nothing stays of what was uploaded");

    // Readers, and the whole life of runs.
    let counted = branch.said(&["query", "SELECT count(*) AS rows FROM recommendations"]);
    assert_eq!(counted[0]["rows"], remote.tables["recommendations"].rows);
    let second = branch.run();
    assert_eq!(branch.said(&["runs", "verify"])["damaged"], Value::Array(Vec::new()));
    branch.said(&["runs", "rollback", &remote.run_id]);
    let listed = branch.said(&["runs", "list"]);
    assert_eq!((&listed[0]["current"], &listed[1]["current"]), (&Value::Bool(true), &Value::Bool(false)));
    branch.said(&["runs", "rollback", &second.run_id]);
    let removed = branch.said(&["runs", "gc", "--keep", "1", "--older-than", "0d", "--grace", "0d"]);
    assert_eq!(removed["runs"], serde_json::json!([remote.run_id]));
    let gone = format!("out/runs/{}/", remote.run_id);
    assert!(!branch.server.names().iter().any(|name| name.starts_with(&gone)));
    assert_eq!(branch.said(&["runs", "verify"])["damaged"], Value::Array(Vec::new()));
}

#[test]
fn a_bad_network_changes_no_byte() {
    let branch = Branch::new(600);
    let calm = branch.run();
    branch.server.fail_one_in(6);
    for _ in 0..3 {
        assert_eq!(checksums(&branch.run()), checksums(&calm));
    }
    let faults = branch.server.faults();
    assert_eq!(faults.len(), 5, "{faults:?}");
    assert!(faults[&Fault::DoAndHangUp] > 2 && faults[&Fault::Truncate] > 2, "{faults:?}");
    branch.server.fail_one_in(0);
    let runs = branch.said(&["runs", "list"]);
    assert_eq!(runs.as_array().unwrap().len(), 4);
    for run in runs.as_array().unwrap() {
        let id = run["run_id"].as_str().unwrap();
        assert_eq!(branch.said(&["runs", "verify", id])["damaged"], Value::Array(Vec::new()));
    }
}

#[test]
fn what_a_server_refuses_is_not_tried_again() {
    let mut branch = Branch::new(200);
    branch.key = "nobody";
    let refused = branch.there(&["run"]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains("s3://bucket/") && message.contains("403"), "{message}");
    assert!(message.contains("AWS_ACCESS_KEY_ID"), "the hint: {message}");
    assert!(!message.contains(SECRET_KEY), "{message}");
    let requests = branch.server.requests();
    let mut once = requests.clone();
    once.dedup();
    assert_eq!(requests, once, "no request was sent twice");
    assert!(requests.len() <= 2, "{requests:?}");
    assert!(branch.server.names().iter().all(|name| !name.starts_with("out/")));
}

#[test]
fn a_server_that_is_down_or_full_is_given_up_with_its_name() {
    let branch = Branch::new(200);
    branch.server.fail_one_in(1);
    let run = ["run", "--set", "object_store.retries=2"];
    let output = branch.there(&run);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("s3://bucket/"), "{message}");
    // A port on which nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("object_store.endpoint=http://127.0.0.1:{port}");
    let output = branch.there(&["run", "--set", "object_store.retries=1", "--set", &nobody]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("s3://bucket/"), "{message}");
    let plain =
        branch.packwise(&["run", "-c", "packwise.toml", "--set", "object_store.endpoint=http://minio:9000"]);
    let message = String::from_utf8(plain.stderr).unwrap();
    assert_eq!(plain.status.code(), Some(2), "{message}");
    assert!(message.contains("object_store.allow_http"), "{message}");
}

#[test]
fn folders_and_patterns_are_found_in_a_bucket_whatever_the_size_of_a_listing() {
    let branch = Branch::new(200);
    let bytes = branch.server.get("in/all.parquet").unwrap();
    for number in 0..13 {
        branch.server.put(&format!("days/date=2026-03-{number:02}/part é {number}.parquet"), bytes.clone());
    }
    branch.server.put("days/_temporary/part.parquet", bytes.clone());
    branch.server.put("days/notes.md", b"not data".to_vec());
    let files = |path: &str| {
        let set = format!("transactions.path={path}");
        let plan = branch.said(&["run", "--dry-run", "--set", &set]);
        plan["files"].as_u64().unwrap_or_else(|| panic!("{plan}"))
    };
    assert_eq!(files("s3://bucket/days"), 13);
    assert_eq!(files("s3://bucket/days/date=2026-03-0*/*.parquet"), 10);
    assert_eq!(BUCKET, "bucket");
}

fn csv(rows: &[Purchase]) -> Vec<u8> {
    let mut text = "MSISDN,PACKAGE_CODE,BUY_DATE,CHANNEL,AMOUNT,QUANTITY\n".to_owned();
    for row in rows {
        let (customer, time) = (Ids::Phone.name(row.customer), iso(row.seconds));
        text.push_str(&format!(
            "{customer},{},{time},{},1.5,1\n",
            row.package,
            row.channel.unwrap_or_default()
        ));
    }
    text.into_bytes()
}

/// A file with many row groups and pages in place of the shop's.
fn cut_into_groups(branch: &Branch) -> Vec<u8> {
    let path = branch.shop.path("many.parquet");
    let rows: Vec<_> = (0..40).flat_map(|seed| purchases(120, seed)).collect();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows.len() / 12))
        .set_data_page_row_count_limit(200)
        .set_write_batch_size(100)
        // Without an index of pages, as many writers leave it: then headers are read one by one.
        .set_offset_index_disabled(true)
        .set_statistics_enabled(EnabledStatistics::Chunk);
    let batch = batch(&rows, Ids::Phone);
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    branch.server.put("in/all.parquet", bytes.clone());
    bytes
}

#[test]
fn input_is_fetched_once_and_not_page_by_page() {
    let branch = Branch::new(100);
    let bytes = cut_into_groups(&branch);
    branch.run();
    let reads =
        branch.server.requests().iter().filter(|request| *request == "GET /bucket/in/all.parquet").count();
    // The footer; the customers of each row group for the sample; the columns of each row group.
    assert!((12..60).contains(&reads), "{reads} requests");
    let sent = branch.server.sent("in/all.parquet");
    assert!(sent < 2 * bytes.len() as u64 + 200_000, "{sent} bytes of a file of {}", bytes.len());

    // Text goes in steps.
    branch.server.put("in/all.csv", csv(&purchases(6_000, 3)));
    let length = branch.server.get("in/all.csv").unwrap().len() as u64;
    branch.said(&["run", "--set", "transactions.path=s3://bucket/in/all.csv"]);
    let sent = branch.server.sent("in/all.csv");
    assert!(length > 1_000_000 && sent < 2 * length + 2_000_000, "{sent} bytes of a file of {length}");
}

#[test]
fn a_store_that_fails_is_no_bad_file() {
    let branch = Branch::new(200);
    let bytes = cut_into_groups(&branch);
    branch.server.put("in/good.parquet", bytes);
    branch.server.lose("in/all.parquet");
    let fail = branch.there(&[
        "run",
        "--set",
        "transactions.on_bad_file=quarantine",
        "--set",
        "object_store.retries=1",
    ]);
    let message = String::from_utf8(fail.stderr).unwrap();
    assert_eq!(fail.status.code(), Some(1), "{message}");
    assert!(message.contains("in/all.parquet"), "{message}");
    assert!(
        branch.server.names().iter().all(|name| !name.ends_with("manifest.json")),
        "nothing is published"
    );
}
