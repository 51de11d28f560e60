//! Buckets in stretches against the same rows sorted as one.

use super::*;
use crate::engine::buckets::Buckets;
use crate::engine::packing::{Expected, Packing};
use crate::engine::part::PartFile;
use crate::engine::rows::Layout;
use crate::engine::scratch::Scratch;
use crate::numerics::random::{generator, hash_u64};
use crate::tables::CustomerType;
use crate::transactions::catalogue::Package;
use crate::transactions::keys::{KeyKind, integer_key, key_integer, text_key};
use crate::transactions::normalise::Counts;
use arrow::array::{AsArray, StringArray};
use arrow::datatypes::Int64Type;
use rand::Rng;

fn transactions(layout: Layout, drop_duplicates: bool, as_of_end: i64) -> Transactions {
    let keys = if layout.texts { KeyKind::Text { prefix: b"c".to_vec() } } else { KeyKind::Integer };
    let packages = [None, Some(250), Some(199)];
    Transactions {
        buckets: Buckets::new(Vec::new(), layout, u64::MAX, Scratch::temporary().unwrap()),
        customer_type: if layout.texts { CustomerType::Text } else { CustomerType::Integer },
        keys,
        packages: packages.map(|price| Package { price, ..Package::default() }).to_vec(),
        package_ranks: vec![2, 0, 1],
        prices: packages.map(Option::unwrap_or_default).to_vec(),
        channel_names: vec!["app".into(), "web".into()],
        channel_ranks: vec![1, 0],
        channel_rows: vec![0; 2],
        as_of_day: 0,
        as_of_end,
        drop_duplicates,
        scale: 100.0,
        counts: Counts::default(),
        quarantine: PartFile {
            path: String::new(),
            rows: 0,
            bytes: 0,
            checksum: String::new(),
            customers: None,
        },
        has_money: true,
        has_catalogue: true,
    }
}

/// Few values of everything, so that rows agree in some of it or in all.
fn rows(layout: Layout, count: usize, seed: u64) -> Rows {
    let mut dice = generator(seed, "rows", 0);
    let mut rows = Rows::default();
    for _ in 0..count {
        // Ten of one customer on the mean, over all keys.
        let customer = hash_u64(dice.gen_range(0..count as u64 / 10), seed);
        if layout.texts {
            // Some share a key.
            let text = format!("c{:08}-{}", customer % 500, customer % 3);
            rows.keys.push(text_key(text.as_bytes(), b"c"));
            rows.text_lengths.push(text.len() as u32);
            rows.text_bytes.extend_from_slice(text.as_bytes());
        } else {
            rows.keys.push(integer_key(customer as i64));
        }
        rows.seconds.push(dice.gen_range(0..100));
        rows.packages.push(dice.gen_range(0..3));
        rows.channels.push([0, 1, NO_CHANNEL][dice.gen_range(0..3)]);
        if layout.amounts {
            rows.amounts.push(dice.gen_range(-1..3));
        }
        if layout.quantities {
            rows.quantities.push([1.0, 2.5, -1.0][dice.gen_range(0..3)]);
        }
        if layout.transactions {
            rows.transactions.push(dice.gen_range(0..20));
        }
    }
    rows
}

/// Customer, second, package, channel, amount, quantity.
type Row = (String, u32, i32, i32, i64, f32);

