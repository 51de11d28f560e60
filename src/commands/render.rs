//! Text for people: tables, headings, failures. Everything returns text; nothing prints.

use crate::engine::progress::StageFigures;
use crate::error::{Error, chain};
use crate::quantities::{format_bytes, format_count, format_seconds};
use comfy_table::{CellAlignment, Table, TableComponent, presets};
use std::io::IsTerminal;

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A table with a head and a rule below it.
pub fn table(head: &[(&str, Align)], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
        .set_style(TableComponent::HeaderLines, '─')
        .set_style(TableComponent::MiddleHeaderIntersections, '─');
    table.set_header(head.iter().map(|(name, _)| *name));
    for row in rows {
        table.add_row(row);
    }
    for (column, (_, align)) in table.column_iter_mut().zip(head) {
        column.set_cell_alignment(match align {
            Align::Left => CellAlignment::Left,
            Align::Right => CellAlignment::Right,
        });
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// A line that heads what follows.
pub fn heading(text: &str) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\n\u{1b}[1m{text}\u{1b}[0m\n")
    } else {
        format!("\n{text}\n")
    }
}

/// Where a run's time and memory went.
pub fn stages(figures: &[StageFigures]) -> String {
    let rows = figures
        .iter()
        .map(|stage| {
            vec![
                stage.stage.clone(),
                format_count(stage.rows_in),
                format_count(stage.rows_out),
                format_seconds(stage.seconds),
                format_bytes(stage.peak_bytes),
                format_bytes(stage.spilled_bytes),
            ]
        })
        .collect();
    table(
        &[
            ("stage", Align::Left),
            ("rows in", Align::Right),
            ("rows out", Align::Right),
            ("time", Align::Right),
            ("peak memory", Align::Right),
            ("spilled", Align::Right),
        ],
        rows,
    )
}

/// A count of things: "1 customer", "2 customers".
pub fn plural(count: u64, thing: &str) -> String {
    format!("{} {thing}{}", format_count(count), if count == 1 { "" } else { "s" })
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Money with thousands separated.
pub fn money(amount: f64, currency: &str) -> String {
    let minor = (amount.abs() * 100.0).round() as u64;
    let sign = if amount < 0.0 { "−" } else { "" };
    let text = format!("{sign}{}.{:02}", format_count(minor / 100), minor % 100);
    if currency.is_empty() { text } else { format!("{text} {currency}") }
}

/// An error with its causes and what to do, as text or as one JSON object.
pub fn failure(error: &Error, json: bool) -> String {
    let causes = chain(error).split_off(1);
    if json {
        let object = serde_json::json!({
            "error": error.to_string(),
            "causes": causes,
            "hint": error.hint(),
            "exit_code": error.exit_code(),
        });
        return format!("{object}\n");
    }
    let mut text = format!("error: {error}\n");
    for cause in causes {
        text.push_str(&format!("  because: {}\n", cause.trim_end().replace('\n', "\n    ")));
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    text
}
