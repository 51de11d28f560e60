//! Files that cannot be read among files that can: with `on_bad_file = "quarantine"` a run is what it would be if they
//! were not there, and says so.

use crate::support::{
    Ids, Purchase, Shop, assert_same, batch, iso, lines, lines_without, measure, measure_text, purchases,
    write_parquet,
};
use arrow::array::RecordBatch;
use packwise::runs::manifest::Manifest;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::Write;
use std::path::Path;

const LEAVE_OUT: &str = "transactions.on_bad_file=quarantine";
/// Row groups of the file that fails far in.
const GROUPS: usize = 10;

/// A shop of two good files, `a` and `z`, and the rows for a bad one between them.
fn shop() -> (Shop, Vec<Purchase>) {
    let shop = Shop::new();
    let rows = purchases(600, 21);
    let (good, bad) = rows.split_at(rows.len() / 2);
    let (first, last) = good.split_at(good.len() / 2);
    write_parquet(&shop.path("dumps/a.parquet"), &batch(first, Ids::Integer));
    write_parquet(&shop.path("dumps/z.parquet"), &batch(last, Ids::Integer));
    (shop, bad.to_vec())
}

/// Every published row, without the report on data quality and what compares with the run before.
fn rows(shop: &Shop, run: &Manifest) -> Vec<String> {
    let tables = run.tables.keys().filter(|name| !["data_quality", "rfm_migration"].contains(&name.as_str()));
    tables.flat_map(|name| lines(&shop.table(run, name))).collect()
}

fn write_in_groups(path: &Path, batch: &RecordBatch, groups: usize) {
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(batch.num_rows().div_ceil(groups)));
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties.build())).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// Overwrites the pages of a row group: its footer stays as it was.
fn garble(path: &Path, group: usize) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let ranges: Vec<(u64, u64)> =
        reader.metadata().row_group(group).columns().iter().map(|column| column.byte_range()).collect();
    let mut bytes = std::fs::read(path).unwrap();
    for (start, length) in ranges {
        bytes[start as usize..(start + length) as usize].fill(0xFF);
    }
    std::fs::write(path, bytes).unwrap();
}

fn csv(rows: &[Purchase]) -> String {
    let mut text = "MSISDN,PACKAGE_CODE,BUY_DATE,CHANNEL,AMOUNT,QUANTITY\n".to_owned();
    for row in rows {
        let (id, time) = (Ids::Integer.name(row.customer), iso(row.seconds));
        text.push_str(&format!("{id},{},{time},APP,1.5,1\n", row.package));
    }
    text
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// The run that leaves `name` out must be the run without it, and name it everywhere.
#[track_caller]
fn left_out(shop: &Shop, name: &str, expected: &[String], threads: usize) {
    let run = shop.run(&[LEAVE_OUT, &format!("resources.threads={threads}")]);
    assert_same(name, &rows(shop, &run), expected);
    let path = format!("dumps/{name}");
    assert_eq!(measure(&run, "files left out"), Some(1.0), "{name}");
    assert_eq!(measure_text(&run, "files left out"), Some(path.clone()), "{name}");
    let reason = measure_text(&run, &format!("left out: {path}")).unwrap();
    assert!(!reason.is_empty() && !reason.contains("packwise"), "{name}: {reason}");
    assert_eq!(measure(&run, "files"), Some(2.0), "{name}");
    assert_eq!(run.input.files, 2, "{name}");
    let warning = format!("1 file cannot be read and is left out: {path}");
    assert_eq!(run.quality.warnings, [warning], "{name}");
}

/// Runs and compares with the damaged file `name` of these bytes, then takes it away.
#[track_caller]
fn damaged(shop: &Shop, name: &str, bytes: impl AsRef<[u8]>, expected: &[String]) {
    shop.write(&format!("dumps/{name}"), bytes);
    let failed = shop.packwise(&["run", "-c", "packwise.toml"]);
    let message = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(3), "{name}: {message}");
    assert!(message.contains(name) && !message.contains("panicked"), "{name}: {message}");
    left_out(shop, name, expected, 2);
    std::fs::remove_file(shop.path("dumps").join(name)).unwrap();
}

