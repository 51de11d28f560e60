//! The linear pass against the queries of `sql/`: equal batches on random buckets, to the bit.

use super::bucket::{BucketFailure, BucketTables, Context, Parts};
use super::linear::Linear;
use super::linear::mix::Properties;
use super::slots::Slots;
use super::totals::Totals;
use crate::engine::scratch::Scratch;
use crate::engine::session::BucketSession;
use crate::tables::CustomerType;
use crate::transactions::times::DAY;
use crate::transactions::whole_customers::{Cleaned, WholeCustomers};
use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use proptest::prelude::*;
use std::sync::Arc;

/// One random row: days before the end, second of the day, package, channel, amount, pieces.
type Row = (i64, i64, usize, usize, i64, i32);

#[derive(Debug, Clone)]
struct Bucket {
    customers: Vec<Vec<Row>>,
    packages: usize,
    channels: usize,
    known: Vec<(bool, bool, bool, usize, usize)>,
    has_money: bool,
    is_text: bool,
    scale: f64,
}

const END: i64 = 20_000;

fn context(bucket: &Bucket) -> Context {
    let names = |count: usize| (0..count).map(|at| (format!("n{at:02}"), 5)).collect::<Vec<_>>();
    let channels = Slots::choose("channel", &[], &names(bucket.channels));
    let types = Slots::choose("service", &["a".into(), "b".into()], &[("c".into(), 1)]);
    let charging = Slots::choose("charging", &["x".into()], &[]);
    let channel_names = names(bucket.channels);
    let channel_slots = channels.of(channel_names.iter().map(|(name, _)| Some(name.as_str())));
    let properties = bucket.known.iter().enumerate().map(|(at, (tier, days, speed, service, charge))| {
        let at = at as f64 + 1.0;
        Properties {
            tier: tier.then_some(at as i64 % 5 + 1),
            validity_days: days.then_some(at / 7.0),
            quota_mb_per_day: (*days && *speed).then_some(1024.0 / at * 0.1),
            speed_mbps: speed.then_some(at * 1.1),
            service_slot: [0, 1, 2, 9][*service],
            charging_slot: [0, 1][*charge],
        }
    });
    Context::of(Parts {
        customer_type: if bucket.is_text { CustomerType::Text } else { CustomerType::Integer },
        channels,
        services: types,
        charging,
        channel_slots,
        properties: properties.collect(),
        package_codes: (0..bucket.packages).map(|at| format!("P{at:04}")).collect(),
        decay: (0..=END).map(|age| (-(age as f64) / 30.0).exp2()).collect(),
        as_of_day: END,
        has_money: bucket.has_money,
        scale: bucket.scale,
    })
}

fn whole(bucket: &Bucket) -> WholeCustomers {
    let count = bucket.customers.len();
    let ids: ArrayRef = if bucket.is_text {
        Arc::new(StringArray::from_iter_values((0..count).map(|at| format!("c{at:05}"))))
    } else {
        Arc::new(Int64Array::from_iter_values((0..count as i64).map(|at| at * 3 - 7)))
    };
    let mut whole = WholeCustomers { ids, cleaned: Cleaned::default(), ..WholeCustomers::empty() };
    for (customer, rows) in bucket.customers.iter().enumerate() {
        let mut rows = rows.clone();
        rows.sort_by_key(|(before, second, package, channel, ..)| (-before, *second, *package, *channel));
        for (before, second, package, channel, amount, pieces) in rows {
            whole.customers.push(customer as i32);
            whole.seconds.push(((END - before) * DAY + second) as u32);
            whole.packages.push((package % bucket.packages) as i32);
            whole.channels.push((channel % (bucket.channels + 1)) as i32 - 1);
            whole.amounts.push(amount);
            whole.quantities.push(pieces as f32 * 0.25);
        }
    }
    whole
}

fn linear(context: &Context, whole: &WholeCustomers, totals: &mut Totals) -> BucketTables {
    let mut chunks: Vec<BucketTables> = Vec::new();
    let mut sink = |tables: &BucketTables| -> Result<(), BucketFailure> {
        chunks.push(BucketTables {
            features: tables.features.clone(),
            packages: tables.packages.clone(),
            packages_minor: tables.packages_minor.clone(),
            ends: tables.ends.clone(),
        });
        Ok(())
    };
    Linear::new(context, true).run(whole, totals, &mut sink).unwrap();
    let all = |of: fn(&BucketTables) -> &RecordBatch| {
        concat_batches(&of(&chunks[0]).schema(), chunks.iter().map(of)).unwrap()
    };
    let mut ends = Vec::new();
    for chunk in &chunks {
        let before = ends.last().copied().unwrap_or(0);
        ends.extend(chunk.ends.iter().map(|end| end + before));
    }
    let minor = chunks.iter().flat_map(|chunk| chunk.packages_minor.values().iter().copied());
    let packages_minor = Int64Array::from_iter_values(minor);
    BucketTables { features: all(|t| &t.features), packages: all(|t| &t.packages), packages_minor, ends }
}

