//! What a run leaves behind: files as the manifest says, in order, readable by every command; nothing at
//! all if it is killed.

use crate::support::{Ids, Shop, cell, lines, shop};
use crate::support::{read_schema, texts};
use arrow::datatypes::DataType;
use packwise::tables::{self, CustomerType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Instant;

#[test]
fn the_manifest_lists_every_file_with_rows_bytes_and_checksum() {
    let shop = shop(Ids::Integer, 600);
    let run = shop.run(&["resources.buckets=8", "neighbours.publish=true", "recommendations.top=20"]);
    let folder = shop.path("out/runs").join(&run.run_id);
    let mut listed = vec![folder.join("manifest.json"), folder.join("_started.json")];
    for (name, table) in &run.tables {
        let (mut rows, mut bytes) = (0, 0);
        for file in &table.files {
            let path = folder.join(&file.path);
            let contents = std::fs::read(&path).unwrap();
            let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
            assert_eq!(reader.metadata().file_metadata().num_rows() as u64, file.rows, "{}", file.path);
            assert_eq!(contents.len() as u64, file.bytes, "{}", file.path);
            assert_eq!(blake3::hash(&contents).to_hex().to_string(), file.checksum, "{}", file.path);
            rows += file.rows;
            bytes += file.bytes;
            listed.push(path);
        }
        assert_eq!((rows, bytes), (table.rows, table.bytes), "{name}");
    }
    for extra in &run.extras {
        let contents = std::fs::read(folder.join(&extra.path)).unwrap();
        assert_eq!(blake3::hash(&contents).to_hex().to_string(), extra.checksum, "{}", extra.path);
        listed.push(folder.join(&extra.path));
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(std::fs::read_dir(entry).unwrap().map(|file| file.unwrap().path())),
            false => found.push(entry),
        }
    }
    // A part without rows may stay behind unlisted; nothing else may.
    found.retain(|path| {
        path.extension().is_none_or(|ending| ending != "parquet")
            || SerializedFileReader::new(File::open(path).unwrap())
                .unwrap()
                .metadata()
                .file_metadata()
                .num_rows()
                > 0
            || listed.contains(path)
    });
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
    assert_eq!(run.tables.len(), tables::of_a_run().count());
    assert!(run.tables["customer_features"].files.len() > 4, "several parts, or the test proves little");
}

#[test]
fn customer_tables_are_sorted_within_and_across_files_and_indexed() {
    for ids in [Ids::Integer, Ids::FreeText] {
        let shop = shop(ids, 600);
        let run = shop.run(&["resources.buckets=8"]);
        let folder = shop.path("out/runs").join(&run.run_id);
        for table in tables::ALL.iter().filter(|table| table.by_customer()) {
            let Some(files) = run.tables.get(table.name).map(|listed| &listed.files) else { continue };
            let rows = shop.table(&run, table.name);
            let ids_of = texts(&rows, "customer_id");
            let in_order = ids_of.windows(2).all(|pair| match ids {
                Ids::Integer => pair[0].parse::<i64>().unwrap() <= pair[1].parse::<i64>().unwrap(),
                _ => pair[0].as_bytes() <= pair[1].as_bytes(),
            });
            assert!(in_order, "{}", table.name);
            for file in files {
                let reader = SerializedFileReader::new(File::open(folder.join(&file.path)).unwrap()).unwrap();
                for group in reader.metadata().row_groups() {
                    let customer = group.column(0);
                    assert_eq!(customer.column_path().string(), "customer_id", "{}", file.path);
                    assert!(customer.column_index_offset().is_some(), "{}: page index", file.path);
                    assert!(customer.offset_index_offset().is_some(), "{}: page index", file.path);
                    assert!(customer.bloom_filter_offset().is_some(), "{}: bloom filter", file.path);
                }
            }
        }
        let features = shop.table(&run, "customer_features");
        assert_eq!(features.num_rows(), 600);
        let first = cell(features.column(0), 0);
        assert_eq!(first, if ids == Ids::Integer { "-500" } else { "cust-b-1" });
    }
}

