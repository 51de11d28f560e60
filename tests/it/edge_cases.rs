//! Input of odd shapes: what is legal however unlikely gives a run, what is not gives rows in quarantine. Never a panic.

use crate::support::{
    DAYS, Dice, FIRST_DAY, Ids, PACKAGES, Purchase, Shop, assert_same, batch, column, floats, integers,
    lines, measure, measure_text, purchases, replace, texts, write_parquet,
};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use std::collections::BTreeMap;
use std::sync::Arc;

const ALL_REJECTED: &str = "contract.max_rejected_share=0.9";

fn purchase(customer: u32, number: u64) -> Purchase {
    let (package, cents) = PACKAGES[(number % 12) as usize];
    let seconds = (FIRST_DAY + (number % DAYS as u64) as i64) * 86_400 + (number % 86_400) as i64;
    Purchase { customer, package, seconds, channel: Some("APP"), cents, quantity: 1.0 }
}

fn stock(shop: &Shop, rows: &[Purchase]) {
    write_parquet(&shop.path("dumps/all.parquet"), &batch(rows, Ids::Integer));
}

/// Purchases of every customer, as `customer_features` counts them.
fn counted(shop: &Shop, run: &packwise::runs::manifest::Manifest) -> BTreeMap<String, i64> {
    let table = shop.table(run, "customer_features");
    let counts = integers(&table, "purchases");
    texts(&table, "customer_id").into_iter().zip(counts.values().iter().copied()).collect()
}

#[test]
fn one_customer_with_a_million_rows_among_others() {
    let shop = Shop::new();
    let mut rows = purchases(400, 41);
    rows.iter_mut().for_each(|row| row.customer += 1);
    rows.extend((0..1_000_000).map(|number| purchase(0, number)));
    stock(&shop, &rows);
    drop(rows);
    let run = shop.run(&[]);
    let counts = counted(&shop, &run);
    assert_eq!((counts.len(), counts[&Ids::Integer.name(0)]), (401, 1_000_000));
    assert!(run.peak_memory_bytes < 512 << 20, "{}", run.peak_memory_bytes);
}

#[test]
fn all_rows_of_the_same_customer() {
    let shop = Shop::new();
    stock(&shop, &(0..5_000).map(|number| purchase(7, number)).collect::<Vec<_>>());
    let run = shop.run(&[]);
    assert_eq!(counted(&shop, &run).into_values().collect::<Vec<_>>(), [5_000]);
    assert_eq!(run.quality.customers, 1);
}

#[test]
fn every_customer_once() {
    let shop = Shop::new();
    stock(&shop, &(0..3_000).map(|number| purchase(number, u64::from(number))).collect::<Vec<_>>());
    let run = shop.run(&[]);
    let counts = counted(&shop, &run);
    assert_eq!((counts.len(), counts.values().all(|count| *count == 1)), (3_000, true));
}

#[test]
fn all_rows_at_the_same_second_of_the_same_package() {
    let shop = Shop::new();
    stock(&shop, &(0..500).map(|number| purchase(number, 0)).collect::<Vec<_>>());
    let run = shop.run(&[]);
    assert_eq!(run.quality.purchases, 500);
    assert_eq!(measure(&run, "days with rows"), Some(1.0));
}

#[test]
fn a_hundred_thousand_packages() {
    let shop = Shop::new();
    let mut dice = Dice::new(43);
    let count = 100_000;
    let rows: Vec<Purchase> =
        (0..count).map(|number| purchase(number % 2_000, dice.below(1 << 20))).collect();
    let packages = StringArray::from_iter_values((0..count).map(|number| format!("PACKAGE-{number:06}")));
    let table = replace(&batch(&rows, Ids::Integer), "PACKAGE_CODE", Arc::new(packages));
    write_parquet(&shop.path("dumps/all.parquet"), &table);
    let run = shop.run(&[]);
    assert_eq!(run.tables["packages"].rows, u64::from(count));
    assert_eq!(run.quality.purchases, i64::from(count));
    assert!(run.peak_memory_bytes < 512 << 20, "{}", run.peak_memory_bytes);
}