fn sql(context: &Context, whole: &WholeCustomers) -> BucketTables {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let spill = Scratch::temporary().unwrap();
    let session = BucketSession::new(None, spill.path()).unwrap();
    context.run_sql(whole, &session, runtime.handle()).unwrap()
}

/// Equal to the bit: `==` of Arrow would let −0 pass for 0.
fn assert_same(linear: &RecordBatch, sql: &RecordBatch) {
    assert_eq!(linear.schema(), sql.schema());
    for ((ours, theirs), field) in linear.columns().iter().zip(sql.columns()).zip(linear.schema().fields()) {
        if *field.data_type() == DataType::Float64 {
            let bits = |column: &ArrayRef| {
                let column = column.as_any().downcast_ref::<Float64Array>().unwrap();
                column.iter().map(|value| value.map(f64::to_bits)).collect::<Vec<_>>()
            };
            assert_eq!(bits(ours), bits(theirs), "{}: {ours:?} {theirs:?}", field.name());
        }
        assert_eq!(ours, theirs, "{}", field.name());
        assert_eq!(ours.null_count(), theirs.null_count());
    }
}

fn compare(bucket: &Bucket) {
    let (context, whole) = (context(bucket), whole(bucket));
    let mut totals = Totals::new(bucket.packages, END, 28);
    let (ours, theirs) = (linear(&context, &whole, &mut totals), sql(&context, &whole));
    assert_same(&ours.packages, &theirs.packages);
    assert_same(&ours.features, &theirs.features);
    assert_eq!(ours.packages_minor, theirs.packages_minor);
    assert_eq!(ours.ends, theirs.ends);
    let revenue: i64 = totals.into_packages().iter().map(|total| total.revenue).sum();
    assert_eq!(revenue, whole.amounts.iter().sum::<i64>());
}

fn bucket() -> impl Strategy<Value = Bucket> {
    let amount = prop_oneof![Just(0i64), -5_000i64..0, 1i64..100_000, Just(7_777_777_777)];
    let row = (0i64..70, prop_oneof![Just(0i64), 0i64..DAY], 0usize..400, 0usize..20, amount, -3i32..12);
    let shape = (1usize..400, 0usize..12, any::<bool>(), any::<bool>(), prop_oneof![Just(1.0), Just(100.0)]);
    (prop::collection::vec(prop::collection::vec(row, 1..40), 1..40), shape).prop_flat_map(
        |(customers, (packages, channels, has_money, is_text, scale))| {
            let known = (any::<bool>(), any::<bool>(), any::<bool>(), 0usize..4, 0usize..2);
            prop::collection::vec(known, packages).prop_map(move |known| Bucket {
                customers: customers.clone(),
                packages,
                channels,
                known,
                has_money,
                is_text,
                scale,
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_linear_pass_gives_what_the_queries_give(bucket in bucket()) {
        compare(&bucket);
    }
}

#[test]
fn one_row_and_a_bucket_of_several_chunks() {
    let one = Bucket {
        customers: vec![vec![(0, 0, 0, 0, 0, 4)]],
        packages: 1,
        channels: 0,
        known: vec![(false, false, false, 0, 0)],
        has_money: true,
        is_text: false,
        scale: 100.0,
    };
    compare(&one);
    let rows = |customer: usize| {
        let row = |at: usize| {
            let (before, amount) = ((customer * 7 + at * 11) % 90, (at * 37 + customer) as i64 % 500 - 20);
            (before as i64, (at * 977 % 86_400) as i64, customer * 5 + at * at, at, amount, 4)
        };
        (0..1 + customer % 23).map(row).collect::<Vec<Row>>()
    };
    let many = Bucket {
        customers: (0..20_000).map(rows).collect(),
        packages: 97,
        channels: 11,
        known: (0..97).map(|at| (at % 3 > 0, at % 4 > 0, at % 5 > 0, at % 4, at % 2)).collect(),
        is_text: true,
        ..one
    };
    compare(&many);
}
