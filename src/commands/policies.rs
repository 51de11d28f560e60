//! `packwise policies check` and `simulate`.

use super::render::{self, Align};
use super::{engine, print};
use crate::cli::{PoliciesArgs, PoliciesCommand};
use crate::config::{Config, load};
use crate::engine::Engine;
use crate::error::Error;
use crate::pipeline;
use crate::policies::PolicyFile;
use crate::privacy::Ids;
use crate::published::PublishedRun;
use crate::quantities::format_count;
use crate::recommendations::OfferFigures;
use crate::runs::Output;
use crate::tables;
use crate::transactions::times::date_of;
use arrow::compute::concat_batches;
use chrono::NaiveDate;
use std::sync::Arc;

pub fn run(args: &PoliciesArgs, json: bool) -> Result<u8, Error> {
    let (config, _) = load(Some(&args.config.config), &args.config.settings())?;
    let engine = engine(&config, json)?;
    let file = match &args.policies {
        Some(path) => pipeline::read_policies(path)?,
        None => pipeline::policies(&config)?,
    };
    let text = match args.command {
        PoliciesCommand::Check => check(&config, &file, &engine, json)?,
        PoliciesCommand::Simulate => simulate(&config, &file, &engine, json)?,
    };
    print(text.as_bytes())?;
    Ok(0)
}

/// The rules against the packages and columns of the newest run.
fn check(config: &Config, file: &PolicyFile, engine: &Engine, json: bool) -> Result<String, Error> {
    let output = Output::open(&config.output, engine.runtime.handle())?;
    if output.list()?.is_empty() {
        let text = format!(
            "{} can be read. Package codes and column names are checked against the newest run, and there is \
             none in {}\n",
            render::plural(file.rules.len() as u64, "rule"),
            config.output
        );
        return Ok(if json {
            format!("{}\n", serde_json::json!({"rules": file.rules.len(), "run": null}))
        } else {
            text
        });
    }
    let run = PublishedRun::open(&output, None, engine.memory.usable())?;
    let packages = run.table(tables::PACKAGES.name)?;
    let features = engine.runtime.block_on(run.schema(tables::CUSTOMER_FEATURES.name))?;
    let failed = |source| Error::Arrow { action: "read the packages of the newest run", source };
    let packages = match packages.first() {
        Some(first) => concat_batches(&first.schema(), &packages).map_err(failed)?,
        None => arrow::array::RecordBatch::new_empty(tables::PACKAGES.schema(tables::CustomerType::Text)),
    };
    let as_of: NaiveDate = run.manifest.as_of.parse().unwrap_or_default();
    let as_of_day = as_of.signed_duration_since(NaiveDate::default()).num_days();
    let ids = Arc::new(Ids::load(config.pseudonyms.as_ref())?);
    let policies = pipeline::compile(file, &packages, &features, as_of_day, &ids, engine)?;
    let day = date_of(as_of_day + 1);
    if json {
        let columns: Vec<_> = policies
            .schema_columns()
            .iter()
            .map(|column| serde_json::json!({"column": column.name, "type": column.kind, "meaning": column.meaning}))
            .collect();
        let object = serde_json::json!({
            "run": run.manifest.run_id, "day": day.to_string(), "rules": policies.rules(), "columns": columns,
        });
        return Ok(format!("{object}\n"));
    }
    let rules = policies.rules().iter().map(|rule| {
        vec![
            rule.line.to_string(),
            rule.stage.text().to_owned(),
            rule.kind.text().to_owned(),
            rule.name.clone(),
            rule.owner.clone(),
            if rule.in_force { "yes" } else { "no" }.to_owned(),
            rule.note.clone().unwrap_or_default(),
        ]
    });
    let head = [
        ("line", Align::Right),
        ("stage", Align::Left),
        ("kind", Align::Left),
        ("name", Align::Left),
        ("owner", Align::Left),
        ("in force", Align::Left),
        ("note", Align::Left),
    ];
    let mut text = render::table(&head, rules.collect());
    let columns = policies.schema_columns().iter();
    let columns = columns
        .map(|column| vec![column.name.clone(), column.kind.to_owned(), column.meaning.to_owned()])
        .collect();
    text.push_str(&render::heading("Columns for conditions"));
    text.push_str(&render::table(
        &[("column", Align::Left), ("type", Align::Left), ("meaning", Align::Left)],
        columns,
    ));
    text.push_str(&format!(
        "\nAll {} hold against run {}, for offers on {day}\n",
        render::plural(policies.rules().len() as u64, "rule"),
        run.manifest.run_id
    ));
    Ok(text)
}

/// What the changed rules would do, beside those in force.
fn simulate(config: &Config, changed: &PolicyFile, engine: &Engine, json: bool) -> Result<String, Error> {
    let (now, then) = pipeline::simulate(config, changed, engine)?;
    if json {
        return Ok(format!("{}\n", serde_json::json!({"now": now, "changed": then})));
    }
    type Figure = (&'static str, fn(&OfferFigures) -> f64);
    let figures: [Figure; 7] = [
        ("offers to be sent", |f| (f.offers - f.offers_held_out) as f64),
        ("expected revenue", |f| f.expected_revenue),
        ("customers with offers, control groups included", |f| {
            (f.customers - f.customers_without_offer) as f64
        }),
        ("customers with fewer than asked for", |f| f.customers_with_shortfall as f64),
        ("customers in the control group", |f| f.customers_held_out as f64),
        ("offers new to the customer", |f| f.offers_new_to_customer as f64),
        ("packages offered", |f| f.packages_offered as f64),
    ];
    let signed = |change: f64| {
        let sign = if change < 0.0 { "−" } else { "+" };
        format!("{sign}{}", format_count(change.abs().round() as u64))
    };
    let rows = figures.iter().map(|(name, of)| {
        let (before, after) = (of(&now), of(&then));
        let share = if before != 0.0 { render::percent((after - before) / before) } else { "–".to_owned() };
        vec![
            (*name).to_owned(),
            format_count(before.round() as u64),
            format_count(after.round() as u64),
            signed(after - before),
            share,
        ]
    });
    let head = [
        ("", Align::Left),
        ("now", Align::Right),
        ("changed", Align::Right),
        ("difference", Align::Right),
        ("", Align::Right),
    ];
    let mut text = render::table(&head, rows.collect());
    text.push_str(&render::heading("Rules"));
    let mut names: Vec<&String> = now.rules.iter().chain(&then.rules).map(|rule| &rule.rule).collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    let rows = names.into_iter().filter_map(|name| {
        let of = |figures: &OfferFigures| figures.rules.iter().find(|rule| rule.rule == *name).cloned();
        let (before, after) = (of(&now), of(&then));
        let known = before.clone().or_else(|| after.clone())?;
        let count = |rule: &Option<crate::policies::FunnelRow>| {
            rule.as_ref().and_then(|rule| rule.removed).map_or_else(|| "–".to_owned(), format_count)
        };
        Some(vec![known.rule, known.stage, known.owner, count(&before), count(&after)])
    });
    let head = [
        ("rule", Align::Left),
        ("stage", Align::Left),
        ("owner", Align::Left),
        ("takes now", Align::Right),
        ("changed", Align::Right),
    ];
    text.push_str(&render::table(&head, rows.collect()));
    text.push_str("Nothing was published\n");
    Ok(text)
}