#[test]
fn empty_days_and_times_that_jump_back_change_nothing_but_dates() {
    let shop = Shop::new();
    let mut rows = purchases(300, 44);
    // A week without a purchase in the middle.
    let gap = (FIRST_DAY + 40) * 86_400..(FIRST_DAY + 47) * 86_400;
    rows.retain(|row| !gap.contains(&row.seconds));
    rows.sort_by_key(|row| row.seconds);
    stock(&shop, &rows);
    let tables = ["recommendations", "customer_features", "customer_packages", "packages"];
    let published = |shop: &Shop| {
        let run = shop.run(&[]);
        assert!(measure(&run, "days with rows").unwrap() <= (DAYS - 7) as f64);
        assert_eq!(run.as_of, "2026-03-31");
        tables.iter().flat_map(|name| lines(&shop.table(&run, name))).collect::<Vec<String>>()
    };
    let expected = published(&shop);
    // A clock that was set back: later rows of the file have earlier times.
    rows.reverse();
    let third = rows.len() / 3;
    rows.rotate_left(third);
    stock(&shop, &rows);
    assert_same("clock set back", &published(&shop), &expected);
}

#[test]
fn daylight_saving_and_zones_do_not_move_instants() {
    let shop = Shop::new();
    // 2026-03-29 01:00 UTC: clocks in central Europe go from 02:00 to 03:00. An hour apart before and after.
    let head = "MSISDN,PACKAGE_CODE,BUY_DATE,CHANNEL,AMOUNT,QUANTITY\n";
    let with_offsets = ["2026-03-29T01:30:00+01:00", "2026-03-29 03:30:00+02:00", "2026-03-29T02:30:00Z"];
    let in_utc = ["2026-03-29 00:30:00", "2026-03-29 01:30:00", "2026-03-29 02:30:00"];
    let published = |times: [&str; 3]| {
        let mut text = head.to_owned();
        for customer in 0..40 {
            for (number, time) in times.iter().enumerate() {
                text.push_str(&format!(
                    "{customer},{},{time},APP,1,1\n",
                    PACKAGES[(customer + number) % 12].0
                ));
            }
        }
        shop.write("dumps/all.csv", text);
        let run = shop.run(&[]);
        assert_eq!(measure(&run, "rejected rows"), Some(0.0));
        ["customer_features", "customer_packages"]
            .iter()
            .flat_map(|name| lines(&shop.table(&run, name)))
            .collect::<Vec<String>>()
    };
    let expected = published(in_utc);
    assert_same("offsets", &published(with_offsets), &expected);
    // A local hour that does not exist is still a time of day: without an offset nothing is adjusted.
    published(["2026-03-29 02:30:00", "2026-10-25 02:30:00", "2026-10-25 02:30:00"]);
}

#[test]
fn columns_with_a_named_zone_are_read_and_can_be_rejected() {
    let shop = Shop::new();
    let rows = purchases(200, 45);
    let plain = batch(&rows, Ids::Integer);
    write_parquet(&shop.path("dumps/all.parquet"), &plain);
    let tables = ["customer_features", "customer_packages"];
    let published = |shop: &Shop| {
        let run = shop.run(&[]);
        tables.iter().flat_map(|name| lines(&shop.table(&run, name))).collect::<Vec<String>>()
    };
    let expected = published(&shop);
    for zone in ["Europe/Istanbul", "America/New_York", "+05:45", "UTC", "Mars/Olympus"] {
        let micros = rows.iter().map(|row| row.seconds * 1_000_000);
        let times = TimestampMicrosecondArray::from_iter_values(micros).with_timezone(zone);
        let zoned = replace(&plain, "BUY_DATE", Arc::new(times));
        write_parquet(&shop.path("dumps/all.parquet"), &zoned);
        assert_same(zone, &published(&shop), &expected);
        // Rejected rows show the time that they had.
        let nobody = (0..rows.len()).map(|row| (row % 10 > 0).then(|| Ids::Phone.name(rows[row].customer)));
        let ids = Arc::new(nobody.collect::<StringArray>());
        write_parquet(&shop.path("dumps/all.parquet"), &replace(&zoned, "MSISDN", ids));
        let run = shop.run(&[ALL_REJECTED]);
        let quarantine = shop.table(&run, "quarantine");
        assert_eq!(quarantine.num_rows(), rows.len().div_ceil(10), "{zone}");
        assert!(texts(&quarantine, "time").iter().all(|time| time.starts_with("202")), "{zone}");
    }
}