fn expected(rows: &Rows, layout: Layout, transactions: &Transactions) -> (Vec<Row>, Cleaned) {
    let starts = rows.text_starts();
    let mut all: Vec<_> = (0..rows.len())
        .map(|row| {
            let id = match layout.texts {
                true => String::from_utf8(ids::text(rows, &starts, row).to_vec()).unwrap(),
                false => key_integer(rows.keys[row]).to_string(),
            };
            let rank = transactions.package_ranks[rows.packages[row] as usize] as i32;
            let channel = match rows.channels[row] {
                NO_CHANNEL => -1,
                code => transactions.channel_ranks[code as usize] as i32,
            };
            let quantity = rows.quantities.get(row).copied().unwrap_or(1.0);
            let price = transactions.packages[rank as usize].price.unwrap_or(0);
            let priced = (price as f64 * f64::from(quantity)).round() as i64;
            let amount = rows.amounts.get(row).copied().unwrap_or(priced);
            let transaction = rows.transactions.get(row).copied().unwrap_or(0);
            (rows.keys[row], transaction, (id, rows.seconds[row], rank, channel, amount, quantity))
        })
        .collect();
    all.sort_by(|(key, transaction, row), (other_key, other_transaction, other)| {
        let rest = |row: &Row| (row.1, row.2, row.3 as u32);
        (key, &row.0)
            .cmp(&(other_key, &other.0))
            .then(rest(row).cmp(&rest(other)))
            .then(if layout.amounts { row.4.cmp(&other.4) } else { std::cmp::Ordering::Equal })
            .then(row.5.total_cmp(&other.5))
            .then(transaction.cmp(other_transaction))
    });
    let (mut kept, mut cleaned) = (Vec::new(), Cleaned::default());
    for same in all.chunk_by(|a, b| a.2.0 == b.2.0) {
        let mut before = None;
        let mut seen = std::collections::HashSet::new();
        for (_, transaction, row) in same {
            if i64::from(row.1) > transactions.as_of_end {
                cleaned.future += 1;
                continue;
            }
            if before == Some((transaction, row)) {
                cleaned.duplicates += 1;
                if transactions.drop_duplicates {
                    continue;
                }
            }
            if *transaction != 0 && !seen.insert(transaction) {
                cleaned.repeated_transactions += 1;
                continue;
            }
            before = Some((transaction, row));
            kept.push(row.clone());
        }
    }
    (kept, cleaned)
}

fn found(whole: &WholeCustomers) -> Vec<Row> {
    let texts = whole.ids.as_string_opt::<i32>().cloned();
    let texts = texts.unwrap_or_else(|| {
        let ids = whole.ids.as_primitive::<Int64Type>().values().iter();
        StringArray::from_iter_values(ids.map(ToString::to_string))
    });
    (0..whole.len())
        .map(|row| {
            (
                texts.value(whole.customers[row] as usize).to_owned(),
                whole.seconds[row],
                whole.packages[row],
                whole.channels[row],
                whole.amounts[row],
                whole.quantities[row],
            )
        })
        .collect()
}

fn check(transactions: &Transactions, rows: &Rows, layout: Layout, name: &str) {
    let (mut cleaner, mut whole) = (Cleaner::default(), WholeCustomers::empty());
    let mut scatterer = transactions.buckets.scatterer();
    scatterer.scatter(rows).unwrap();
    scatterer.finish().unwrap();
    let bucket = transactions.buckets.take(0).unwrap();
    assert_eq!(bucket.words.is_empty(), transactions.buckets.packing().is_none());
    assert_eq!(bucket.ends.len() > 1, !layout.texts);
    // What it held before does not show.
    for _ in 0..2 {
        cleaner.clean(&bucket, transactions, &mut Rejected::new(None, 0), &mut whole);
        let (kept, cleaned) = expected(rows, layout, transactions);
        assert!(kept == found(&whole), "{name}");
        assert_eq!(format!("{cleaned:?}"), format!("{:?}", whole.cleaned), "{name}");
        assert_eq!(whole.ids.len(), kept.chunk_by(|a, b| a.0 == b.0).count());
    }
}

#[test]
fn stretches_give_what_one_sort_gives() {
    for case in 0..32u64 {
        let has = |bit: u64| case & bit != 0;
        let layout = Layout { amounts: has(1), quantities: has(2), transactions: has(4), texts: has(8) };
        let transactions = transactions(layout, has(16), 90);
        check(&transactions, &rows(layout, 6000, case), layout, &format!("case {case}"));
    }
}

#[test]
fn packed_rows_give_what_columns_give() {
    for case in 0..4u64 {
        let (drop_duplicates, as_of_end) = (case & 1 != 0, if case & 2 != 0 { 98 } else { 100 });
        let mut transactions = transactions(Layout::default(), drop_duplicates, as_of_end);
        let mut rows = rows(Layout::default(), 6000, case);
        // A narrow range of customers, as a bucket has.
        rows.keys.iter_mut().for_each(|key| *key = integer_key((*key >> 40) as i64));
        let mut sample = rows.keys.clone();
        sample.sort_unstable();
        let (packing, bases) = Packing::of(&Expected {
            numbers: KeyKind::Integer.numbers(&[]).unwrap(),
            sample: &sample,
            splitters: &[],
            seconds: (0, 100),
            packages: Some(3),
            channels: None,
        })
        .unwrap();
        transactions.buckets = transactions.buckets.packed(packing, &bases);
        check(&transactions, &rows, Layout::default(), &format!("case {case}"));
    }
}
