//! `packwise run`.

use super::render::{self, Align};
use super::{logs, prepare, print};
use crate::cli::{RunArgs, Until};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::memory::peak_resident_bytes;
use crate::engine::scratch::WhenLocked;
use crate::engine::{current, interrupt};
use crate::error::{Error, chain};
use crate::metrics::{self, Ended};
use crate::pipeline::{self, Checked, How, Outcome};
use crate::quantities::{format_bytes, format_count};
use crate::recommendations::OfferFigures;
use crate::runs::manifest::Manifest;
use crate::transactions;
use crate::value::report::ValueFigures;
use chrono::{DateTime, Utc};

/// Exit codes of a run that did not fail.
const WARNED: u8 = 4;
const NOTHING_NEW: u8 = 99;

pub fn run(args: &RunArgs, json: bool) -> Result<u8, Error> {
    let started = Utc::now();
    let settings = prepare(&args.config, json);
    let (config, layers, engine) = match settings {
        Ok(settings) => settings,
        Err(error) => return failed(error, started, None, json && !args.dry_run),
    };
    if args.dry_run {
        let text = plan(&config, &engine, json)?;
        print(text.as_bytes())?;
        return Ok(0);
    }
    if let Some(Until::Features) = args.until {
        let (id, stages) = pipeline::features_only(&config, &engine, started)?;
        let text = match json {
            true => format!("{}\n", serde_json::json!({"run_id": id, "stages": stages})),
            false => render::stages(&stages) + "Nothing was published\n",
        };
        print(text.as_bytes())?;
        return Ok(0);
    }
    let how = How {
        when_locked: if args.wait { WhenLocked::Wait } else { WhenLocked::Fail },
        fresh: args.fresh,
        skip_if_fresh: args.skip_if_fresh,
    };
    let outcome = pipeline::run(&config, &layers, &engine, how, started);
    let finished = Utc::now();
    let (code, published) = match &outcome {
        Ok(Outcome::Published(manifest)) => {
            let warned = args.strict && !manifest.quality.warnings.is_empty();
            (if warned { WARNED } else { 0 }, Some(manifest.as_ref()))
        }
        Ok(Outcome::NothingNew { .. }) => (NOTHING_NEW, None),
        // Whoever was told to stop ends by the signal.
        Err(_) if interrupt::is_stopping() => return outcome.map(|_| 0),
        Err(error) => (error.exit_code(), None),
    };
    if let Some(path) = &config.metrics {
        let ended = Ended {
            started,
            finished,
            exit_code: code,
            succeeded: outcome.is_ok(),
            stages: &engine.progress.figures(),
            rejected: &engine.progress.rejected(),
            peak_memory_bytes: peak_resident_bytes(),
            published,
        };
        if let Err(error) = metrics::write(path, &ended) {
            logs::warning(&format!("cannot write the metrics to {}: {error}", path.display()));
        }
    }
    let seconds = seconds_between(started, finished);
    let text = match (outcome, json) {
        (Ok(Outcome::Published(manifest)), true) => last_line(&manifest, &config, code, seconds),
        (Ok(Outcome::Published(manifest)), false) => summary(&manifest, &config),
        (Ok(Outcome::NothingNew { run_id }), true) => {
            let object = serde_json::json!({
                "status": "nothing-new",
                "exit_code": code,
                "run_id": run_id,
                "nothing_new": true,
                "rows": 0,
                "seconds": seconds,
                "warnings": [],
                "manifest": manifest_path(&config, &run_id),
            });
            format!("{object}\n")
        }
        (Ok(Outcome::NothingNew { run_id }), false) => {
            format!("Nothing new: run {run_id} was made of the same input and settings\n")
        }
        (Err(error), _) => return failed(error, started, Some(&engine), json),
    };
    print(text.as_bytes())?;
    Ok(code)
}

/// A failed run's last line for a schedule; the error itself is reported as any other.
fn failed(error: Error, started: DateTime<Utc>, engine: Option<&Engine>, json: bool) -> Result<u8, Error> {
    if json {
        let stages = engine.map(|engine| engine.progress.figures()).unwrap_or_default();
        let object = serde_json::json!({
            "status": "failed",
            "exit_code": error.exit_code(),
            "run_id": current::run(),
            "rows": stages.first().map_or(0, |stage| stage.rows_in),
            "seconds": seconds_between(started, Utc::now()),
            "warnings": [],
            "manifest": null,
            "error": error.to_string(),
            "causes": chain(&error).split_off(1),
            "hint": error.hint(),
        });
        print(format!("{object}\n").as_bytes())?;
    }
    Err(error)
}

fn seconds_between(started: DateTime<Utc>, finished: DateTime<Utc>) -> f64 {
    (finished - started).num_milliseconds() as f64 / 1e3
}