#[test]
fn published_schemas_are_those_of_the_contract() {
    for (ids, customers) in [(Ids::Integer, CustomerType::Integer), (Ids::Phone, CustomerType::Text)] {
        let shop = shop(ids, 200);
        let run = shop.run(&["neighbours.publish=true", "recommendations.top=20"]);
        let folder = shop.path("out/runs").join(&run.run_id);
        for table in tables::of_a_run() {
            let listed = &run.tables[table.name];
            let wanted = table.schema(customers);
            assert!(!listed.files.is_empty(), "{}", table.name);
            for file in &listed.files {
                let found = read_schema(&folder.join(&file.path));
                let (fixed, open) = found.fields().split_at(wanted.fields().len());
                for (field, contract) in fixed.iter().zip(wanted.fields()) {
                    let of = |field: &arrow::datatypes::Field| {
                        (field.name().clone(), field.data_type().clone(), field.is_nullable())
                    };
                    assert_eq!(of(field), of(contract), "{}", file.path);
                }
                assert_eq!(open.is_empty(), table.open_ended.is_none(), "{}", file.path);
                // Shares, and names of quadrants.
                let text = table.name == tables::CUSTOMER_VALUE.name;
                let wanted = if text { DataType::Utf8 } else { DataType::Float64 };
                assert!(open.iter().all(|field| *field.data_type() == wanted), "{}", file.path);
                let manifest = listed.columns.clone();
                let columns: Vec<_> =
                    found.fields().iter().map(|f| (f.name().clone(), f.data_type().to_string())).collect();
                assert_eq!(columns, manifest, "{}", file.path);
            }
        }
        let features = read_schema(&folder.join(&run.tables["customer_features"].files[0].path));
        for name in
            ["channel_app_share", "service_data_share", "charging_prepaid_share", "charging_postpaid_share"]
        {
            assert!(features.index_of(name).is_ok(), "{name}");
        }
    }
}

#[test]
fn a_killed_run_is_never_seen_and_the_next_one_cleans_up() {
    let shop = Shop::new();
    shop.ok(&[
        "generate",
        "--out",
        "made",
        "--transactions",
        "200000",
        "--customers",
        "20000",
        "--packages",
        "60",
    ]);
    shop.configure("");
    let settings = [
        "transactions.path=made/transactions",
        "transactions.columns.amount=",
        "transactions.columns.quantity=",
        "segments.k=7",
        "resources.buckets=64",
    ];
    let begun = Instant::now();
    let first = shop.run(&settings);
    let whole = begun.elapsed();
    let offers = lines(&shop.table(&first, "recommendations"));
    assert!(offers.len() > 100_000);
    let mut arguments = vec!["run", "-c", "packwise.toml"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let mut visible = vec![first.run_id.clone()];
    let mut cut_short = 0;
    for moment in [2, 10, 25, 40, 55, 70, 85, 95] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_packwise"))
            .current_dir(shop.path(""))
            .args(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * moment / 100);
        child.kill().unwrap();
        let finished = child.wait().unwrap().success();
        let now = shop.runs();
        match finished {
            true => assert_eq!(now.len(), visible.len() + 1),
            // Killed after the manifest was written, at the earliest.
            false if now.len() > visible.len() => {}
            false => {
                assert_eq!(now, visible, "killed at {moment} %");
                cut_short += 1;
            }
        }
        visible = now;
        assert_eq!(lines(&shop.table(&first, "recommendations")), offers, "killed at {moment} %");
    }
    assert!(cut_short >= 4, "{cut_short} runs were killed in the middle");
    let newest = "SELECT count(*) AS rows FROM recommendations";
    let counted = shop.ok(&["query", "-c", "packwise.toml", "--format", "csv", newest]);
    assert_eq!(counted, format!("rows\n{}\n", offers.len() - 1));

    let last = shop.run(&settings);
    assert_eq!(lines(&shop.table(&last, "recommendations")), offers);
    visible.push(last.run_id.clone());
    assert_eq!(shop.runs(), visible);
    let mut folders: Vec<String> = std::fs::read_dir(shop.path("out/runs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    visible.sort();
    assert_eq!(folders, visible, "the next run removes what killed ones left");
    let scratch: Vec<_> =
        std::fs::read_dir(shop.path("scratch")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(scratch, [".packwise.lock"]);
}

#[test]
fn the_publish_gate_warns_or_holds_a_run_back() {
    let shop = shop(Ids::Integer, 200);
    let strict = ["gate.max_same_for_all=0.0", "gate.max_age_days=1"];
    let warned = shop.run(&["gate.mode=warn", strict[0], strict[1]]);
    let warnings = &warned.quality.warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("gate.max_same_for_all = 0"), "{warnings:?}");
    assert!(warnings[1].contains("gate.max_age_days = 1 cannot be checked"), "{warnings:?}");
    let mut arguments = vec!["run", "-c", "packwise.toml", "--set", "gate.mode=block"];
    strict.iter().for_each(|limit| arguments.extend(["--set", limit]));
    let blocked = shop.packwise(&arguments);
    assert_eq!(blocked.status.code(), Some(4), "{}", String::from_utf8_lossy(&blocked.stderr));
    assert_eq!(shop.runs(), [warned.run_id], "nothing of the blocked run is published");
    assert!(shop.run(&strict).quality.warnings.is_empty(), "the gate is off unless it is asked for");
}
