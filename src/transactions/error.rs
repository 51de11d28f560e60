//! What can be wrong with the input.

use crate::engine::buckets::BucketError;
use crate::engine::location::LocationError;
use crate::engine::part::PartError;
use crate::spelling::nearest;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;

/// Why transactions or catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error(transparent)]
    Location(#[from] LocationError),
    #[error("cannot read {path}: it is corrupt, truncated, or not what its name says")]
    Unreadable {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot read {path}: the disk or the store failed")]
    Storage {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("none of the {files} files can be read; the first is {path}: {reason}")]
    AllLeftOut { files: usize, path: String, reason: String },
    #[error("{path} changed while it was read")]
    Changed { path: String },
    #[error("{path} is empty: it has no header line")]
    NoHeader { path: String },
    #[error("{path} has no column `{column}` (for {key}); its columns are {columns}")]
    MissingColumn { path: String, column: String, key: String, columns: String, nearest: Option<String> },
    #[error("column `{column}` of {path} is {found}, but {role} takes {wanted}")]
    WrongType { path: String, column: String, role: &'static str, found: String, wanted: &'static str },
    #[error("package `{code}` is twice in the catalogue {path}")]
    DuplicatePackage { path: String, code: String },
    #[error("the catalogue {path} has no rows")]
    EmptyCatalogue { path: String },
    #[error("package {code} in {path}: column `{column}` holds `{value}`: {wanted}")]
    CatalogueValue { path: String, code: String, column: String, value: String, wanted: String },
    #[error("none of the {rows} rows read is a valid transaction")]
    NoValidRows { rows: u64 },
    #[error(
        "{rejected} of {rows} rows ({:.1} %) were rejected, more than contract.max_rejected_share = {limit} allows; \
         the most frequent reason, {count} times: {reason}",
        share * 100.0
    )]
    TooManyRejected { rejected: u64, rows: u64, share: f64, limit: f64, reason: &'static str, count: u64 },
    #[error("a batch of the input could not be converted")]
    Batch(#[source] ArrowError),
    #[error("a mapped column was lost on the way; this is a defect of packwise")]
    LostColumn,
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Part(#[from] PartError),
}

impl InputError {
    pub(super) fn batch(error: ArrowError) -> Self {
        Self::Batch(error)
    }

    pub(super) fn lost_column() -> Self {
        Self::LostColumn
    }

    pub(super) fn missing_column(path: &str, column: &str, key: &str, schema: &Schema) -> Self {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let nearest = nearest(column, names.iter().copied()).map(str::to_owned);
        Self::MissingColumn {
            path: path.to_owned(),
            column: column.to_owned(),
            key: key.to_owned(),
            columns: names.join(", "),
            nearest,
        }
    }

    /// The file that cannot be read, if that is what failed, and for a fault of its own.
    pub fn bad_file(&self) -> Option<&str> {
        match self {
            Self::Unreadable { path, .. } | Self::NoHeader { path } => Some(path),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Location(LocationError::NotFound { .. }) => {
                Some("check the path; relative paths start at the folder where packwise is started".into())
            }
            Self::MissingColumn { columns, key, .. } if columns.contains([';', '\t', '|']) => {
                let section = key.split('.').next().unwrap_or_default();
                Some(format!(
                    "the columns seem to be separated by another character: set {section}.delimiter"
                ))
            }
            Self::EmptyCatalogue { .. } => {
                Some("leave catalogue.path empty to do without a catalogue".into())
            }
            Self::Changed { .. } => Some(
                "write dumps under another name, rename them when they are complete, and run again".into(),
            ),
            Self::NoHeader { .. } => Some("remove or replace the file, then run again".into()),
            Self::MissingColumn { nearest: Some(nearest), key, .. } => {
                Some(format!("did you mean `{nearest}`? Set {key} = \"{nearest}\""))
            }
            Self::MissingColumn { key, .. } => Some(format!("set {key} to one of the columns of the file")),
            Self::DuplicatePackage { .. } => Some("keep one row of it".into()),
            Self::WrongType { role, .. } => {
                Some(format!("map `{role}` to another column, or convert this one"))
            }
            Self::Unreadable { .. } => Some("remove or replace the file, then run again".into()),
            Self::AllLeftOut { .. } => Some("replace the files, then run again".into()),
            Self::Storage { .. } => {
                Some("check the file's permissions and the storage, then run again".into())
            }
            Self::NoValidRows { .. } | Self::TooManyRejected { .. } => {
                Some("`packwise check` prints every reason with its count; nothing was published".into())
            }
            _ => None,
        }
    }
}