fn manifest_path(config: &Config, id: &str) -> String {
    format!("{}/runs/{id}/manifest.json", config.output.trim_end_matches('/'))
}

/// A published run's last line for a schedule.
fn last_line(manifest: &Manifest, config: &Config, code: u8, seconds: f64) -> String {
    let object = serde_json::json!({
        "status": "published",
        "exit_code": code,
        "run_id": manifest.run_id,
        "as_of": manifest.as_of,
        "rows": manifest.input.rows,
        "seconds": seconds,
        "warnings": manifest.quality.warnings,
        "manifest": manifest_path(config, &manifest.run_id),
        "customers": manifest.quality.customers,
        "quality": manifest.quality,
        "stages": manifest.stages,
        "peak_memory_bytes": manifest.peak_memory_bytes,
        "tables": manifest.tables.iter().map(|(name, table)| (name.clone(), table.rows.into()))
            .collect::<serde_json::Map<String, serde_json::Value>>(),
    });
    format!("{object}\n")
}

/// What a run did, for a person.
pub fn summary(manifest: &Manifest, config: &Config) -> String {
    let quality = &manifest.quality;
    let mut text = render::stages(&manifest.stages);
    let seconds: f64 = manifest.stages.iter().map(|stage| stage.seconds).sum();
    text.push_str(&format!(
        "\n{} in {}, peak memory {} of {}\n",
        "All stages",
        crate::quantities::format_seconds(seconds),
        format_bytes(manifest.peak_memory_bytes),
        format_bytes(config.resources.memory)
    ));
    let silhouette = quality.silhouette.map_or(String::new(), |s| format!(", silhouette {s:.3}"));
    text.push_str(&format!(
        "{} customers, {} purchases, revenue {}, data up to {}\n{} segments{silhouette}\n",
        format_count(quality.customers),
        format_count(quality.purchases.max(0) as u64),
        render::money(quality.revenue, &config.money.currency),
        manifest.as_of,
        quality.segments
    ));
    match quality.neighbours.as_slice() {
        [] => text.push_str("no neighbours: nobody qualifies as an example\n"),
        [one] => text.push_str(&format!(
            "{} candidates; {} finds {} of the true neighbours ({} asked for)\n",
            format_count(one.candidates as u64),
            one.kind,
            render::percent(one.recall),
            render::percent(one.recall_wanted)
        )),
        several => text.push_str(&format!(
            "{} candidate pools, lowest neighbour recall {:.3}\n",
            several.len(),
            several.iter().map(|pool| pool.recall).fold(1.0, f64::min)
        )),
    }
    let offers = &quality.offers;
    text.push_str(&format!(
        "{} offers, {} of them new to the customer; {} with fewer than {}, {} with none\n",
        format_count(offers.offers),
        render::percent(offers.offers_new_to_customer as f64 / offers.offers.max(1) as f64),
        render::plural(offers.customers_with_shortfall, "customer"),
        config.recommendations.top,
        format_count(offers.customers_without_offer)
    ));
    text.push_str(&rules(offers));
    if let Some(model) = &quality.scoring {
        text.push_str(&match &model.tuning.why_untuned {
            Some(why) => format!("scores by stated weights: {why}\n"),
            None => format!(
                "scores learned from {} in the last {} days\n",
                render::plural(model.tuning.customers, "customer"),
                model.tuning.window_days
            ),
        });
    }
    if let Some(value) = &quality.value {
        text.push_str(&worth(value, &config.money.currency));
    }
    if let Some(money) = quality.data.iter().find(|m| m.measure == "money").and_then(|m| m.text.as_ref())
        && money.starts_with("unknown")
    {
        text.push_str(&format!("money is {money}\n"));
    }
    if let Some(backtest) = &quality.backtest {
        let other = backtest
            .best_other
            .as_ref()
            .map_or_else(String::new, |(name, recall)| format!(", best other method {recall:.4} ({name})"));
        text.push_str(&format!("last backtest: recall@{} {:.4}{other}\n", backtest.k, backtest.recall));
    }
    if let Some(resumed) = &manifest.resumed {
        text.push_str(&format!(
            "went on with a run that was stopped: {} of offers were finished already\n",
            render::plural(resumed.parts, "part")
        ));
    }
    for warning in &quality.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text.push_str(&format!("published {} in {}\n", manifest.run_id, config.output));
    text
}

/// What the base is worth, in a line.
fn worth(value: &ValueFigures, currency: &str) -> String {
    match (value.alive, value.value) {
        (Some(alive), Some(worth)) => format!(
            "{} customers are expected to be still there, worth {} in {} months (`packwise value`)\n",
            format_count(alive.round() as u64),
            render::money(worth, currency),
            value.months
        ),
        (Some(alive), None) => {
            format!(
                "{} customers are expected to be still there (`packwise value`)\n",
                format_count(alive.round() as u64)
            )
        }
        _ => {
            value.notes.first().map_or_else(String::new, |note| format!("customers have no value: {note}\n"))
        }
    }
}