#[test]
fn a_file_that_cannot_be_opened_is_as_if_it_were_not_there() {
    let (shop, bad) = shop();
    let expected = rows(&shop, &shop.run(&[]));
    let good = batch(&bad, Ids::Integer);
    write_parquet(&shop.path("good.parquet"), &good);
    let bytes = std::fs::read(shop.path("good.parquet")).unwrap();
    damaged(&shop, "empty.parquet", b"", &expected);
    damaged(&shop, "noise.parquet", vec![b'x'; 3_000], &expected);
    damaged(&shop, "truncated.parquet", &bytes[..bytes.len() / 2], &expected);
    damaged(&shop, "without-its-end.parquet", &bytes[..bytes.len() - 1], &expected);
    let encrypted = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encrypted");
    for name in ["footer.parquet", "columns.parquet"] {
        damaged(&shop, name, std::fs::read(encrypted.join(name)).unwrap(), &expected);
    }
    damaged(&shop, "empty.csv", b"", &expected);
    damaged(&shop, "empty.csv.gz", b"", &expected);
    damaged(&shop, "plain.csv.gz", csv(&bad), &expected);
    damaged(&shop, "plain.csv.zst", csv(&bad), &expected);
}

#[test]
fn a_file_that_fails_far_in_is_not_half_counted() {
    let (shop, bad) = shop();
    let expected = rows(&shop, &shop.run(&[]));
    let text = csv(&bad);
    let packed = gzip(&text);
    damaged(&shop, "torn.csv.gz", &packed[..packed.len() - 9], &expected);
    let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
    damaged(&shop, "torn.csv.zst", &packed[..packed.len() - 9], &expected);
    damaged(&shop, "short-row.csv", format!("{text}1,P01\n"), &expected);
    damaged(&shop, "not-utf8.csv", [text.as_bytes(), b"1,\xFF\xFE,2026-01-01,A,1,1\n"].concat(), &expected);

    let path = shop.path("dumps/m.parquet");
    for group in [0, GROUPS - 1] {
        write_in_groups(&path, &batch(&bad, Ids::Integer), GROUPS);
        let whole = rows(&shop, &shop.run(&[LEAVE_OUT]));
        assert_ne!(whole.len(), expected.len(), "the file has rows to lose");
        garble(&path, group);
        for threads in [1, 2, 5] {
            left_out(&shop, "m.parquet", &expected, threads);
        }
    }
}

#[test]
fn rows_of_a_bad_file_leave_neither_packages_nor_channels_nor_kinds_of_ids() {
    let (shop, mut bad) = shop();
    let expected = rows(&shop, &shop.run(&[]));
    bad.iter_mut().for_each(|row| (row.package, row.channel) = ("ONLY-HERE", Some("NOWHERE-ELSE")));
    // Texts for ids where all others are integers: with this file, ids would be published as text.
    let path = shop.path("dumps/m.parquet");
    write_in_groups(&path, &batch(&bad, Ids::FreeText), GROUPS);
    garble(&path, GROUPS - 1);
    left_out(&shop, "m.parquet", &expected, 2);
}

#[test]
fn rows_on_scratch_disk_start_over_too() {
    let shop = Shop::new();
    let all = purchases(60_000, 5);
    let (good, bad) = all.split_at(all.len() - 40_000);
    write_parquet(&shop.path("dumps/a.parquet"), &batch(good, Ids::FreeText));
    let small =
        ["resources.memory=400MiB", "segments.sample=1000000", "neighbours.pool=1000", "resources.buckets=4"];
    let settings = [&small[..], &[LEAVE_OUT]].concat();
    let expected = rows(&shop, &shop.run(&settings));
    let path = shop.path("dumps/m.parquet");
    write_in_groups(&path, &batch(bad, Ids::FreeText), GROUPS);
    garble(&path, GROUPS - 1);
    let run = shop.run(&settings);
    assert!(run.stages[0].spilled_bytes > 1 << 20, "{:?}", run.stages[0]);
    assert_same("spilled", &rows(&shop, &run), &expected);
    assert_eq!(measure(&run, "files left out"), Some(1.0));
}

