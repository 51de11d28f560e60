//! Files named by a path, folder, glob or URL, with what identifies them.

use super::stores;
use futures::{StreamExt, TryStreamExt};
use glob::Pattern;
use object_store::path::Path as StorePath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use percent_encoding::percent_decode_str;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Why a path or URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    #[error("{what} not found: {path}")]
    NotFound { what: &'static str, path: String },
    #[error("{path} holds no {what} files ({endings})")]
    Empty { what: &'static str, path: String, endings: &'static str },
    #[error("no file matches the pattern {pattern}")]
    NoMatch { pattern: String },
    #[error("{path} is not a usable pattern")]
    Pattern {
        path: String,
        #[source]
        source: glob::PatternError,
    },
    #[error("{url} is not a usable URL")]
    Url {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot list {path}")]
    List {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Where a file's bytes are.
#[derive(Debug, Clone)]
pub enum Location {
    Local(PathBuf),
    Remote { store: Arc<dyn ObjectStore>, path: StorePath },
}

/// A file of input, with what a fingerprint needs.
#[derive(Debug, Clone)]
pub struct InputFile {
    pub location: Location,
    /// As a user would write it.
    pub name: String,
    pub bytes: u64,
    /// Last change, in milliseconds since 1970; in an object store to the second, as not every answer has more.
    pub modified: i64,
    /// The version of an object, where the store tells it.
    pub tag: Option<String>,
}

/// Remote files that are looked at together.
const LOOKS: usize = 32;
/// What Hive writes for a null partition value.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// The endings of files that are taken from a folder.
const ENDINGS: [&str; 8] = [".parquet", ".pq", ".csv", ".csv.gz", ".csv.zst", ".tsv", ".txt", ".csv.zstd"];
const ENDINGS_TEXT: &str = ".parquet, .csv, .csv.gz, .csv.zst";

/// Whether text is a URL with a scheme rather than a path.
pub fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '-')
    })
}

/// Every file that `path` names, sorted by name. `what` says in errors what was looked for.
pub fn list(
    path: &str,
    what: &'static str,
    runtime: &tokio::runtime::Handle,
) -> Result<Vec<InputFile>, LocationError> {
    let mut files = match path.strip_prefix("file://") {
        Some(local) => list_local(local, what)?,
        None if is_url(path) => list_remote(path, what, runtime)?,
        None => list_local(path, what)?,
    };
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The first of `files` whose size or time of change is another than when it was listed, or that is gone.
pub fn first_changed<'a>(
    files: impl Iterator<Item = &'a InputFile>,
    runtime: &tokio::runtime::Handle,
) -> Option<&'a InputFile> {
    let looks = files.map(|file| async move {
        let same = match &file.location {
            Location::Local(path) => local_file(path.clone())
                .is_ok_and(|now| (now.bytes, now.modified) == (file.bytes, file.modified)),
            Location::Remote { store, path } => store.head(path).await.is_ok_and(|now| {
                let same_tag = now.e_tag.is_none() || file.tag.is_none() || now.e_tag == file.tag;
                same_tag && (now.size, to_the_second(&now)) == (file.bytes, file.modified)
            }),
        };
        (!same).then_some(file)
    });
    let looks = futures::stream::iter(looks).buffered(LOOKS).filter_map(std::future::ready);
    runtime.block_on(async { std::pin::pin!(looks).next().await })
}

fn has_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

fn is_data_file(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let last = lower.rsplit('/').next().unwrap_or(&lower);
    !last.starts_with(['.', '_']) && ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

fn list_local(path: &str, what: &'static str) -> Result<Vec<InputFile>, LocationError> {
    let mut found = Vec::new();
    if has_pattern(path) && !Path::new(path).exists() {
        let matches =
            glob::glob(path).map_err(|source| LocationError::Pattern { path: path.to_owned(), source })?;
        for entry in matches {
            let entry = entry.map_err(|error| LocationError::List {
                path: error.path().display().to_string(),
                source: Box::new(error),
            })?;
            if entry.is_file() {
                found.push(local_file(entry)?);
            }
        }
        if found.is_empty() {
            return Err(LocationError::NoMatch { pattern: path.to_owned() });
        }
    } else if Path::new(path).is_dir() {
        walk(Path::new(path), &mut found)?;
        if found.is_empty() {
            return Err(LocationError::Empty { what, path: path.to_owned(), endings: ENDINGS_TEXT });
        }
    } else if Path::new(path).exists() {
        found.push(local_file(PathBuf::from(path))?);
    } else {
        return Err(LocationError::NotFound { what, path: path.to_owned() });
    }
    Ok(found)
}

fn walk(folder: &Path, found: &mut Vec<InputFile>) -> Result<(), LocationError> {
    let fail = |source: std::io::Error| LocationError::List {
        path: folder.display().to_string(),
        source: Box::new(source),
    };
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if is_hidden(&name) {
            continue;
        }
        if path.is_dir() {
            walk(&path, found)?;
        } else if is_data_file(&name) {
            found.push(local_file(path)?);
        }
    }
    Ok(())
}

