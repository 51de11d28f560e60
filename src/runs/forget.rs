//! Customers removed from published runs, and kept out of later ones.
//!
//! `_forgotten/` holds the lists, one file a request, only ever created: digests of ids, never ids
//! ([`crate::privacy::forgotten`]). A run is purged by new files without the customers' rows beside the old ones, then a
//! manifest with the next seal (`manifest-<n>.json`), and then the removal of what the new manifest does not list.
//! Readers go by the manifest with the highest seal. A crash leaves the old run or the new one, and the next request
//! puts the rest in order.

use super::manifest::TableFiles;
use super::{MANIFEST, Output, RunError};
use crate::engine::part::{PartFile, PartReader, PartWriter, RunFolder, remote_path};
use crate::privacy::forgotten::{Digests, Forgotten};
use crate::privacy::pseudonyms::Pseudonyms;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The folder of the lists.
const FORGOTTEN: &str = "_forgotten";
/// Columns with ids of customers.
const ID_COLUMNS: [&str; 2] = ["customer_id", "neighbour_id"];

/// One list.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    at: String,
    /// The id of the key that the digests are under.
    key_id: String,
    customers: Vec<String>,
}

/// What a request did: kept beside the list, without ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    pub at: String,
    /// Customers of the request.
    pub asked: usize,
    /// Customers on all lists now.
    pub forgotten: usize,
    pub runs: Vec<Purged>,
}

/// A run that was sealed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Purged {
    pub run_id: String,
    pub seal: u64,
    pub rows: u64,
    pub files: Vec<Rewritten>,
}

/// A file that was written again, with its checksums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rewritten {
    pub before: String,
    pub checksum_before: String,
    /// None: nothing was left.
    pub after: Option<String>,
    pub checksum_after: Option<String>,
    pub rows_removed: u64,
}

impl Output {
    /// The customers on all lists; None without any. `pseudonyms` is the key that they are under, if the input's
    /// ids become pseudonyms.
    pub fn forgotten(&self, pseudonyms: Option<&Pseudonyms>) -> Result<Option<Forgotten>, RunError> {
        let mut lists = Vec::new();
        for number in self.list_numbers()? {
            let path = self.list_path(number);
            let bytes = self.read(&path)?.unwrap_or_default();
            let list: List =
                serde_json::from_slice(&bytes).map_err(|source| RunError::BadList { number, source })?;
            lists.push(list);
        }
        if lists.is_empty() {
            return Ok(None);
        }
        let digests = match pseudonyms {
            Some(key) => Digests::new(key.clone()),
            None => match self.digest_key()? {
                Some(key) => Digests::new(key),
                None => return Err(RunError::NoDigestKey { path: self.name.clone() }),
            },
        };
        // Nobody may come back because a key has changed.
        if let Some(other) = lists.iter().find(|list| list.key_id != digests.key_id()) {
            return Err(RunError::OtherListKey {
                of_list: other.key_id.clone(),
                at_hand: digests.key_id().to_owned(),
            });
        }
        let customers = lists.iter().flat_map(|list| &list.customers).map(String::as_str);
        Ok(Some(Forgotten::new(digests, customers)))
    }

