//! The same input gives the same rows, whatever the threads, buckets, memory and files.

use crate::support::{CATALOGUE, Dice, Ids, Purchase, Shop, assert_same, batch, catalogue, lines_without};
use crate::support::{purchases, write_parquet};
use packwise::runs::manifest::Manifest;
use std::collections::BTreeMap;

/// Every published table as lines; quarantine without where a row was, and the data quality without what
/// counts files. The migration is left out: it tells of the run before.
fn published(shop: &Shop, run: &Manifest) -> BTreeMap<String, Vec<String>> {
    run.tables
        .keys()
        .filter(|name| *name != "rfm_migration")
        .map(|name| {
            let table = shop.table(run, name);
            let lines = match name.as_str() {
                "quarantine" => {
                    let mut lines = lines_without(&table, &["file", "row"]);
                    lines.sort();
                    lines
                }
                "data_quality" => {
                    let mut lines = lines_without(&table, &[]);
                    lines.retain(|line| !line.starts_with("files|") && !line.starts_with("bytes|"));
                    lines
                }
                _ => lines_without(&table, &[]),
            };
            (name.clone(), lines)
        })
        .collect()
}

fn assert_same_tables(
    how: &str,
    left: &BTreeMap<String, Vec<String>>,
    right: &BTreeMap<String, Vec<String>>,
) {
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "{how}");
    for (name, lines) in left {
        assert_same(&format!("{how}, {name}"), lines, &right[name]);
    }
}

/// Writes rows into a number of files, in their order.
fn dump(shop: &Shop, rows: &[Purchase], ids: Ids, files: usize) {
    let _ = std::fs::remove_dir_all(shop.path("dumps"));
    for (number, part) in rows.chunks(rows.len().div_ceil(files)).enumerate() {
        write_parquet(&shop.path(&format!("dumps/part-{number}.parquet")), &batch(part, ids));
    }
}

/// The rows that the tests below read: some in the far future, so that quarantine has rows as well.
fn rows() -> Vec<Purchase> {
    let mut rows = purchases(3_000, 7);
    for row in rows.iter_mut().step_by(997) {
        row.seconds += 4 * 365 * 86_400;
    }
    rows
}

fn the_same_in_every_way(ids: Ids, settings: &[&str]) {
    let shop = Shop::new();
    shop.configure(CATALOGUE);
    shop.stock(&catalogue());
    let mut rows = rows();
    dump(&shop, &rows, ids, 3);
    let run = |more: &[&str]| {
        let manifest = shop.run(&[settings, more].concat());
        published(&shop, &manifest)
    };
    let plain = run(&["resources.threads=1"]);
    assert!(plain["recommendations"].len() > 20_000, "too few rows to prove anything");
    assert!(plain["quarantine"].len() > 10);
    for more in [
        &["resources.threads=3"][..],
        &["resources.threads=1", "resources.buckets=1"],
        &["resources.threads=3", "resources.buckets=64"],
        &["resources.threads=2", "resources.memory=256MiB"],
        &["resources.threads=3", "resources.memory=64GiB"],
    ] {
        assert_same_tables(&more.join(" "), &plain, &run(more));
    }
    let mut dice = Dice::new(3);
    for at in (1..rows.len()).rev() {
        rows.swap(at, dice.below(at as u64 + 1) as usize);
    }
    dump(&shop, &rows, ids, 7);
    assert_same_tables("shuffled into 7 files", &plain, &run(&["resources.threads=3"]));
}

#[test]
fn integer_ids() {
    the_same_in_every_way(Ids::Integer, &["neighbours.publish=true"]);
}

#[test]
fn phone_numbers() {
    the_same_in_every_way(Ids::Phone, &["segments.algorithm=linfa", "neighbours.index=hnsw"]);
}

#[test]
fn a_graph() {
    the_same_in_every_way(Ids::Integer, &["neighbours.index=graph"]);
}

#[test]
fn free_text_ids() {
    the_same_in_every_way(
        Ids::FreeText,
        &[
            "neighbours.index=cells",
            "neighbours.candidates=above-own",
            "neighbours.pool=500",
            "segments.sample=700",
            "segments.silhouette_sample=400",
        ],
    );
}

#[test]
fn duplicates_and_repeated_ids_fall_to_the_same_row() {
    let shop = Shop::new();
    let mut rows = purchases(500, 2);
    let again: Vec<Purchase> = rows.iter().step_by(5).cloned().collect();
    let repeated = again.len() as f64;
    rows.extend(again);
    dump(&shop, &rows, Ids::FreeText, 2);
    let first = shop.run(&["transactions.duplicates=drop", "resources.buckets=1"]);
    rows.reverse();
    dump(&shop, &rows, Ids::FreeText, 5);
    let second = shop.run(&["transactions.duplicates=drop", "resources.buckets=64", "resources.threads=3"]);
    let dropped = crate::support::measure(&first, "exact duplicates").unwrap();
    assert!(dropped >= repeated, "{dropped} of {repeated} duplicates were found");
    assert_same_tables("reversed", &published(&shop, &first), &published(&shop, &second));
}

/// The comparison itself can fail: another seed of the models, another price, give other rows.
#[test]
fn other_input_gives_other_rows() {
    let shop = Shop::new();
    let mut rows = purchases(500, 2);
    dump(&shop, &rows, Ids::Integer, 2);
    let first = published(&shop, &shop.run(&[]));
    rows[0].cents += 1;
    dump(&shop, &rows, Ids::Integer, 2);
    let second = published(&shop, &shop.run(&[]));
    assert_ne!(first["customer_packages"], second["customer_packages"]);
    assert_ne!(first["customer_features"], second["customer_features"]);
}