#[test]
fn several_bad_files_are_all_named_and_strictness_tells() {
    let (shop, bad) = shop();
    let expected = rows(&shop, &shop.run(&[]));
    for number in 0..7 {
        let path = shop.path(&format!("dumps/m{number}.parquet"));
        write_in_groups(&path, &batch(&bad, Ids::Integer), GROUPS);
        garble(&path, number);
    }
    shop.write("dumps/b.parquet", b"");
    let run = shop.run(&[LEAVE_OUT]);
    assert_same("eight", &rows(&shop, &run), &expected);
    assert_eq!(measure(&run, "files left out"), Some(8.0));
    let names: Vec<String> = (0..7).map(|number| format!("dumps/m{number}.parquet")).collect();
    assert_eq!(
        measure_text(&run, "files left out").unwrap(),
        format!("dumps/b.parquet, {}", names.join(", "))
    );
    assert_eq!(
        run.quality.warnings,
        [format!(
            "8 files cannot be read and are left out: dumps/b.parquet, {} and 3 more",
            names[..4].join(", ")
        )]
    );
    let table = lines_without(&shop.table(&run, "data_quality"), &[]);
    assert_eq!(table.iter().filter(|line| line.starts_with("left out: dumps/")).count(), 8);

    let strict = shop.packwise(&["run", "-c", "packwise.toml", "--set", LEAVE_OUT, "--strict"]);
    assert_eq!(strict.status.code(), Some(4), "{}", String::from_utf8_lossy(&strict.stderr));
    let said = String::from_utf8(strict.stdout).unwrap();
    assert!(said.contains("warning: 8 files cannot be read"), "{said}");
    // The same bad files are nothing new, and a mended one is.
    let again = ["run", "-c", "packwise.toml", "--set", LEAVE_OUT, "--skip-if-fresh"];
    assert_eq!(shop.packwise(&again).status.code(), Some(99));
    write_parquet(&shop.path("dumps/b.parquet"), &batch(&bad, Ids::Integer));
    assert_eq!(shop.packwise(&again).status.code(), Some(0));
    assert_eq!(shop.packwise(&again).status.code(), Some(99));
}

#[test]
fn check_and_evaluate_leave_out_the_same_and_nothing_left_is_an_error() {
    let (shop, bad) = shop();
    let path = shop.path("dumps/m.parquet");
    write_in_groups(&path, &batch(&bad, Ids::Integer), GROUPS);
    garble(&path, 3);
    let said = shop.ok(&["check", "-c", "packwise.toml", "--set", LEAVE_OUT]);
    assert!(said.contains("files left out") && said.contains("dumps/m.parquet"), "{said}");
    shop.ok(&["evaluate", "-c", "packwise.toml", "--set", LEAVE_OUT, "--cutoffs", "1"]);
    for name in ["a", "m", "z"] {
        shop.write(&format!("dumps/{name}.parquet"), b"PAR1");
    }
    let output = shop.packwise(&["run", "-c", "packwise.toml", "--set", LEAVE_OUT]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("none of the 3 files can be read; the first is dumps/a.parquet"), "{message}");
}

/// A file that may not be read is a matter of the storage, not of the file.
#[cfg(unix)]
#[test]
fn a_failing_disk_never_leaves_files_out() {
    use std::os::unix::fs::PermissionsExt;
    let (shop, bad) = shop();
    let path = shop.path("dumps/m.parquet");
    write_parquet(&path, &batch(&bad, Ids::Integer));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&path).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    let output = shop.packwise(&["run", "-c", "packwise.toml", "--set", LEAVE_OUT]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("the disk or the store failed"), "{message}");
}
