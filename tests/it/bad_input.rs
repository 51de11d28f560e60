//! Bad input through the real binary: one clear message, the right exit code, never a panic, nothing
//! published. The messages are snapshots in `snapshots/`.

use crate::support::{CATALOGUE, Ids, Shop, batch, catalogue, purchases, replace, write_parquet};
use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use std::fs::File;
use std::sync::Arc;

const RUN: [&str; 3] = ["run", "-c", "packwise.toml"];

/// A command must fail with this exit code and the message of the snapshot, and publish nothing.
#[track_caller]
fn refused(shop: &Shop, name: &str, code: i32, arguments: &[&str]) {
    let published = shop.runs();
    let output = shop.packwise(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{name}: {message}");
    assert!(!message.contains("panicked"), "{name}: {message}");
    assert!(output.stdout.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(shop.runs(), published, "{name}: nothing may be published");
    let temporary = regex_free(&shop.path("").display().to_string());
    insta::with_settings!({ filters => vec![(temporary.as_str(), "[shop]/"), (r"\d{8}T\d{6}Z-[0-9a-f]{8}", "[run]")], omit_expression => true }, {
        insta::assert_snapshot!(name, message);
    });
}

/// [`refused`] for `packwise run` with settings; the shop has no run before or after.
#[track_caller]
fn run_refused(shop: &Shop, name: &str, code: i32, settings: &[&str]) {
    let mut arguments = RUN.to_vec();
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    refused(shop, name, code, &arguments);
    assert!(shop.runs().is_empty(), "{name}");
}

/// A text as a pattern that matches only itself.
fn regex_free(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_alphanumeric() { vec![c] } else { vec!['\\', c] }).collect()
}

fn shop_of_ten() -> Shop {
    Shop::open(10)
}

#[test]
fn files_that_are_not_there() {
    let shop = shop_of_ten();
    run_refused(&shop, "missing_file", 3, &["transactions.path=dump/all.parquet"]);
    run_refused(&shop, "no_match_for_a_glob", 3, &["transactions.path=dumps/*.csv"]);
    std::fs::create_dir(shop.path("nothing")).unwrap();
    shop.write("nothing/.hidden.parquet", "x");
    run_refused(&shop, "empty_folder", 3, &["transactions.path=nothing"]);
    run_refused(&shop, "missing_catalogue", 3, &["catalogue.path=packages.csv"]);
    run_refused(&shop, "unknown_scheme", 3, &["transactions.path=ftp://host/dumps"]);
}

#[test]
fn columns_that_are_missing_or_of_the_wrong_type() {
    let shop = shop_of_ten();
    run_refused(&shop, "missing_column", 3, &["transactions.columns.customer=MSISDM"]);
    run_refused(&shop, "missing_column_like_no_other", 3, &["transactions.columns.amount=turnover"]);
    let rows = purchases(10, 1);
    let good = batch(&rows, Ids::Integer);
    let wrong: [(&str, &str, ArrayRef); 4] = [
        ("wrong_type_customer", "MSISDN", Arc::new(Float64Array::from(vec![1.5; rows.len()]))),
        ("wrong_type_time", "BUY_DATE", Arc::new(Int64Array::from(vec![20_260_101; rows.len()]))),
        ("wrong_type_amount", "AMOUNT", Arc::new(BooleanArray::from(vec![true; rows.len()]))),
        ("wrong_type_channel", "CHANNEL", Arc::new(Float64Array::from(vec![0.5; rows.len()]))),
    ];
    for (name, column, values) in wrong {
        write_parquet(&shop.path("dumps/all.parquet"), &replace(&good, column, values));
        run_refused(&shop, name, 3, &[]);
    }
}

#[test]
fn files_that_are_damaged() {
    let shop = shop_of_ten();
    let good = std::fs::read(shop.path("dumps/all.parquet")).unwrap();
    run_refused_with(&shop, "corrupt_parquet", &vec![b'x'; 2_000]);
    run_refused_with(&shop, "truncated_parquet", &good[..good.len() / 2]);
    run_refused_with(&shop, "zero_byte_parquet", b"");
    let mut garbled = good.clone();
    garbled[4..400].fill(0xFF);
    run_refused_with(&shop, "parquet_with_garbled_pages", &garbled);
    // A good file before it does not help.
    std::fs::write(shop.path("dumps/a.parquet"), &good).unwrap();
    run_refused_with(&shop, "one_of_two_is_truncated", &good[..good.len() - 10]);
}

#[track_caller]
fn run_refused_with(shop: &Shop, name: &str, bytes: &[u8]) {
    std::fs::write(shop.path("dumps/all.parquet"), bytes).unwrap();
    run_refused(shop, name, 3, &[]);
}

#[test]
fn csv_files_that_are_damaged() {
    let shop = Shop::new();
    let head = "MSISDN,PACKAGE_CODE,BUY_DATE,CHANNEL,AMOUNT,QUANTITY\n";
    let row = "1,P01,2026-01-01,APP,4.99,1\n";
    let cases: [(&str, &str, Vec<u8>); 6] = [
        ("zero_byte_csv", "dumps/all.csv", Vec::new()),
        ("csv_with_a_header_only", "dumps/all.csv", head.into()),
        ("csv_with_a_short_row", "dumps/all.csv", format!("{head}{row}2,P01\n{row}").into()),
        ("csv_not_utf8", "dumps/all.csv", [head.as_bytes(), b"1,\xFF\xFE,2026-01-01,A,1,1\n"].concat()),
        ("csv_of_another_delimiter", "dumps/all.csv", format!("{head}{row}").replace(',', ";").into()),
        ("csv_gz_that_is_not", "dumps/all.csv.gz", format!("{head}{row}").into()),
    ];
    for (name, path, bytes) in cases {
        let _ = std::fs::remove_dir_all(shop.path("dumps"));
        shop.write(path, bytes);
        run_refused(&shop, name, 3, &[]);
    }
}

#[test]
fn a_catalogue_that_contradicts_itself() {
    let shop = shop_of_ten();
    shop.configure(CATALOGUE);
    let good = catalogue();
    shop.stock(&format!("{good}P03,1,1,1,1,DATA,PREPAID,1,no\n"));
    run_refused(&shop, "duplicate_package", 3, &[]);
    shop.stock(&good.replace("500 MB", "500 parsecs"));
    run_refused(&shop, "unparsable_quota", 3, &[]);
    shop.stock(&good.replace("7 days", "soon"));
    run_refused(&shop, "unparsable_validity", 3, &[]);
    shop.stock(&good.replace("4.99", "free"));
    run_refused(&shop, "unparsable_price", 3, &[]);
    shop.stock(&good.replace("4.99", "-4.99"));
    run_refused(&shop, "negative_price", 3, &[]);
    shop.stock(&good.replace(",no\n", ",perhaps\n"));
    run_refused(&shop, "unparsable_flag", 3, &[]);
    shop.stock(good.lines().next().unwrap());
    run_refused(&shop, "empty_catalogue", 3, &[]);
    shop.stock(&good);
    run_refused(&shop, "missing_catalogue_column", 3, &["catalogue.columns.quota=QUOTE"]);
}

#[test]
fn rows_that_break_the_contract() {
    let shop = shop_of_ten();
    let rows = purchases(10, 1);
    let good = batch(&rows, Ids::Phone);
    let nobody = StringArray::new_null(rows.len());
    write_parquet(&shop.path("dumps/all.parquet"), &replace(&good, "MSISDN", Arc::new(nobody)));
    run_refused(&shop, "zero_valid_rows", 3, &["contract.max_rejected_share=1"]);
    let some = StringArray::from_iter(rows.iter().enumerate().map(|(n, _)| (n % 3 > 0).then_some("cust")));
    assert!(some.null_count() * 10 > rows.len());
    write_parquet(&shop.path("dumps/all.parquet"), &replace(&good, "MSISDN", Arc::new(some)));
    run_refused(&shop, "too_many_rejected", 3, &[]);
}

#[test]
fn the_contract_counts_rows_after_the_end_of_the_data() {
    let shop = Shop::new();
    let mut rows = purchases(50, 1);
    let late = rows.len() / 5;
    rows[..late].iter_mut().for_each(|row| row.seconds += 3 * 365 * 86_400);
    write_parquet(&shop.path("dumps/all.parquet"), &batch(&rows, Ids::Integer));
    let check = shop.packwise(&["check", "-c", "packwise.toml"]);
    assert_eq!(check.status.code(), Some(3));
    run_refused(&shop, "too_many_after_the_end", 3, &[]);
}

#[test]
fn places_that_cannot_be_written_to() {
    let shop = shop_of_ten();
    shop.write("a-file", "not a folder");
    run_refused(&shop, "unwritable_output", 1, &["output.path=a-file"]);
    run_refused(&shop, "unwritable_output_below_a_file", 1, &["output.path=a-file/out"]);
    run_refused(&shop, "unwritable_scratch", 1, &["resources.scratch=a-file"]);
    assert_eq!(std::fs::read_to_string(shop.path("a-file")).unwrap(), "not a folder");
}

#[test]
fn a_second_run_beside_a_first() {
    let shop = shop_of_ten();
    for (name, folder) in [("locked_scratch", "scratch"), ("locked_output", "out")] {
        std::fs::create_dir_all(shop.path(folder)).unwrap();
        let lock = File::create(shop.path(folder).join(".packwise.lock")).unwrap();
        lock.lock().unwrap();
        run_refused(&shop, name, 5, &[]);
    }
    shop.run(&[]);
}

#[test]
fn settings_that_make_no_sense() {
    let shop = shop_of_ten();
    run_refused(&shop, "more_segments_than_customers", 2, &["segments.k=50"]);
    run_refused(&shop, "unknown_key", 2, &["recommendations.topp=5"]);
    run_refused(&shop, "unknown_section", 2, &["recomendations.top=5"]);
    run_refused(&shop, "wrong_type_of_a_key", 2, &["recommendations.top=many"]);
    run_refused(&shop, "set_without_equals", 2, &["recommendations.top"]);
    run_refused(
        &shop,
        "several_problems_at_once",
        2,
        &[
            "recommendations.top=0",
            "neighbours.recall=1.5",
            "transactions.returns=burn",
            "features.half_life_days=nan",
            "resources.memory=lots",
            "segments.sweep_from=90",
            "transactions.as_of=yesterday",
            "transactions.delimiter=ab",
        ],
    );
    run_refused(
        &shop,
        "unit_without_quantity",
        2,
        &["transactions.amount_is=unit", "transactions.columns.quantity="],
    );
    run_refused(&shop, "too_little_memory", 2, &["resources.memory=64MiB"]);
    run_refused(&shop, "no_transactions_named", 2, &["transactions.path="]);
    refused(&shop, "unknown_option", 2, &["run", "-c", "packwise.toml", "--treads", "2"]);
}

#[test]
fn configuration_files_that_cannot_be_read() {
    let shop = shop_of_ten();
    refused(&shop, "missing_config_file", 2, &["run", "-c", "packwize.toml"]);
    shop.write("broken.toml", "[transactions\npath = \"dumps\"\n");
    refused(&shop, "malformed_toml", 2, &["run", "-c", "broken.toml"]);
    shop.write("unknown.toml", "[transactions]\npaths = \"dumps\"\n");
    refused(&shop, "unknown_key_in_a_file", 2, &["run", "-c", "unknown.toml"]);
    shop.write("scalar.toml", "transactions = 5\n");
    refused(&shop, "value_for_a_section", 2, &["run", "-c", "scalar.toml"]);
}

#[test]
fn queries_that_are_more_than_questions() {
    let shop = shop_of_ten();
    let query = |sql| ["query", "-c", "packwise.toml", sql];
    refused(&shop, "query_without_a_run", 1, &query("SELECT 1"));
    let run = shop.run(&[]);
    let offers = crate::support::lines(&shop.table(&run, "recommendations"));
    for (name, sql) in [
        ("query_drop", "DROP TABLE recommendations"),
        ("query_copy", "COPY (SELECT 1) TO 'stolen.csv'"),
        ("query_insert", "INSERT INTO recommendations SELECT * FROM recommendations"),
        ("query_delete", "DELETE FROM recommendations"),
        ("query_create_external", "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 'dumps'"),
        ("query_create_table", "CREATE TABLE t AS SELECT 1"),
        ("query_set", "SET datafusion.execution.batch_size = 1"),
    ] {
        refused(&shop, name, 2, &query(sql));
    }
    assert!(!shop.path("stolen.csv").exists());
    refused(&shop, "query_two_statements", 1, &query("SELECT 1; DROP TABLE recommendations"));
    refused(&shop, "query_of_an_unknown_table", 1, &query("SELECT * FROM recomendations"));
    refused(&shop, "query_that_is_no_sql", 1, &query("SELEC 1"));
    refused(&shop, "lookup_of_an_unknown_customer", 1, &["lookup", "-c", "packwise.toml", "4711"]);
    refused(&shop, "lookup_of_a_text_among_integers", 1, &["lookup", "-c", "packwise.toml", "1 OR 1=1"]);
    refused(
        &shop,
        "show_of_an_unknown_run",
        1,
        &["runs", "-c", "packwise.toml", "show", "20200101T000000Z-0"],
    );
    refused(
        &shop,
        "query_of_an_unknown_run",
        1,
        &["query", "-c", "packwise.toml", "--run", "../../etc", "SELECT 1"],
    );
    assert_eq!(crate::support::lines(&shop.table(&run, "recommendations")), offers);
}
