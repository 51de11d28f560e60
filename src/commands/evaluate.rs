//! `packwise evaluate`.

use super::render::{self, Align};
use super::{prepare, print};
use crate::cli::{EvaluateArgs, ProtocolName};
use crate::error::Error;
use crate::evaluate::EvaluateError;
use crate::evaluate::judge::compared_at;
use crate::evaluate::last_basket::Filter;
use crate::evaluate::metrics::Figures;
use crate::evaluate::report::{EXACT, Evaluation, PACKWISE, UNAIDED, mean, methods};
use crate::pipeline::backtest::publish::Report;
use crate::pipeline::backtest::{self, Plan, Protocol};
use crate::quantities::{format_count, format_seconds};
use chrono::Utc;

/// Cut-offs of a backtest, unless it asks for another number.
const CUTOFFS: u32 = 3;

pub fn run(args: &EvaluateArgs, json: bool) -> Result<u8, Error> {
    let (config, _, engine) = prepare(&args.config, json)?;
    let filter = Filter {
        min_days: args.min_days,
        min_package_rows: args.min_package_rows,
        max_rows_per_day_sd: args.max_rows_per_day_sd,
    };
    let days = args.window.unwrap_or(config.recommendations.window_days);
    let protocol = match args.protocol {
        ProtocolName::Window if filter != Filter::default() => {
            return Err(EvaluateError::FilterOfWindow.into());
        }
        ProtocolName::Window => Protocol::Window { cutoffs: args.cutoffs.unwrap_or(CUTOFFS), days },
        ProtocolName::LastBasket if args.cutoffs.is_some() || args.window.is_some() => {
            return Err(EvaluateError::WindowOfLastBasket.into());
        }
        ProtocolName::LastBasket => Protocol::LastBasket(filter),
    };
    let plan = Plan {
        protocol,
        at: args.at.0.clone(),
        customers: args.customers as usize,
        baselines: !args.no_baselines,
    };
    let evaluation = backtest::evaluate(&config, &plan, &engine, Utc::now())?;
    let text = match json {
        true => Report::of(&evaluation).json()?,
        false => {
            let output = config.output.trim_end_matches('/');
            let where_to = format!("published {output}/evaluations/{}\n", evaluation.id);
            (summary(&evaluation) + &where_to).into_bytes()
        }
    };
    print(&text)?;
    Ok(0)
}

/// The table of a backtest, for a person, and what it says.
fn summary(evaluation: &Evaluation) -> String {
    let k = compared_at(&evaluation.at);
    let is_window = evaluation.protocol == "window";
    let mut text = match evaluation.window_days {
        Some(days) => format!("Purchases in the {days} days after a cut-off; {}\n", evaluation.customers),
        None => format!("Each customer's last basket; {}\n", evaluation.customers),
    };
    for cutoff in &evaluation.cutoffs {
        text.push_str(&format!(
            "{}: {} with history, {} tested; {}\n",
            cutoff.cutoff,
            render::plural(cutoff.customers as u64, "customer"),
            format_count(cutoff.tested as u64),
            match &cutoff.tuning.why_untuned {
                Some(why) => format!("stated weights, {why}"),
                None => format!("weights learned from {}", format_count(cutoff.tuning.customers)),
            }
        ));
    }
    text.push('\n');
    let rows = methods(evaluation).into_iter().map(|name| row(evaluation, name, k, is_window)).collect();
    let columns = [
        ("method", Align::Left),
        ("recall", Align::Right),
        (if is_window { "NDCG" } else { "full NDCG" }, Align::Right),
        ("MAP", Align::Right),
        ("repeat", Align::Right),
        ("explore", Align::Right),
        ("revenue", Align::Right),
        ("coverage", Align::Right),
        ("same", Align::Right),
        ("packwise leads by", Align::Right),
    ];
    text.push_str(&render::table(&columns, rows));
    text.push('\n');
    text.push_str(&findings(evaluation, k));
    text
}

fn row(evaluation: &Evaluation, name: String, k: usize, is_window: bool) -> Vec<String> {
    let of = |figure: fn(&Figures) -> Option<f64>| {
        let value = mean(evaluation, &name, k, |row| figure(&row.figures));
        value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"))
    };
    let ahead = evaluation.comparisons.iter().find(|row| row.against == name && row.metric == "recall");
    let cells = [
        of(|f| f.recall),
        if is_window { of(|f| f.ndcg) } else { of(|f| f.ndcg_full) },
        of(|f| f.map),
        of(|f| f.repeat_recall),
        of(|f| f.explore_recall),
        of(|f| f.revenue_recall),
        of(|f| f.coverage),
        of(|f| f.same_for_all),
        ahead.map_or_else(String::new, |row| format!("{:+.4} … {:+.4}", row.low, row.high)),
    ];
    std::iter::once(name.clone()).chain(cells).collect()
}

