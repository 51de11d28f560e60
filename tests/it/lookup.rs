//! One customer, read without a query engine: the same rows as SQL gives, for everybody and for nobody.

use crate::support::{Ids, shop};
use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use packwise::engine::Engine;
use packwise::engine::memory::Models;
use packwise::engine::progress::Progress;
use packwise::published::PublishedRun;
use packwise::runs::Output;
use packwise::tables;
use std::collections::BTreeMap;

/// SQL gives text in another layout.
fn plain(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => cast(column, &DataType::Utf8).unwrap(),
        _ => column.clone(),
    }
}

fn lines(batches: &[arrow::array::RecordBatch]) -> Vec<String> {
    batches
        .iter()
        .flat_map(|batch| {
            (0..batch.num_rows()).map(|row| {
                let cells = batch.columns().iter().map(|column| crate::support::cell(&plain(column), row));
                cells.collect::<Vec<_>>().join("|")
            })
        })
        .collect()
}

#[test]
fn every_customer_has_the_rows_that_sql_gives_and_nobody_has_none() {
    for ids in [Ids::Integer, Ids::Phone, Ids::FreeText] {
        let shop = shop(ids, 600);
        shop.run(&["resources.buckets=8", "neighbours.publish=true"]);
        let models = Models { sample: 1_000, pool: 1_000, tuning: 1_000 };
        let engine = Engine::new(2, 512 << 20, models, Progress::new(false)).unwrap();
        let folder = shop.path("out").display().to_string();
        let output = Output::open(&folder, engine.runtime.handle()).unwrap();
        let run = PublishedRun::open(&output, None, 256 << 20).unwrap();
        engine.runtime.block_on(run.register_all()).unwrap();
        let by_customer: Vec<_> = tables::of_a_run().filter(|table| table.by_customer()).collect();
        assert!(by_customer.len() >= 8);
        for table in by_customer {
            let name = table.name;
            let sql = format!("SELECT * FROM {name}");
            let all = engine.runtime.block_on(async {
                futures::TryStreamExt::try_collect::<Vec<_>>(run.query(&sql).await.unwrap()).await.unwrap()
            });
            let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for line in lines(&all) {
                wanted.entry(line.split('|').next().unwrap().to_owned()).or_default().push(line);
            }
            assert!(!wanted.is_empty() || name == "recommendation_shortfalls", "{name}");
            for (id, rows) in &mut wanted {
                let mut found = lines(&run.customer(name, id).unwrap());
                found.sort();
                rows.sort();
                assert_eq!(&found, rows, "{name} {id}");
            }
            // Before, between and after those that there are; and what is no id at all.
            for nobody in ["-99999999999", "0", "zzzz", "", "9223372036854775807", "cust-b-1x", "'; --"] {
                if !wanted.contains_key(nobody) {
                    assert!(run.customer(name, nobody).unwrap().is_empty(), "{name} {nobody}");
                }
            }
        }
    }
}
