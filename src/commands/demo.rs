//! `packwise demo`: from nothing to recommendations in one command.

use super::lookup::gather;
use super::render::{self, Align};
use super::{engine, print};
use crate::cli::DemoArgs;
use crate::config::load;
use crate::engine::scratch::WhenLocked;
use crate::error::Error;
use crate::generate::{DEFAULT_START, Options};
use crate::pipeline::{self, How, Outcome};
use crate::published::PublishedRun;
use crate::quantities::format_count;
use crate::runs::Output;
use arrow::array::AsArray;
use chrono::Utc;
use futures::TryStreamExt;
use std::path::Path;

/// The example of marketing's rules, which fits the demo's catalogue.
const POLICIES: &str = include_str!("../../config/policies.toml");

/// The customers that are shown: a busy one, a middling one and a quiet one of different segments.
const SHOWN: &str = "
    SELECT CAST(customer_id AS VARCHAR) AS customer_id FROM (
        SELECT s.customer_id, s.segment, f.purchases,
               row_number() OVER (PARTITION BY s.segment ORDER BY f.purchases DESC, s.customer_id) AS place,
               count(*) OVER (PARTITION BY s.segment) AS size
        FROM customer_segments s JOIN customer_features f ON s.customer_id = f.customer_id
    ) WHERE place = size / 3 + 1 ORDER BY segment LIMIT 3";

pub fn run(args: &DemoArgs, json: bool) -> Result<u8, Error> {
    let dumps = args.dir.join("dumps");
    let config_path = args.dir.join("packwise.toml");
    clear(&dumps)?;
    let options = Options {
        out: dumps.clone(),
        transactions: args.transactions,
        customers: args.customers,
        packages: 60,
        days: 92,
        seed: 1,
        start: DEFAULT_START,
        threads: 0,
    };
    let made = super::generate::with_bar(&options, json)?;
    let policies = args.dir.join("policies.toml");
    for (path, text) in [(&config_path, configuration(&args.dir)), (&policies, POLICIES.to_owned())] {
        std::fs::write(path, text)
            .map_err(|source| Error::Io { action: format!("write {}", path.display()), source })?;
    }
    let (config, layers) = load(Some(&config_path), &[])?;
    let engine = engine(&config, json)?;
    let how = How { when_locked: WhenLocked::Fail, fresh: true, skip_if_fresh: false };
    let outcome = pipeline::run(&config, &layers, &engine, how, Utc::now())?;
    // A demo that is not asked to skip publishes.
    let Outcome::Published(manifest) = outcome else { return Ok(0) };
    let output = Output::open(&config.output, engine.runtime.handle())?;
    let published = PublishedRun::open(&output, Some(&manifest.run_id), engine.memory.usable())?;
    if json {
        let object = serde_json::json!({
            "run_id": manifest.run_id, "config": config_path, "output": config.output, "quality": manifest.quality,
        });
        print(format!("{object}\n").as_bytes())?;
        return Ok(0);
    }
    let mut text = format!(
        "Made {} purchases of {} customers over {} days in {}\n\n",
        format_count(made.transactions),
        format_count(made.customers_with_purchases),
        options.days,
        dumps.display()
    );
    text.push_str(&super::run::summary(&manifest, &config));
    let (segments, customers) = engine.runtime.block_on(async {
        published.register_all().await?;
        let profiles = published
            .query("SELECT * FROM segment_profiles ORDER BY segment")
            .await?
            .try_collect::<Vec<_>>()
            .await
            .map_err(|source| Error::Query(Box::new(source)))?;
        let ids: Vec<arrow::array::RecordBatch> = published
            .query(SHOWN)
            .await?
            .try_collect()
            .await
            .map_err(|source| Error::Query(Box::new(source)))?;
        let mut customers: Vec<String> = Vec::new();
        for batch in &ids {
            let cast = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8)
                .map_err(|source| Error::Arrow { action: "read customer ids", source })?;
            for id in cast.as_string::<i32>().iter().flatten() {
                customers.push(id.to_owned());
            }
        }
        Ok::<_, Error>((profiles, customers))
    })?;
    let mut shown = Vec::new();
    for id in customers {
        shown.push((gather(&published, &id)?, id));
    }
    text.push_str(&render::heading("Segments"));
    text.push_str(&segment_table(&segments));
    let mut first = None;
    for (customer, id) in &shown {
        first.get_or_insert(id);
        text.push_str(&render::heading(&format!("Offers for customer {id}")));
        text.push_str(&customer.offers_text(5));
    }
    text.push_str(&render::heading("Try next"));
    let config = config_path.display();
    let id = first.cloned().unwrap_or_default();
    text.push_str(&format!(
        "  packwise lookup -c {config} {id}\n  \
           packwise query -c {config} \"SELECT package_code, count(*) AS best_for FROM recommendations WHERE rank = 1 GROUP BY 1 ORDER BY 2 DESC LIMIT 5\"\n  \
           packwise runs -c {config} show {run}\n  \
           packwise value -c {config}\n  \
           packwise run -c {config} --set recommendations.top=3\n\
         Charts: {runs}/segments.svg, {runs}/segment_sweep.svg\n\
         (from a checkout, write `cargo run --release --` for `packwise`)\n",
        run = manifest.run_id,
        runs = Path::new(&output_path(&args.dir)).join("runs").join(&manifest.run_id).display(),
    ));
    print(text.as_bytes())?;
    Ok(0)
}

/// Removes what an earlier demo generated; anything else in the way is left for the generator to refuse.
fn clear(dumps: &Path) -> Result<(), Error> {
    if dumps.join("truth.parquet").is_file() {
        std::fs::remove_dir_all(dumps)
            .map_err(|source| Error::Io { action: format!("clear {}", dumps.display()), source })?;
    }
    Ok(())
}

fn output_path(dir: &Path) -> String {
    dir.join("out").display().to_string()
}

/// The demo's configuration: the telco example with the demo's paths.
fn configuration(dir: &Path) -> String {
    let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
    include_str!("../../config/telco.toml")
        .replace("\"dumps/transactions/*.parquet\"", &quoted(&dir.join("dumps/transactions/*.parquet")))
        .replace("\"dumps/packages.parquet\"", &quoted(&dir.join("dumps/packages.parquet")))
        .replace("\"out\"", &quoted(&dir.join("out")))
        .replace("\"scratch\"", &quoted(&dir.join("scratch")))
        .replace("\"config/policies.toml\"", &quoted(&dir.join("policies.toml")))
        .lines()
        .filter(|line| !line.starts_with("# Try it") && !line.starts_with("#          "))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn segment_table(batches: &[arrow::array::RecordBatch]) -> String {
    let mut rows = Vec::new();
    for batch in batches {
        let number = |name: &str, row: usize| crate::features::as_floats(batch, name).value(row);
        let text = |name: &str, row: usize| {
            batch
                .column_by_name(name)
                .and_then(|column| arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).ok())
                .map(|column| column.as_string::<i32>().value(row).to_owned())
                .unwrap_or_default()
        };
        for row in 0..batch.num_rows() {
            rows.push(vec![
                format!("{}", number("segment", row) as i64),
                format_count(number("customers", row) as u64),
                render::percent(number("revenue_share", row)),
                render::money(number("revenue_per_customer", row), ""),
                text("description", row),
            ]);
        }
    }
    render::table(
        &[
            ("segment", Align::Right),
            ("customers", Align::Right),
            ("of revenue", Align::Right),
            ("per customer", Align::Right),
            ("what sets it apart", Align::Left),
        ],
        rows,
    )
}
