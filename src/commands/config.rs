//! `packwise config show`.

use super::print;
use super::render::{self, Align};
use crate::cli::{ConfigCommand, ConfigCommandArgs};
use crate::config::Layers;
use crate::error::Error;

pub fn run(args: &ConfigCommandArgs, json: bool) -> Result<u8, Error> {
    let ConfigCommand::Show { config, set } = &args.command;
    let mut layers = Layers::defaults()?;
    if let Some(path) = config {
        layers.add_file(path)?;
    }
    for setting in set {
        layers.add_setting(setting)?;
    }
    let entries = layers.entries();
    let text = if json {
        let object: serde_json::Map<String, serde_json::Value> = entries
            .into_iter()
            .map(|(key, value, source)| {
                (key, serde_json::json!({ "value": serde_json::to_value(value).unwrap_or_default(), "source": source }))
            })
            .collect();
        serde_json::to_string_pretty(&object).unwrap_or_default() + "\n"
    } else {
        let rows =
            entries.into_iter().map(|(key, value, source)| vec![key, value.to_string(), source]).collect();
        render::table(&[("key", Align::Left), ("value", Align::Left), ("from", Align::Left)], rows)
            + "\nconfig/default.toml explains every key.\n"
    };
    print(text.as_bytes())?;
    Ok(0)
}
