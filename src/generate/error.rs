//! What can stop a generation.

use std::io;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use parquet::errors::ParquetError;

/// A reason why no data set was made. Whatever the reason, nothing is left in the output folder but
/// the folder itself. The message says what failed and with which value; [`hint`](Self::hint) says
/// what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// An option is outside what the generator can make.
    #[error("{option} = {value} is out of range: it must be from {least} to {most}")]
    OutOfRange {
        /// The option's name, as in [`Options`](super::Options).
        option: &'static str,
        /// What was asked.
        value: u64,
        /// The least that is accepted.
        least: u64,
        /// The most that is accepted.
        most: u64,
    },
    /// The days asked are not all dates that common readers of Parquet can hold.
    #[error("{days} days from {start} leave the dates that can be written ({least} to {most})")]
    Period {
        /// The first day asked.
        start: NaiveDate,
        /// How many days were asked.
        days: u32,
        /// The first date accepted.
        least: NaiveDate,
        /// The last date accepted.
        most: NaiveDate,
    },
    /// The output folder already holds a data set.
    #[error("{} already exists", path.display())]
    NotEmpty {
        /// What is in the way.
        path: PathBuf,
    },
    /// Another generation works in the output folder, or one was killed there.
    #[error("{} exists: another `generate` works in this folder, or was killed in it", path.display())]
    InUse {
        /// The working folder found.
        path: PathBuf,
    },
    /// The file system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A Parquet file could not be written.
    #[error("cannot write the Parquet file {}", path.display())]
    Parquet {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: ParquetError,
    },
}

impl GenerateError {
    /// What the user can do about it, where there is something to say beyond the message.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::OutOfRange { option: "threads", .. } => Some("0 takes all cores"),
            Self::OutOfRange { .. } => Some("choose a value in the range"),
            Self::Period { .. } => Some("choose another --start or fewer --days"),
            Self::NotEmpty { .. } => Some("choose another --out, or remove the data set that is there"),
            Self::InUse { .. } => Some("if no other `generate` is running, remove that folder and try again"),
            Self::Io { .. } | Self::Parquet { .. } => {
                Some("check that --out can be written and that the disk has room")
            }
        }
    }

    /// For `map_err` on a file-system call: `action` is a verb that reads well before the path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }

    /// For `map_err` on a call of the Parquet writer.
    pub(super) fn parquet(path: &Path) -> impl FnOnce(ParquetError) -> Self {
        move |source| Self::Parquet { path: path.to_path_buf(), source }
    }
}