#[test]
fn amounts_that_are_no_money() {
    let shop = Shop::new();
    let rows = purchases(300, 46);
    let mut amounts: Vec<f64> = rows.iter().map(|row| row.cents as f64 / 100.0).collect();
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, f64::MAX, 1e9 + 1.0];
    amounts[..odd.len()].copy_from_slice(&odd);
    let fine = [-0.0, f64::MIN_POSITIVE, -f64::MIN_POSITIVE, 0.004, 1e9, -1e9];
    amounts[odd.len()..odd.len() + fine.len()].copy_from_slice(&fine);
    let base = batch(&rows, Ids::Integer);
    let publish = |values: Vec<f64>| {
        let table = replace(&base, "AMOUNT", Arc::new(Float64Array::from(values)) as ArrayRef);
        write_parquet(&shop.path("dumps/all.parquet"), &table);
        let run = shop.run(&[]);
        let features = lines(&shop.table(&run, "customer_features"));
        (run, features)
    };
    let (run, with_odd) = publish(amounts.clone());
    assert_eq!(measure(&run, "rejected: amount is not a number or absurdly large"), Some(odd.len() as f64));
    assert!(floats(&shop.table(&run, "customer_features"), "revenue").iter().flatten().all(f64::is_finite));
    let seen = texts(&shop.table(&run, "quarantine"), "amount");
    assert_eq!(seen[..3], ["NaN", "inf", "-inf"], "{seen:?}");
    // No zero has a sign: less than half a cent is nothing, from either side.
    assert!(!with_odd.iter().any(|line| line.contains("|-0.0|")), "a negative zero is published");
    amounts[odd.len()..odd.len() + 4].fill(0.0);
    let (_, with_zeros) = publish(amounts);
    assert_same("zeros", &with_odd, &with_zeros);
}

#[test]
fn quantities_that_are_none() {
    let shop = Shop::new();
    let rows = purchases(300, 47);
    let mut quantities: Vec<f64> = rows.iter().map(|row| row.quantity).collect();
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e10];
    quantities[..odd.len()].copy_from_slice(&odd);
    quantities[odd.len()] = -0.0;
    let table = replace(&batch(&rows, Ids::Integer), "QUANTITY", Arc::new(Float64Array::from(quantities)));
    write_parquet(&shop.path("dumps/all.parquet"), &table);
    let run = shop.run(&[]);
    assert_eq!(measure(&run, "rejected: quantity is not a number or absurdly large"), Some(odd.len() as f64));
}

