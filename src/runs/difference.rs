//! What is different between two runs, from their manifests.

use super::manifest::Manifest;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// One thing that two runs have different values of; null where a run does not have it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    pub what: String,
    pub before: Value,
    pub after: Value,
}

/// The differences of two runs, by topic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    pub before: String,
    pub after: String,
    /// Of the input and the program.
    pub made_of: Vec<Change>,
    pub config: Vec<Change>,
    /// Rows of tables.
    pub rows: Vec<Change>,
    pub quality: Vec<Change>,
    /// Seconds of stages.
    pub seconds: Vec<Change>,
    /// Tables whose rows are as many but whose files have other bytes.
    pub rewritten: Vec<String>,
}

impl Difference {
    /// From `before` to `after`.
    pub fn of(before: &Manifest, after: &Manifest) -> Self {
        let made_of = |m: &Manifest| {
            vec![
                ("data up to".to_owned(), Value::from(m.as_of.as_str())),
                ("files".to_owned(), m.input.files.into()),
                ("rows".to_owned(), m.input.rows.into()),
                ("bytes".to_owned(), m.input.bytes.into()),
                ("input fingerprint".to_owned(), m.input.fingerprint.as_str().into()),
                ("packwise version".to_owned(), m.packwise_version.as_str().into()),
            ]
        };
        let config =
            |m: &Manifest| m.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let rows =
            |m: &Manifest| m.tables.iter().map(|(name, table)| (name.clone(), table.rows.into())).collect();
        let seconds = |m: &Manifest| {
            let rounded = |seconds: f64| (seconds * 10.0).round() / 10.0;
            m.stages.iter().map(|stage| (stage.stage.clone(), rounded(stage.seconds).into())).collect()
        };
        let checksums = |m: &Manifest, table: &str| -> Option<(u64, Vec<String>)> {
            let found = m.tables.get(table)?;
            Some((found.rows, found.files.iter().map(|file| file.checksum.clone()).collect()))
        };
        let same_rows = before.tables.keys().filter(|name| {
            let (one, other) = (checksums(before, name), checksums(after, name));
            one.as_ref().map(|(rows, _)| rows) == other.as_ref().map(|(rows, _)| rows) && one != other
        });
        Self {
            before: before.run_id.clone(),
            after: after.run_id.clone(),
            made_of: changes(made_of(before), made_of(after)),
            config: changes(config(before), config(after)),
            rows: changes(rows(before), rows(after)),
            quality: changes(figures(before), figures(after)),
            seconds: changes(seconds(before), seconds(after)),
            rewritten: same_rows.cloned().collect(),
        }
    }

    /// The topics with a heading each.
    pub fn topics(&self) -> [(&'static str, &[Change]); 5] {
        [
            ("Made of", &self.made_of),
            ("Settings", &self.config),
            ("Rows", &self.rows),
            ("Quality", &self.quality),
            ("Seconds", &self.seconds),
        ]
    }
}

/// Every number, text and flag of the quality figures, by its path.
fn figures(manifest: &Manifest) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for measure in &manifest.quality.data {
        let value = measure.text.clone().map(Value::from).or(measure.value.map(Value::from));
        all.push((format!("data: {}", measure.measure), value.unwrap_or_default()));
    }
    let mut quality = serde_json::to_value(&manifest.quality).unwrap_or_default();
    if let Some(fields) = quality.as_object_mut() {
        fields.remove("data");
        // Rows of tables of their own, which `query` compares.
        fields.remove("value");
    }
    leaves(String::new(), &quality, &mut all);
    all
}

fn leaves(path: String, value: &Value, all: &mut Vec<(String, Value)>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| leaves(below(name), value, all)),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(at, value)| leaves(below(&at.to_string()), value, all));
        }
        leaf => all.push((path, leaf.clone())),
    }
}

/// What is not the same, in the order of `before`, then what is new.
fn changes(before: Vec<(String, Value)>, after: Vec<(String, Value)>) -> Vec<Change> {
    let of = |all: &[(String, Value)], name: &str| {
        all.iter().find(|(known, _)| known == name).map_or(Value::Null, |(_, value)| value.clone())
    };
    let mut seen = BTreeSet::new();
    let names = before.iter().chain(&after).map(|(name, _)| name).filter(|name| seen.insert(*name));
    names
        .map(|name| Change { what: name.clone(), before: of(&before, name), after: of(&after, name) })
        .filter(|change| change.before != change.after)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_named_once_and_what_is_missing_is_null() {
        let before = vec![
            ("same".to_owned(), json!(1)),
            ("other".to_owned(), json!("a")),
            ("gone".to_owned(), json!(2)),
        ];
        let after = vec![
            ("new".to_owned(), json!(true)),
            ("same".to_owned(), json!(1)),
            ("other".to_owned(), json!("b")),
        ];
        let change = |what: &str, before, after| Change { what: what.to_owned(), before, after };
        assert_eq!(
            changes(before, after),
            [
                change("other", json!("a"), json!("b")),
                change("gone", json!(2), Value::Null),
                change("new", Value::Null, json!(true)),
            ]
        );
    }

    #[test]
    fn figures_are_named_by_their_path() {
        let mut all = Vec::new();
        leaves(String::new(), &json!({"offers": {"rules": [{"removed": 3}]}, "segments": 7}), &mut all);
        assert_eq!(all, [("offers.rules.0.removed".to_owned(), json!(3)), ("segments".to_owned(), json!(7))]);
    }
}