/// What rules took, if any did.
fn rules(offers: &OfferFigures) -> String {
    let known = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), format_count);
    let taken: Vec<Vec<String>> = offers
        .rules
        .iter()
        .filter(|rule| rule.owner != "configuration" || rule.removed != Some(0))
        .map(|rule| {
            vec![
                rule.rule.clone(),
                rule.stage.clone(),
                rule.owner.clone(),
                known(rule.offers_in),
                known(rule.removed),
                rule.revenue_removed.map_or_else(|| "–".to_owned(), |money| render::money(money, "")),
                known(rule.customers),
            ]
        })
        .collect();
    if taken.is_empty() {
        return String::new();
    }
    let head = [
        ("rule", Align::Left),
        ("stage", Align::Left),
        ("owner", Align::Left),
        ("offers in", Align::Right),
        ("taken", Align::Right),
        ("worth", Align::Right),
        ("customers", Align::Right),
    ];
    let mut text = render::heading("Policies") + &render::table(&head, taken);
    for cap in &offers.caps {
        text.push_str(&format!(
            "{}: {}, {} without it, shadow price {:.3}\n",
            cap.rule,
            render::plural(cap.offers.round() as u64, "offer"),
            format_count(cap.unconstrained.round() as u64),
            cap.shadow_price
        ));
    }
    if offers.offers_held_out > 0 {
        text.push_str(&format!(
            "{} and {} are held out as control groups\n",
            render::plural(offers.customers_held_out, "customer"),
            render::plural(offers.offers_held_out, "offer")
        ));
    }
    text
}

fn plan(config: &Config, engine: &Engine, json: bool) -> Result<String, Error> {
    let Checked { plan, catalogue, .. } = pipeline::check_input(config, engine)?;
    let packages = catalogue.as_deref().unwrap_or(&[]);
    let cut = transactions::cut(&plan, config, packages, engine);
    let row_bytes = cut.layout.row_bytes();
    let spill = (plan.rows * row_bytes).saturating_sub(engine.memory.resident_rows());
    let peak = engine.memory.predicted_peak(plan.rows, row_bytes, cut.buckets, engine.threads);
    let mut stages = vec!["transactions", "features", "segments", "tuning"];
    stages.extend(config.value.as_ref().map(|_| "value"));
    stages.extend(["neighbours", "affinities", "recommendations", "publish"]);
    if json {
        let object = serde_json::json!({
            "files": plan.sources.len(),
            "rows": plan.rows,
            "rows_estimated": plan.estimated,
            "bytes": plan.bytes,
            "packages": catalogue.as_ref().map(Vec::len),
            "buckets": cut.buckets,
            "threads": engine.threads,
            "memory_limit_bytes": engine.memory.bytes(),
            "predicted_peak_bytes": peak,
            "predicted_spill_bytes": spill,
            "stages": stages,
        });
        return Ok(format!("{object}\n"));
    }
    let about = if plan.estimated { "about " } else { "" };
    let mut rows = vec![
        vec![
            "transactions".into(),
            format!(
                "{}, {about}{} rows, {}",
                render::plural(plan.sources.len() as u64, "file"),
                format_count(plan.rows),
                format_bytes(plan.bytes)
            ),
        ],
        vec![
            "catalogue".into(),
            catalogue
                .as_ref()
                .map_or("none".into(), |all| format!("{} packages", format_count(all.len() as u64))),
        ],
        vec![
            "features".into(),
            format!(
                "{} of about {} rows, {} at a time, {} to scratch",
                render::plural(cut.buckets as u64, "bucket"),
                format_count(plan.rows / cut.buckets as u64),
                engine.threads,
                format_bytes(spill)
            ),
        ],
        vec![
            "segments".into(),
            format!("fitted on {} customers at the most", format_count(config.segments.sample as u64)),
        ],
    ];
    if let Some(value) = &config.value {
        rows.push(vec!["value".into(), format!("of {} months", value.months)]);
    }
    rows.extend([
        vec![
            "neighbours".into(),
            format!(
                "{} candidates at the most, {} neighbours each",
                format_count(config.neighbours.pool as u64),
                config.neighbours.k
            ),
        ],
        vec!["recommendations".into(), format!("{} offers a customer", config.recommendations.top)],
        vec!["publish".into(), config.output.clone()],
        vec![
            "memory".into(),
            format!(
                "{} predicted peak of {} allowed",
                format_bytes(peak),
                format_bytes(engine.memory.bytes())
            ),
        ],
    ]);
    Ok(render::table(&[("stage", Align::Left), ("plan", Align::Left)], rows))
}