    /// Puts customers on a new list and purges every published run of all who are on any. The caller holds the lock.
    pub fn forget(
        &self,
        ids: &[String],
        pseudonyms: Option<&Pseudonyms>,
        staging: &Path,
        at: DateTime<Utc>,
    ) -> Result<Receipt, RunError> {
        let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
        // A list under another key would keep this one from being read: it must be known first.
        self.forgotten(pseudonyms)?;
        let digests = Digests::new(match pseudonyms {
            Some(key) => key.clone(),
            None => self.digest_key_or_new()?,
        });
        let mut customers: Vec<String> = ids.iter().map(|id| digests.of(id)).collect();
        customers.sort_unstable();
        customers.dedup();
        let asked = customers.len();
        let list = List { at: at.clone(), key_id: digests.key_id().to_owned(), customers };
        let text = to_json(&list, "_forgotten")?;
        let mut number = self.list_numbers()?.pop().unwrap_or(0) + 1;
        while !self.put_new(&self.list_path(number), &text)? {
            number += 1;
        }
        let Some(forgotten) = self.forgotten(pseudonyms)? else { return Err(self.unknown_list(number)) };
        let mut runs = Vec::new();
        for id in self.list()? {
            runs.extend(self.purge(&id, &forgotten, staging)?);
        }
        if let Some(folder) = &self.local {
            // What was stopped is not gone on with: its offers may be of those who are gone.
            super::remove_unfinished(&folder.join("runs"), None)
                .map_err(|source| super::unwritable(&self.name, source))?;
        }
        let receipt = Receipt { at, asked, forgotten: forgotten.len(), runs };
        let path = remote_path(&self.prefix, &format!("{FORGOTTEN}/receipt-{number}.json"));
        self.put_new(&path, &to_json(&receipt, "receipt")?)?;
        Ok(receipt)
    }

    /// Removes customers from a run; None if none of them was in it.
    fn purge(&self, id: &str, forgotten: &Forgotten, staging: &Path) -> Result<Option<Purged>, RunError> {
        let mut manifest = self.manifest(Some(id))?;
        let folder = self.folder(id, staging);
        let is_out = |text: &str| match manifest.pseudonyms {
            Some(_) => forgotten.has_pseudonym(text),
            None => forgotten.has(text),
        };
        let (mut files, mut tables) = (Vec::new(), manifest.tables.clone());
        for (name, table) in &mut tables {
            let columns: Vec<&str> = table
                .columns
                .iter()
                .map(|(column, _)| column.as_str())
                .filter(|c| ID_COLUMNS.contains(c))
                .collect();
            if columns.is_empty() {
                continue;
            }
            let mut kept = Vec::new();
            for file in &table.files {
                let purged =
                    self.rewrite((&folder, name), table, file, &columns, manifest.sealed + 1, &is_out)?;
                match purged {
                    None => kept.push(file.clone()),
                    Some((after, rows_removed)) => {
                        files.push(Rewritten {
                            before: file.path.clone(),
                            checksum_before: file.checksum.clone(),
                            after: after.as_ref().map(|after| after.path.clone()),
                            checksum_after: after.as_ref().map(|after| after.checksum.clone()),
                            rows_removed,
                        });
                        kept.extend(after);
                    }
                }
            }
            table.rows = kept.iter().map(|file| file.rows).sum();
            table.bytes = kept.iter().map(|file| file.bytes).sum();
            table.files = kept;
        }
        if !files.is_empty() {
            folder.settle()?;
            manifest.tables = tables;
            manifest.sealed += 1;
            let path = self.run_path(id, &sealed_name(manifest.sealed));
            if !self.put_new(&path, &to_json(&manifest, id)?)? {
                return Err(RunError::Published { id: id.to_owned() });
            }
        }
        // Also what an earlier request was stopped before.
        self.remove_unlisted(id, &manifest)?;
        let rows = files.iter().map(|file| file.rows_removed).sum();
        Ok((!files.is_empty()).then(|| Purged { run_id: id.to_owned(), seal: manifest.sealed, rows, files }))
    }