fn local_file(path: PathBuf) -> Result<InputFile, LocationError> {
    let metadata = std::fs::metadata(&path).map_err(|source| LocationError::List {
        path: path.display().to_string(),
        source: Box::new(source),
    })?;
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    Ok(InputFile {
        name: path.display().to_string(),
        bytes: metadata.len(),
        modified,
        tag: None,
        location: Location::Local(path),
    })
}

/// The last change of an object, in milliseconds since 1970.
fn to_the_second(object: &ObjectMeta) -> i64 {
    object.last_modified.timestamp() * 1_000
}

/// Whether a folder's name says that what is in it is not for readers.
fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

fn list_remote(
    text: &str,
    what: &'static str,
    runtime: &tokio::runtime::Handle,
) -> Result<Vec<InputFile>, LocationError> {
    // A URL parser would escape the glob characters, so the prefix before them is opened and the
    // rest is matched against the names that the store lists.
    let base = match text.find(['*', '?', '[']) {
        Some(first) => &text[..text[..first].rfind('/').unwrap_or(first)],
        None => text,
    };
    let (store, prefix) = stores::open_url(base)?;
    let fail =
        |source: object_store::Error| LocationError::List { path: text.to_owned(), source: Box::new(source) };
    let root = base.strip_suffix(prefix.as_ref()).unwrap_or(base).trim_end_matches('/').to_owned();
    let pattern = if base.len() < text.len() {
        let relative = text.strip_prefix(root.as_str()).unwrap_or(text).trim_start_matches('/');
        Some(
            Pattern::new(relative)
                .map_err(|source| LocationError::Pattern { path: text.to_owned(), source })?,
        )
    } else {
        None
    };
    let listed = runtime.block_on(async {
        if pattern.is_none()
            && let Ok(single) = store.head(&prefix).await
        {
            return Ok(vec![single]);
        }
        store.list(Some(&prefix)).try_collect::<Vec<_>>().await
    });
    let files: Vec<InputFile> = listed
        .map_err(fail)?
        .into_iter()
        .filter(|object| {
            let name = object.location.as_ref();
            pattern.as_ref().map_or_else(
                || {
                    let below = name.strip_prefix(prefix.as_ref()).unwrap_or(name);
                    object.location == prefix || is_data_file(name) && !below.split('/').any(is_hidden)
                },
                |pattern| {
                    pattern.matches_with(
                        name,
                        glob::MatchOptions {
                            require_literal_separator: true,
                            ..glob::MatchOptions::default()
                        },
                    )
                },
            )
        })
        .map(|object| InputFile {
            name: format!("{root}/{}", object.location),
            bytes: object.size,
            modified: to_the_second(&object),
            tag: object.e_tag,
            location: Location::Remote { store: store.clone(), path: object.location },
        })
        .collect();
    if files.is_empty() {
        return Err(match pattern {
            Some(_) => LocationError::NoMatch { pattern: text.to_owned() },
            None => LocationError::NotFound { what, path: text.to_owned() },
        });
    }
    Ok(files)
}

/// The `key=value` folders in a file's path (Hive layout), innermost last.
pub fn hive_values(name: &str) -> Vec<(String, Option<String>)> {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    parts
        .into_iter()
        .filter_map(|part| part.split_once('='))
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| {
            let value = percent_decode_str(value).decode_utf8_lossy();
            (key.to_owned(), (value != HIVE_NULL).then(|| value.into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hive_folders_give_columns() {
        assert_eq!(
            hive_values("dumps/date=2026-01-01/channel=A%20B/x=__HIVE_DEFAULT_PARTITION__/a=b.parquet"),
            vec![
                ("date".into(), Some("2026-01-01".into())),
                ("channel".into(), Some("A B".into())),
                ("x".into(), None)
            ]
        );
    }

    #[test]
    fn urls_are_told_from_paths() {
        assert!(is_url("s3://bucket/a"));
        assert!(is_url("file:///tmp"));
        assert!(!is_url("dumps/*.parquet"));
        assert!(!is_url("C:\\dumps"));
    }
}
