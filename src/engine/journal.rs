//! What an unfinished run has finished, on scratch disk, so that the next run does not do it again.
//!
//! A file of JSON lines: a head that says which work of which run it is, then one entry a finished piece, each on
//! disk before the next begins. A crash can tear the last line only; it is cut off. A journal of other work
//! (other input, other settings, another program) is no journal.

use chrono::{DateTime, Utc};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Version of the lines; another one is no journal.
const FORMAT: u32 = 1;

/// The journal cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the journal {path}")]
pub struct JournalError {
    path: String,
    #[source]
    source: std::io::Error,
}

/// The run that a journal belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    format: u32,
    /// What the run is made from: equal work gives equal bytes.
    work: String,
    pub run_id: String,
    pub started_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    key: String,
    /// What the piece was made from; it counts only for the same.
    basis: String,
    done: T,
}

/// Where an entry stands in the file.
struct Place {
    basis: String,
    start: u64,
    length: usize,
}

/// A journal that is being read and written. Memory: some 100 bytes an entry.
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
    entries: BTreeMap<String, Place>,
    taken: AtomicU64,
}

/// A journal of an unfinished run, as found.
pub struct Unfinished {
    pub head: Head,
    entries: BTreeMap<String, Place>,
    /// Bytes of whole lines.
    whole: u64,
}

impl Unfinished {
    /// The journal of unfinished work, if there is one of this work. What cannot be read is no journal.
    pub fn read(path: &Path, work: &str) -> Option<Self> {
        let text = std::fs::read(path).ok()?;
        let mut lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let first = lines.next()?;
        let head: Head = serde_json::from_slice(first).ok()?;
        if head.format != FORMAT || head.work != work {
            return None;
        }
        let (mut entries, mut whole) = (BTreeMap::new(), first.len() as u64);
        for line in lines {
            let Ok(entry) = serde_json::from_slice::<Entry<IgnoredAny>>(line) else { break };
            let place = Place { basis: entry.basis, start: whole, length: line.len() };
            entries.insert(entry.key, place);
            whole += line.len() as u64;
        }
        Some(Self { head, entries, whole })
    }
}

impl Journal {
    /// A new journal in the place of any that is there.
    pub fn begin(
        path: &Path,
        work: &str,
        run_id: &str,
        started_at: DateTime<Utc>,
    ) -> Result<Self, JournalError> {
        let head = Head { format: FORMAT, work: work.to_owned(), run_id: run_id.to_owned(), started_at };
        let open = || -> std::io::Result<File> {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let mut file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
            let mut line = serde_json::to_vec(&head)?;
            line.push(b'\n');
            file.write_all(&line)?;
            file.sync_data()?;
            Ok(file)
        };
        Self::with(path, open(), BTreeMap::new())
    }

    /// Goes on with the journal at `path`.
    pub fn resume(path: &Path, unfinished: Unfinished) -> Result<Self, JournalError> {
        let open = || -> std::io::Result<File> {
            let mut file = File::options().read(true).write(true).open(path)?;
            file.set_len(unfinished.whole)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        Self::with(path, open(), unfinished.entries)
    }

    fn with(
        path: &Path,
        file: std::io::Result<File>,
        entries: BTreeMap<String, Place>,
    ) -> Result<Self, JournalError> {
        let path = path.to_owned();
        match file {
            Ok(file) => Ok(Self { path, file: Mutex::new(file), entries, taken: AtomicU64::new(0) }),
            Err(source) => Err(JournalError { path: path.display().to_string(), source }),
        }
    }

    /// What the unfinished run made of a piece, if it finished it from the same basis.
    pub fn finished<T: DeserializeOwned>(&self, key: &str, basis: &str) -> Option<T> {
        let place = self.entries.get(key).filter(|place| place.basis == basis)?;
        let mut line = vec![0; place.length];
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(place.start)).ok()?;
            file.read_exact(&mut line).ok()?;
        }
        serde_json::from_slice::<Entry<T>>(&line).ok().map(|entry| entry.done)
    }

    /// Counts a finished piece that was not done again.
    pub fn took(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// Pieces that were not done again.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Writes down a finished piece. Neither it nor its files need be on the disk yet: what a loss of power takes is
    /// found missing or damaged by the checksums of whoever goes on.
    pub fn finish<T: Serialize>(&self, key: &str, basis: &str, done: &T) -> Result<(), JournalError> {
        let entry = Entry { key: key.to_owned(), basis: basis.to_owned(), done };
        let write = || -> std::io::Result<()> {
            let mut line = serde_json::to_vec(&entry)?;
            line.push(b'\n');
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::End(0))?;
            file.write_all(&line)
        };
        write().map_err(|source| JournalError { path: self.path.display().to_string(), source })
    }

    /// Ends the journal: the run is published. If the file cannot be removed, the run that it names is
    /// published, and so it is no journal any more.
    pub fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
        // The folder too, if this was the only journal.
        let _ = self.path.parent().map(std::fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::scratch::Scratch;

    fn journal(path: &Path) -> Journal {
        let started = DateTime::UNIX_EPOCH;
        let journal = Journal::begin(path, "work", "run", started).unwrap();
        for part in 0..3_u64 {
            journal.finish(&format!("part {part}"), "basis", &vec![part; 3]).unwrap();
        }
        journal
    }

    #[test]
    fn finished_pieces_come_back_for_the_same_work_and_basis_only() {
        let scratch = Scratch::temporary().unwrap();
        let path = scratch.path().join("journal");
        drop(journal(&path));
        assert!(Unfinished::read(&path, "other work").is_none());
        assert!(Unfinished::read(&scratch.path().join("none"), "work").is_none());
        let unfinished = Unfinished::read(&path, "work").unwrap();
        assert_eq!(unfinished.head.run_id, "run");
        let journal = Journal::resume(&path, unfinished).unwrap();
        assert_eq!(journal.finished::<Vec<u64>>("part 1", "basis"), Some(vec![1, 1, 1]));
        assert_eq!(journal.finished::<Vec<u64>>("part 1", "other"), None);
        assert_eq!(journal.finished::<Vec<u64>>("part 3", "basis"), None);
        journal.finish("part 3", "basis", &"more").unwrap();
        let again = Journal::resume(&path, Unfinished::read(&path, "work").unwrap()).unwrap();
        assert_eq!(again.finished::<String>("part 3", "basis"), Some("more".to_owned()));
        assert_eq!(again.finished::<Vec<u64>>("part 2", "basis"), Some(vec![2, 2, 2]));
        again.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_journal_torn_at_any_byte_keeps_its_whole_lines() {
        let scratch = Scratch::temporary().unwrap();
        let path = scratch.path().join("journal");
        drop(journal(&path));
        let text = std::fs::read(&path).unwrap();
        for length in 0..text.len() {
            std::fs::write(&path, &text[..length]).unwrap();
            let lines = text[..length].iter().filter(|byte| **byte == b'\n').count();
            let unfinished = Unfinished::read(&path, "work");
            assert_eq!(unfinished.is_some(), lines > 0);
            let Some(unfinished) = unfinished else { continue };
            let journal = Journal::resume(&path, unfinished).unwrap();
            for part in 0..3_usize {
                let found = journal.finished::<Vec<u64>>(&format!("part {part}"), "basis");
                assert_eq!(found.is_some(), part + 1 < lines, "{length} bytes, part {part}");
            }
            journal.finish("after", "basis", &1).unwrap();
            let again = Unfinished::read(&path, "work").unwrap();
            assert_eq!(again.entries.len(), lines);
        }
    }
}