    /// Writes a file again without some customers' rows, if it has any; with how many were left out.
    fn rewrite(
        &self,
        (folder, table): (&RunFolder, &str),
        of: &TableFiles,
        file: &PartFile,
        id_columns: &[&str],
        seal: u64,
        is_out: &dyn Fn(&str) -> bool,
    ) -> Result<Option<(Option<PartFile>, u64)>, RunError> {
        let mut removed = 0;
        for batch in PartReader::open(folder, file, id_columns, &self.runtime)? {
            removed +=
                rows_without(&batch?, id_columns, is_out).iter().filter(|keep| *keep == Some(false)).count();
        }
        if removed == 0 {
            return Ok(None);
        }
        let columns: Vec<&str> = of.columns.iter().map(|(column, _)| column.as_str()).collect();
        let mut writer: Option<PartWriter> = None;
        for batch in PartReader::open(folder, file, &columns, &self.runtime)? {
            let batch = batch?;
            let keep = rows_without(&batch, id_columns, is_out);
            let kept = filter_record_batch(&batch, &keep)
                .map_err(|source| RunError::Purge { path: file.path.clone(), source })?;
            if kept.num_rows() == 0 {
                continue;
            }
            let open = match &mut writer {
                Some(open) => open,
                none => none.insert(PartWriter::rewrite(folder, table, &file.path, seal, kept.schema())?),
            };
            open.write(&kept)?;
        }
        let after = writer.map(PartWriter::finish).transpose()?;
        Ok(Some((after, removed as u64)))
    }

    /// The key of digests without pseudonyms, if there is one.
    fn digest_key(&self) -> Result<Option<Pseudonyms>, RunError> {
        let Some(bytes) = self.read(&self.digest_key_path())? else { return Ok(None) };
        match blake3::Hash::from_hex(bytes.trim_ascii()) {
            Ok(key) => Ok(Some(Pseudonyms::new(*key.as_bytes()))),
            Err(_) => Err(RunError::NoDigestKey { path: self.name.clone() }),
        }
    }

    fn digest_key_or_new(&self) -> Result<Pseudonyms, RunError> {
        if let Some(key) = self.digest_key()? {
            return Ok(key);
        }
        let key =
            crate::privacy::pseudonyms::random().map_err(|source| super::unwritable(&self.name, source))?;
        let text = format!("{}\n", blake3::Hash::from_bytes(key).to_hex());
        self.put_new(&self.digest_key_path(), text.as_bytes())?;
        // Somebody else's, if it was quicker.
        self.digest_key()?.ok_or_else(|| RunError::NoDigestKey { path: self.name.clone() })
    }

    fn digest_key_path(&self) -> object_store::path::Path {
        remote_path(&self.prefix, &format!("{FORGOTTEN}/key"))
    }

    fn list_path(&self, number: u64) -> object_store::path::Path {
        remote_path(&self.prefix, &format!("{FORGOTTEN}/{number}.json"))
    }

    fn list_numbers(&self) -> Result<Vec<u64>, RunError> {
        self.numbers(FORGOTTEN)
    }

    fn unknown_list(&self, number: u64) -> RunError {
        RunError::LogGone { number, path: self.name.clone() }
    }
}

/// Which rows have none of the customers in any of their id columns.
fn rows_without(batch: &RecordBatch, id_columns: &[&str], is_out: &dyn Fn(&str) -> bool) -> BooleanArray {
    let columns: Vec<_> = id_columns.iter().filter_map(|name| batch.column_by_name(name)).collect();
    let texts: Vec<_> = columns
        .iter()
        .filter_map(|column| ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default()).ok())
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            let is_gone = |(column, text): (&&arrow::array::ArrayRef, &ArrayFormatter)| {
                column.is_valid(row) && is_out(text.value(row).to_string().trim())
            };
            Some(!columns.iter().zip(&texts).any(is_gone))
        })
        .collect()
}

/// The name of a manifest by its seal.
pub(super) fn sealed_name(seal: u64) -> String {
    match seal {
        0 => MANIFEST.to_owned(),
        seal => format!("manifest-{seal}.json"),
    }
}

/// The seal of a manifest by its name.
pub(super) fn seal_of(name: &str) -> Option<u64> {
    if name == MANIFEST {
        return Some(0);
    }
    name.strip_prefix("manifest-")?.strip_suffix(".json")?.parse().ok()
}

fn to_json(value: &impl Serialize, what: &str) -> Result<Vec<u8>, RunError> {
    serde_json::to_vec_pretty(value).map_err(|source| RunError::BadManifest { id: what.to_owned(), source })
}
