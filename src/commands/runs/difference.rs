//! `packwise runs diff`.

use crate::commands::render::{self, Align};
use crate::runs::difference::{Change, Difference};
use serde_json::Value;

/// Both runs side by side, topic by topic.
pub fn text(difference: &Difference) -> String {
    let Difference { before, after, .. } = difference;
    let mut text = format!("From run {before}\nto   run {after}\n");
    let mut nothing = true;
    for (heading, changes) in difference.topics() {
        if changes.is_empty() {
            continue;
        }
        nothing = false;
        text.push_str(&render::heading(heading));
        let rows = changes.iter().map(row).collect();
        let head =
            [("", Align::Left), ("before", Align::Right), ("after", Align::Right), ("change", Align::Right)];
        text.push_str(&render::table(&head, rows));
    }
    if !difference.rewritten.is_empty() {
        nothing = false;
        text.push_str(&format!("\nAs many rows, but other ones: {}\n", difference.rewritten.join(", ")));
    }
    if nothing {
        text.push_str("They are the same.\n");
    }
    text
}

fn row(change: &Change) -> Vec<String> {
    let relative = match (change.before.as_f64(), change.after.as_f64()) {
        (Some(before), Some(after)) if before != 0.0 => format!("{:+.1} %", (after / before - 1.0) * 100.0),
        _ => String::new(),
    };
    vec![change.what.clone(), shown(&change.before), shown(&change.after), relative]
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.chars().take(40).collect(),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(integer), _) => crate::quantities::format_count(integer),
            (None, Some(float)) => format!("{float:.4}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}
