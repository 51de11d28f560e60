//! One data set in every form that input may have gives the same tables.

use crate::support::write_parquet;
use crate::support::{Ids, Purchase, Shop, assert_same, batch, column, days, iso, lines, purchases, replace};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use std::io::Write;

const HEAD: &str = "MSISDN,PACKAGE_CODE,BUY_DATE,CHANNEL,AMOUNT,QUANTITY";

fn rows() -> Vec<Purchase> {
    purchases(400, 11)
}

fn csv(rows: &[Purchase]) -> String {
    let mut text = format!("{HEAD}\n");
    for row in rows {
        text.push_str(&format!(
            "{},{},{},{},{},{}\n",
            Ids::Digits.name(row.customer),
            row.package,
            iso(row.seconds),
            row.channel.unwrap_or_default(),
            row.cents as f64 / 100.0,
            row.quantity
        ));
    }
    text
}

/// Offers, features and purchases as they come from the plain file.
fn tables(shop: &Shop, settings: &[&str]) -> Vec<String> {
    let run = shop.run(settings);
    let named = ["recommendations", "customer_features", "customer_packages", "customer_segments"];
    named.iter().flat_map(|name| lines(&shop.table(&run, name))).collect()
}

fn plain() -> (Shop, Vec<String>) {
    let shop = Shop::new();
    write_parquet(&shop.path("dumps/all.parquet"), &batch(&rows(), Ids::Digits));
    let expected = tables(&shop, &[]);
    assert!(expected.len() > 5_000, "{}", expected.len());
    (shop, expected)
}

#[test]
fn timestamps_of_every_unit_and_zone_say_the_same() {
    let (shop, expected) = plain();
    let base = batch(&rows(), Ids::Digits);
    let micros = column(&base, "BUY_DATE").clone();
    let utc = Some("UTC".into());
    let zone = Some("+03:00".into());
    for data_type in [
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, utc),
        DataType::Timestamp(TimeUnit::Millisecond, zone),
        DataType::Date64,
    ] {
        // A zone says how an instant is shown; the instant is the same.
        let times = match &data_type {
            DataType::Timestamp(_, Some(_)) => cast(
                &cast(&micros, &DataType::Int64).unwrap(),
                &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            )
            .and_then(|times| cast(&times, &data_type))
            .unwrap(),
            DataType::Date64 => {
                let millis = cast(&micros, &DataType::Timestamp(TimeUnit::Millisecond, None)).unwrap();
                cast(&cast(&millis, &DataType::Int64).unwrap(), &DataType::Date64).unwrap()
            }
            _ => cast(&micros, &data_type).unwrap(),
        };
        write_parquet(&shop.path("dumps/all.parquet"), &replace(&base, "BUY_DATE", times));
        assert_same(&data_type.to_string(), &tables(&shop, &[]), &expected);
    }
}

#[test]
fn dates_and_date_folders_are_midnight() {
    let shop = Shop::new();
    let mut rows = rows();
    rows.iter_mut().for_each(|row| row.seconds -= row.seconds.rem_euclid(86_400));
    rows.sort_by_key(|row| row.seconds);
    let base = batch(&rows, Ids::Digits);
    write_parquet(&shop.path("dumps/all.parquet"), &base);
    let expected = tables(&shop, &[]);
    write_parquet(&shop.path("dumps/all.parquet"), &replace(&base, "BUY_DATE", days(&rows)));
    assert_same("date32", &tables(&shop, &[]), &expected);

    std::fs::remove_dir_all(shop.path("dumps")).unwrap();
    for (number, day) in rows.chunk_by(|a, b| a.seconds == b.seconds).enumerate() {
        let mut part = batch(day, Ids::Digits);
        part.remove_column(part.schema().index_of("BUY_DATE").unwrap());
        let folder = format!("hive/date={}", &iso(day[0].seconds)[..10]);
        write_parquet(&shop.path(&format!("{folder}/part-{number}.parquet")), &part);
    }
    let hive = ["transactions.path=hive", "transactions.columns.time=date"];
    assert_same("hive by date", &tables(&shop, &hive), &expected);
}

#[test]
fn channels_can_be_folders() {
    let (shop, expected) = plain();
    let mut by_channel = rows();
    by_channel.retain(|row| row.channel.is_some());
    by_channel.sort_by_key(|row| row.channel);
    for part in by_channel.chunk_by(|a, b| a.channel == b.channel) {
        let mut table = batch(part, Ids::Digits);
        table.remove_column(table.schema().index_of("CHANNEL").unwrap());
        write_parquet(&shop.path(&format!("hive/CHANNEL={}/a.parquet", part[0].channel.unwrap())), &table);
    }
    write_parquet(&shop.path("dumps/all.parquet"), &batch(&by_channel, Ids::Digits));
    let in_a_column = tables(&shop, &[]);
    assert_ne!(in_a_column.len(), expected.len(), "rows without a channel are left out here");
    assert_same("hive by channel", &tables(&shop, &["transactions.path=hive"]), &in_a_column);
}

#[test]
fn csv_plain_packed_and_of_another_delimiter() {
    let (shop, expected) = plain();
    let text = csv(&rows());
    shop.write("plain.csv", &text);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    shop.write("packed.csv.gz", gzip.finish().unwrap());
    shop.write("packed.csv.zst", zstd::encode_all(text.as_bytes(), 1).unwrap());
    shop.write("semicolons.txt", text.replace(',', ";"));
    shop.write("tabs.tsv", text.replace(',', "\t"));
    shop.write("dos.csv", format!("\u{feff}{}", text.replace('\n', "\r\n")));
    shop.write("quoted.csv", text.replace("APP", "\"APP\""));
    for settings in [
        &["transactions.path=plain.csv"][..],
        &["transactions.path=packed.csv.gz"],
        &["transactions.path=packed.csv.zst"],
        &["transactions.path=semicolons.txt", "transactions.delimiter=;"],
        &["transactions.path=tabs.tsv", "transactions.delimiter=\"\\t\""],
        &["transactions.path=dos.csv"],
        &["transactions.path=quoted.csv"],
    ] {
        assert_same(&settings.join(" "), &tables(&shop, settings), &expected);
    }
}

#[test]
fn folders_globs_and_urls() {
    let (shop, expected) = plain();
    for (number, part) in rows().chunks(300).enumerate() {
        write_parquet(&shop.path(&format!("parts/2026/{number}.parquet")), &batch(part, Ids::Digits));
    }
    shop.write("parts/_SUCCESS", "");
    shop.write("parts/notes.md", "not data");
    let url = format!("transactions.path=file://{}", shop.path("parts").display());
    let file = format!("transactions.path=file://{}", shop.path("dumps/all.parquet").display());
    for path in [
        "transactions.path=parts",
        "transactions.path=parts/*/?.parquet",
        "transactions.path=parts/**/*.parquet",
        &url,
        &file,
    ] {
        assert_same(path, &tables(&shop, &[path]), &expected);
    }
    // CSV and Parquet side by side.
    std::fs::remove_file(shop.path("parts/2026/0.parquet")).unwrap();
    shop.write("parts/2026/0.csv", csv(&rows()[..300]));
    assert_same("mixed", &tables(&shop, &["transactions.path=parts"]), &expected);
}