#[test]
fn a_limit_on_amounts_that_integers_cannot_keep_is_refused() {
    let shop = Shop::open(50);
    for limit in ["1e300", "1e15", "inf", "nan", "-1", "0"] {
        let setting = format!("transactions.max_amount={limit}");
        let output = shop.packwise(&["run", "-c", "packwise.toml", "--set", &setting]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{limit}: {message}");
        assert!(message.contains("transactions.max_amount"), "{message}");
    }
    shop.run(&["transactions.max_amount=1e11"]);
}

#[test]
fn ids_of_any_text() {
    let shop = Shop::new();
    let rows = purchases(120, 48);
    let long = "x".repeat(10_240);
    let odd = [
        "0042",
        "42",
        "+42",
        "-42",
        "4 2",
        "O'Brien",
        "say \"hi\"",
        "a\\b",
        "a|b",
        "a,b;c",
        "a\tb",
        "a\nb",
        "ünïcödé",
        "Ωμέγα",
        "田中",
        "عميل",
        "👩‍👩‍👧",
        "e\u{301}",
        "é",
        "\u{200b}",
        "null",
        "NULL",
        "NaN",
        "true",
        "'; DROP TABLE customers; --",
        "../../etc/passwd",
        "%s%n",
        "\u{feff}42",
        "\0",
        &long,
    ];
    let id = |customer: u32| {
        odd.get(customer as usize).map_or_else(|| format!("plain-{customer}"), |id| (*id).to_owned())
    };
    let ids = StringArray::from_iter_values(rows.iter().map(|row| id(row.customer)));
    write_parquet(
        &shop.path("dumps/all.parquet"),
        &replace(&batch(&rows, Ids::Phone), "MSISDN", Arc::new(ids)),
    );
    let run = shop.run(&[]);
    let mut expected = BTreeMap::new();
    for row in rows.iter().filter(|row| row.cents >= 0) {
        *expected.entry(id(row.customer)).or_insert(0) += 1;
    }
    let found = counted(&shop, &run);
    for (id, count) in &expected {
        assert_eq!(found.get(id), Some(count), "{id:?}");
    }
    let published = texts(&shop.table(&run, "customer_features"), "customer_id");
    assert!(published.is_sorted(), "by bytes, whatever the script");
    // Every one of them can be looked up by the text that it is.
    for id in odd.iter().filter(|id| !id.contains('\0')) {
        let said = shop.ok(&["lookup", "-c", "packwise.toml", "--json", "--", id]);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert!(said.to_string().contains(&serde_json::Value::from(*id).to_string()), "{id:?}: {said}");
    }
}

#[test]
fn spaces_around_ids_are_not_part_of_them() {
    let shop = Shop::new();
    let rows = purchases(60, 49);
    let plain = batch(&rows, Ids::FreeText);
    write_parquet(&shop.path("dumps/all.parquet"), &plain);
    let expected = counted(&shop, &shop.run(&[]));
    let spaced =
        |number: usize, id: String| ["", " ", "\t", "\u{a0}", "  "][number % 5].to_owned() + &id + " ";
    let ids = texts(&plain, "MSISDN").into_iter().enumerate().map(|(number, id)| spaced(number, id));
    let ids = Arc::new(StringArray::from_iter_values(ids));
    write_parquet(&shop.path("dumps/all.parquet"), &replace(&plain, "MSISDN", ids));
    assert_eq!(counted(&shop, &shop.run(&[])), expected);
}

#[test]
fn a_thousand_tiny_files_are_as_one() {
    let shop = Shop::new();
    let rows = purchases(400, 50);
    stock(&shop, &rows);
    let tables = ["recommendations", "customer_features", "customer_packages", "customer_segments"];
    let published = |shop: &Shop| {
        let run = shop.run(&[]);
        let rows = tables.iter().flat_map(|name| lines(&shop.table(&run, name))).collect::<Vec<String>>();
        (measure(&run, "files"), rows)
    };
    let (_, expected) = published(&shop);
    std::fs::remove_file(shop.path("dumps/all.parquet")).unwrap();
    let whole = batch(&rows, Ids::Integer);
    for file in 0..1_000 {
        let (from, to) = (file * rows.len() / 1_000, (file + 1) * rows.len() / 1_000);
        let part: RecordBatch = whole.slice(from, to - from);
        write_parquet(&shop.path(&format!("dumps/{}/{file}.parquet", file % 7)), &part);
    }
    let (files, found) = published(&shop);
    assert_eq!(files, Some(1_000.0));
    assert_same("a thousand files", &found, &expected);
    assert!(column(&whole, "MSISDN").len() < 10 * 1_000, "they are tiny");
}

#[test]
fn rows_of_all_reasons_at_once_are_counted_each() {
    let shop = Shop::new();
    let head = "MSISDN,PACKAGE_CODE,BUY_DATE,CHANNEL,AMOUNT,QUANTITY\n";
    let mut text = head.to_owned();
    for customer in 0..100 {
        text.push_str(&format!("{customer},P{:02},2026-01-{:02},APP,5,1\n", customer % 9, 1 + customer % 28));
    }
    for bad in [
        ",P01,2026-01-05,APP,5,1",
        "1,,2026-01-05,APP,5,1",
        "1,P01,,APP,5,1",
        "1,P01,2026-02-30,APP,5,1",
        "1,P01,1969-12-31,APP,5,1",
        "1,P01,9999-12-31,APP,5,1",
        "1,P01,2026-01-05,APP,five,1",
        "1,P01,2026-01-05,APP,5,many",
    ] {
        text.push_str(&format!("{bad}\n"));
    }
    shop.write("dumps/all.csv", text);
    let run = shop.run(&[]);
    assert_eq!(measure(&run, "rejected rows"), Some(8.0));
    assert_eq!(measure(&run, "valid rows"), Some(100.0));
    assert_eq!(measure_text(&run, "last day").as_deref(), Some("2026-01-28"));
}