/// What the table says in sentences.
fn findings(evaluation: &Evaluation, k: usize) -> String {
    let recall = |name: &str| mean(evaluation, name, k, |row| row.figures.recall);
    let ndcg = |name: &str| mean(evaluation, name, k, |row| row.figures.ndcg);
    let interval = |against: &str| {
        evaluation.comparisons.iter().find(|row| row.against == against && row.metric == "recall")
    };
    let mut text = format!(
        "Means at {k} offers{}. {PACKWISE} leads by its recall less the method's: the 95 % interval of the mean\n\
         difference over the same customers (bootstrap); a method whose interval holds 0 is not surely different.\n",
        if evaluation.cutoffs.len() > 1 { " over the cut-offs" } else { "" }
    );
    if evaluation.protocol != "window" {
        text.push_str(
            "Full NDCG divides by the best list for the whole basket, as published tables do. Other customers' later\n\
             baskets are known to every method here, so figures are not comparable to those with a cut-off. The day of\n\
             the visit is given: packwise counts what sold just before it, which no other method does.\n",
        );
    }
    if let (Some(found), Some(own)) = (evaluation.backtest(), recall(PACKWISE)) {
        text.push_str(&match &found.best_other {
            None => format!("Recall of {PACKWISE}: {own:.4}; no other method was tested.\n"),
            Some((name, other)) => {
                let (first, second) =
                    if own >= *other { (PACKWISE, name.as_str()) } else { (name.as_str(), PACKWISE) };
                let surely = interval(name).is_some_and(|row| row.low > 0.0 || row.high < 0.0);
                let sure = if surely { "" } else { ", a difference that may be chance" };
                format!(
                    "Most recall: {first} with {:.4}, then {second} with {:.4}{sure}.\n",
                    own.max(*other),
                    own.min(*other)
                )
            }
        });
    }
    if let (Some(with), Some(without), Some(row)) = (recall(PACKWISE), recall(UNAIDED), interval(UNAIDED)) {
        let verdict = match (row.low > 0.0, row.high < 0.0) {
            (true, _) => "they help",
            (_, true) => "they hurt",
            _ => "no difference can be told",
        };
        text.push_str(&format!(
            "Neighbours: recall {with:.4} with them, {without:.4} without ({:+.4} … {:+.4}): {verdict}.\n",
            row.low, row.high
        ));
    }
    if evaluation.cutoffs.len() > 1 {
        text.push_str(&each(evaluation, k));
    }
    text.push_str(&fidelity(evaluation, recall, ndcg));
    text.push_str(&format!("took {}\n", format_seconds(evaluation.seconds)));
    text
}

/// The recall at every cut-off, beside the best other method's there.
fn each(evaluation: &Evaluation, k: usize) -> String {
    let mut text = String::new();
    for cutoff in &evaluation.cutoffs {
        let rows = cutoff.judgements.iter().filter(|row| row.grouping == "all" && row.figures.k == k);
        let recalls: Vec<(&str, f64)> =
            rows.filter_map(|row| Some((row.method.as_str(), row.figures.recall?))).collect();
        let own = recalls.iter().find(|(name, _)| *name == PACKWISE).map_or(0.0, |(_, recall)| *recall);
        let others = recalls.iter().filter(|(name, _)| !name.starts_with(PACKWISE));
        let best = others.max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(a.0)));
        let best = best.map_or(String::new(), |(name, recall)| format!(", {name} {recall:.4}"));
        text.push_str(&format!("{}: recall of {PACKWISE} {own:.4}{best}\n", cutoff.cutoff));
    }
    text
}

/// What the index costs.
fn fidelity(
    evaluation: &Evaluation,
    recall: impl Fn(&str) -> Option<f64>,
    ndcg: impl Fn(&str) -> Option<f64>,
) -> String {
    let found = evaluation.cutoffs.iter().filter_map(|cutoff| cutoff.neighbour_recall).min_by(f64::total_cmp);
    let (Some(found), Some(first)) = (found, evaluation.cutoffs.first()) else {
        return "Index: there are no neighbours to find.\n".to_owned();
    };
    let kind = first.neighbour_index.as_deref().unwrap_or("exact");
    let both = |name: &str| Some((recall(name)?, ndcg(name)?));
    match (both(PACKWISE), both(EXACT)) {
        (Some(own), Some(exact)) => format!(
            "Index ({kind}): finds {found:.4} of the true neighbours; recall {:.4} and NDCG {:.4} with it, {:.4} and \
             {:.4} with all of them.\n",
            own.0, own.1, exact.0, exact.1
        ),
        _ => "Index: every candidate was compared, so no neighbour is missed.\n".to_owned(),
    }
}
