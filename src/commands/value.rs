//! `packwise value`: what the base of the newest run is worth, on one page.

use super::render::{self, Align};
use super::{prepare, print};
use crate::cli::ValueArgs;
use crate::error::Error;
use crate::published::PublishedRun;
use crate::quantities::format_count;
use crate::runs::Output;
use crate::tables;
use crate::value::report::ValueFigures;
use serde_json::{Map, Value};

type Rows = Vec<Map<String, Value>>;

pub fn run(args: &ValueArgs, json: bool) -> Result<u8, Error> {
    let (config, _, engine) = prepare(&args.config, json)?;
    let output = Output::open(&config.output, engine.runtime.handle())?;
    let run = PublishedRun::open(&output, args.run.as_deref(), engine.memory.usable())?;
    let Some(figures) = &run.manifest.quality.value else {
        return Err(Error::NotValued { run: run.manifest.run_id.clone() });
    };
    let read = |table: &str| -> Result<Rows, Error> { super::lookup::rows(&run.table(table)?) };
    let segments = read(tables::VALUE_SEGMENTS.name)?;
    let matrices = read(tables::MATRICES.name)?;
    let backtest = read(tables::VALUE_BACKTEST.name)?;
    let text = if json {
        let object = serde_json::json!({
            "run_id": run.manifest.run_id, "as_of": run.manifest.as_of, "value": figures,
            "segments": segments, "matrices": matrices, "backtest": backtest,
        });
        format!("{object}\n")
    } else {
        let page = Page { currency: &config.money.currency, figures };
        let head =
            format!("Customer value of run {}, data up to {}\n", run.manifest.run_id, run.manifest.as_of);
        head + &page.text(&segments, &matrices, &backtest)
    };
    print(text.as_bytes())?;
    Ok(0)
}

struct Page<'a> {
    currency: &'a str,
    figures: &'a ValueFigures,
}

