//! The layers of a configuration (defaults, file, `--set`) merged key by key, remembering for every
//! key which layer its value came from.

use super::ConfigError;
use std::collections::BTreeMap;
use std::path::Path;
use toml::{Table, Value};

/// The defaults with their documentation; also the list of every key there is.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// A merged configuration: the table to read, and the source of each dotted key.
#[derive(Debug, Clone)]
pub struct Layers {
    pub table: Table,
    sources: BTreeMap<String, String>,
}

impl Layers {
    /// The defaults alone.
    pub fn defaults() -> Result<Self, ConfigError> {
        let table: Table = DEFAULTS.parse().map_err(|source| ConfigError::Syntax {
            path: "config/default.toml (embedded)".into(),
            source: Box::new(source),
        })?;
        let mut sources = BTreeMap::new();
        for (key, _) in leaves(&table, "") {
            sources.insert(key, "default".to_owned());
        }
        Ok(Self { table, sources })
    }

    /// Adds a TOML file over what is there.
    pub fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let file: Table = text
            .parse()
            .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
        self.merge(&file, &path.display().to_string())
    }

    /// Adds one `key=value` from the command line; the value is TOML, or plain text.
    pub fn add_setting(&mut self, setting: &str) -> Result<(), ConfigError> {
        let (key, text) =
            setting.split_once('=').ok_or_else(|| ConfigError::Setting { setting: setting.to_owned() })?;
        let key = key.trim();
        let value = match format!("value = {}", text.trim()).parse::<Table>() {
            Ok(mut parsed) => parsed.remove("value").unwrap_or_else(|| Value::String(text.to_owned())),
            Err(_) => Value::String(text.trim().to_owned()),
        };
        // A key that takes text keeps the text even when it reads as a number ("--set output.path=1").
        let value = match (lookup(&self.table, key), value) {
            (Some(Value::String(_)), value) if !value.is_str() => Value::String(text.trim().to_owned()),
            (_, value) => value,
        };
        let mut nested = value;
        for part in key.rsplit('.') {
            let mut table = Table::new();
            table.insert(part.to_owned(), nested);
            nested = Value::Table(table);
        }
        match nested {
            Value::Table(table) => self.merge(&table, "--set"),
            _ => Err(ConfigError::Setting { setting: setting.to_owned() }),
        }
    }

    /// Every key with its value and where the value came from, in the order of the documentation.
    pub fn entries(&self) -> Vec<(String, Value, String)> {
        leaves(&self.table, "")
            .into_iter()
            .map(|(key, value)| {
                let source = self.sources.get(&key).cloned().unwrap_or_default();
                (key, value, source)
            })
            .collect()
    }

    fn merge(&mut self, layer: &Table, source: &str) -> Result<(), ConfigError> {
        for (key, value) in leaves(layer, "") {
            let Some(known) = lookup(&self.table, &key) else {
                return Err(ConfigError::UnknownKey {
                    nearest: self.nearest(&key),
                    key,
                    source_name: source.to_owned(),
                });
            };
            let value = same_type(known, value, &key, source)?;
            set(&mut self.table, &key, value);
            self.sources.insert(key, source.to_owned());
        }
        Ok(())
    }

    fn nearest(&self, key: &str) -> String {
        let distance = |known: &String| {
            let same_leaf = known.rsplit('.').next() == key.rsplit('.').next();
            (!same_leaf, strsim::damerau_levenshtein(known, key))
        };
        self.sources.keys().min_by_key(|known| distance(known)).cloned().unwrap_or_default()
    }
}

/// All values that are not tables, with dotted keys, in order.
fn leaves(table: &Table, prefix: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        let dotted = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) if !inner.is_empty() => found.extend(leaves(inner, &dotted)),
            Value::Table(_) => {}
            other => found.push((dotted, other.clone())),
        }
    }
    found
}

fn lookup<'a>(table: &'a Table, dotted: &str) -> Option<&'a Value> {
    let mut parts = dotted.split('.');
    let mut value = table.get(parts.next()?)?;
    for part in parts {
        value = value.as_table()?.get(part)?;
    }
    Some(value)
}

fn set(table: &mut Table, dotted: &str, value: Value) {
    match dotted.split_once('.') {
        None => {
            table.insert(dotted.to_owned(), value);
        }
        Some((head, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(head) {
                set(inner, rest, value);
            }
        }
    }
}

/// A value of another type than the default's is refused here, where its key and source are known.
fn same_type(known: &Value, value: Value, key: &str, source: &str) -> Result<Value, ConfigError> {
    match (known, &value) {
        (Value::Float(_), Value::Integer(integer)) => Ok(Value::Float(*integer as f64)),
        (Value::String(_), Value::Datetime(datetime)) => Ok(Value::String(datetime.to_string())),
        (known, value_) if known.same_type(value_) => Ok(value),
        _ => Err(ConfigError::WrongType {
            key: key.to_owned(),
            value: value.to_string(),
            expected: known.type_str(),
            source_name: source.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_win_and_are_named() {
        let mut layers = Layers::defaults().unwrap();
        layers.add_setting("recommendations.top=3").unwrap();
        layers.add_setting("resources.memory=512MiB").unwrap();
        layers.add_setting("output.path=2026").unwrap();
        let entries = layers.entries();
        let of = |key: &str| entries.iter().find(|(k, _, _)| k == key).cloned().unwrap();
        assert_eq!(of("recommendations.top").1, Value::Integer(3));
        assert_eq!(of("recommendations.top").2, "--set");
        assert_eq!(of("resources.memory").1, Value::String("512MiB".into()));
        assert_eq!(of("output.path").1, Value::String("2026".into()));
        assert_eq!(of("run.seed").2, "default");
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let mut layers = Layers::defaults().unwrap();
        let error = layers.add_setting("recommendation.top=3").unwrap_err();
        assert!(
            matches!(error, ConfigError::UnknownKey { ref nearest, .. } if nearest == "recommendations.top")
        );
        let error = layers.add_setting("transactions.columns.custmer=A").unwrap_err();
        assert!(
            matches!(error, ConfigError::UnknownKey { ref nearest, .. } if nearest == "transactions.columns.customer")
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_with_its_key() {
        let mut layers = Layers::defaults().unwrap();
        let error = layers.add_setting("recommendations.top=many").unwrap_err();
        assert!(matches!(error, ConfigError::WrongType { ref key, .. } if key == "recommendations.top"));
        layers.add_setting("features.half_life_days=30").unwrap();
    }
}
