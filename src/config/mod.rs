//! Configuration: [`layers`] merge defaults, file and `--set`; [`typed`] is the result as written;
//! [`resolve`] checks every range and reports all problems at once.

mod check;
mod contract;
pub mod layers;
mod object_store;
mod privacy;
pub mod resolve;
mod settings;
pub mod typed;
mod value;

pub use layers::Layers;
pub use resolve::Config;

use std::path::{Path, PathBuf};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the configuration file {} is not valid TOML", path.display())]
    Syntax {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("unknown key `{key}` in {source_name}: did you mean `{nearest}`?")]
    UnknownKey { key: String, nearest: String, source_name: String },
    #[error("key `{key}` in {source_name} has the value {value}, but it takes a value of type {expected}")]
    WrongType { key: String, value: String, expected: &'static str, source_name: String },
    #[error("`--set {setting}` is not of the form key=value")]
    Setting { setting: String },
    #[error("the configuration has {} problem{}:{}", problems.len(), if problems.len() == 1 { "" } else { "s" }, list(problems))]
    Invalid { problems: Vec<Problem> },
    #[error("the merged configuration cannot be read")]
    Shape(#[source] Box<toml::de::Error>),
}

/// One value that cannot be used: which key, what it holds, what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub value: String,
    pub wanted: String,
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("\n  {} = {}: {}", p.key, p.value, p.wanted)).collect()
}

/// Reads defaults, the file if there is one, and `--set` in this order, and checks the result.
pub fn load(file: Option<&Path>, settings: &[String]) -> Result<(Config, Layers), ConfigError> {
    let mut layers = Layers::defaults()?;
    if let Some(path) = file {
        layers.add_file(path)?;
    }
    for setting in settings {
        layers.add_setting(setting)?;
    }
    let file: typed::File = toml::Value::Table(layers.table.clone())
        .try_into()
        .map_err(|source| ConfigError::Shape(Box::new(source)))?;
    let config = Config::resolve(file)?;
    Ok((config, layers))
}