impl Page<'_> {
    fn text(&self, segments: &Rows, matrices: &Rows, backtest: &Rows) -> String {
        let mut text = self.summary();
        if !self.figures.tiers.is_empty() {
            text.push_str(&render::heading("Tiers"));
            text.push_str(&self.tiers());
        }
        text.push_str(&render::heading("Recency and frequency"));
        text.push_str(&self.rfm());
        text.push_str(&render::heading("Value segments"));
        let columns =
            ["segment", "customers", "customer_share", "revenue_share", "value_share", "description"];
        text.push_str(&self.rows(segments, &columns));
        text.push_str(&render::heading("Strategic matrices"));
        let columns = [
            "matrix",
            "quadrant",
            "strategy",
            "customers",
            "customer_share",
            "revenue_share",
            "revenue_at_stake",
        ];
        text.push_str(&self.rows(matrices, &columns));
        for line in thresholds(matrices) {
            text.push_str(&line);
        }
        text.push_str(&render::heading("Backtest"));
        text.push_str(&self.backtest(backtest));
        for note in &self.figures.notes {
            text.push_str(&format!("note: {note}\n"));
        }
        text
    }

    fn summary(&self) -> String {
        let figures = self.figures;
        let again = figures.repeat_customers as f64 / figures.customers.max(1) as f64;
        let mut text = format!(
            "{}, {} of them bought again",
            render::plural(figures.customers, "customer"),
            render::percent(again)
        );
        if let Some(alive) = figures.alive {
            text.push_str(&format!(
                "; {} are expected to be still there",
                format_count(alive.round() as u64)
            ));
        }
        text.push('\n');
        if let Some([one, three, six, twelve]) = figures
            .expected_purchases
            .map(|each| each.map(|purchases| format_count(purchases.round() as u64)))
        {
            text.push_str(&format!(
                "They are expected to buy {one} times in the next month, {three} in 3, {six} in 6 and {twelve} in 12 months\n"
            ));
        }
        if let Some(value) = figures.value {
            text.push_str(&format!(
                "Worth {}: the spend of {} months, a month later counting {} less\n",
                render::money(value, self.currency),
                figures.months,
                render::percent(figures.monthly_discount)
            ));
        }
        let named: Vec<String> = figures
            .parameters
            .iter()
            .filter(|row| row.model == figures.model || row.model == "Gamma-Gamma")
            .map(|row| format!("{} {:.4}", row.parameter, row.estimate))
            .collect();
        if !named.is_empty() {
            text.push_str(&format!(
                "{} and Gamma-Gamma, times in {}s: {}\n",
                figures.model,
                figures.time_unit,
                named.join(", ")
            ));
        }
        text
    }

    fn tiers(&self) -> String {
        let rows = self.figures.tiers.iter().map(|tier| {
            vec![
                tier.name.clone(),
                tier.above.map_or_else(|| "the rest".to_owned(), |above| render::money(above, self.currency)),
                format_count(tier.customers),
                render::money(tier.value, self.currency),
                render::percent(tier.value_share),
            ]
        });
        let head = [
            ("tier", Align::Left),
            ("value above", Align::Right),
            ("customers", Align::Right),
            ("worth", Align::Right),
            ("share", Align::Right),
        ];
        render::table(&head, rows.collect())
    }

    fn rfm(&self) -> String {
        let rows = self.figures.rfm.iter().map(|segment| {
            vec![
                segment.name.clone(),
                format_count(segment.customers),
                render::percent(segment.customer_share),
                render::percent(segment.revenue_share),
                segment.action.clone(),
            ]
        });
        let head = [
            ("segment", Align::Left),
            ("customers", Align::Right),
            ("share", Align::Right),
            ("of revenue", Align::Right),
            ("what to do", Align::Left),
        ];
        let mut text = render::table(&head, rows.collect());
        if let Some(v) = self.figures.segments_cramers_v {
            text.push_str(&format!(
                "Segments as of {} told who bought in the {} days after it with Cramér's V {v:.2}\n",
                self.figures.holdout_end, self.figures.holdout_days
            ));
        }
        text
    }

    /// Rows of a small table.
    fn rows(&self, rows: &Rows, columns: &[&str]) -> String {
        let head: Vec<(&str, Align)> = columns
            .iter()
            .map(|column| {
                let is_text = ["matrix", "quadrant", "strategy", "description"].contains(column);
                (*column, if is_text { Align::Left } else { Align::Right })
            })
            .collect();
        let cells =
            rows.iter().map(|row| columns.iter().map(|column| self.cell(column, row.get(*column))).collect());
        render::table(&head, cells.collect())
    }

    fn cell(&self, column: &str, value: Option<&Value>) -> String {
        match value {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
                (Some(count), _) if !column.ends_with("_share") && column != "revenue_at_stake" => {
                    format_count(count)
                }
                (_, Some(share)) if column.ends_with("_share") => render::percent(share),
                (_, Some(amount)) => render::money(amount, self.currency),
                _ => "–".to_owned(),
            },
            _ => "–".to_owned(),
        }
    }

    fn backtest(&self, rows: &Rows) -> String {
        let cells = rows.iter().map(|row| {
            let number = |column: &str, digits: usize| {
                let value = row.get(column).and_then(Value::as_f64);
                value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
            };
            let text = |column: &str| row.get(column).and_then(Value::as_str).unwrap_or("–").to_owned();
            vec![
                text("method"),
                text("target"),
                number("bias_percent", 1),
                number("mae", 3),
                number("rmse", 3),
                number("correlation", 3),
                number("auc", 3),
                number("recalibration", 3),
            ]
        });
        let head = [
            ("method", Align::Left),
            ("predicts", Align::Left),
            ("bias %", Align::Right),
            ("MAE", Align::Right),
            ("RMSE", Align::Right),
            ("correlation", Align::Right),
            ("AUC", Align::Right),
            ("factor", Align::Right),
        ];
        let figures = self.figures;
        format!(
            "{} of a sample, known up to {}, tested on the {} days after it\n",
            render::plural(figures.holdout_customers, "customer"),
            figures.holdout_end,
            figures.holdout_days
        ) + &render::table(&head, cells.collect())
    }
}

/// Where high begins, a line for each matrix.
fn thresholds(matrices: &Rows) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for row in matrices {
        let text = |column: &str| row.get(column).and_then(Value::as_str).unwrap_or("–").to_owned();
        let limit = |column: &str| {
            row.get(column).and_then(Value::as_f64).map_or_else(String::new, |value| format!("above {value}"))
        };
        let line = format!(
            "{}: high is {} {}, {} {}; a value equal to the threshold is low\n",
            text("matrix"),
            text("x"),
            limit("x_threshold"),
            text("y"),
            limit("y_threshold")
        );
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}
