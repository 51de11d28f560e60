//! The output folder: nothing is seen in it until everything is there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::GenerateError;

/// Where the data set goes, with a working folder in it that disappears with this value. Files are
/// made in the working folder and moved out at the end, so a failed or killed generation leaves no
/// data that could be taken for a whole set.
#[derive(Debug)]
pub(super) struct Workspace {
    out: PathBuf,
    work: PathBuf,
}

/// What a data set is made of, in the order in which it appears: the purchases last.
pub(super) const PACKAGES: &str = "packages.parquet";
pub(super) const TRUTH: &str = "truth.parquet";
pub(super) const TASTES: &str = "truth_tastes.parquet";
pub(super) const TRANSACTIONS: &str = "transactions";
const ALL: [&str; 4] = [PACKAGES, TRUTH, TASTES, TRANSACTIONS];
const WORK: &str = ".tmp";

impl Workspace {
    /// Makes the folder if there is none, checks that no data set is in it, and takes it for this
    /// generation alone.
    pub(super) fn claim(out: &Path) -> Result<Self, GenerateError> {
        fs::create_dir_all(out).map_err(GenerateError::io("create the folder", out))?;
        for name in ALL {
            let path = out.join(name);
            if is_taken(&path).map_err(GenerateError::io("look at", &path))? {
                return Err(GenerateError::NotEmpty { path });
            }
        }
        let work = out.join(WORK);
        // Making a folder fails if it exists: of two generations only one gets it.
        match fs::create_dir(&work) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(GenerateError::InUse { path: work });
            }
            outcome => outcome.map_err(GenerateError::io("create the folder", &work))?,
        }
        let workspace = Self { out: out.to_path_buf(), work };
        let days = workspace.draft(TRANSACTIONS);
        fs::create_dir(&days).map_err(GenerateError::io("create the folder", &days))?;
        Ok(workspace)
    }

    /// The working folder, for what is not to be kept.
    pub(super) fn scratch(&self) -> &Path {
        &self.work
    }

    /// Where a part of the data set is made.
    pub(super) fn draft(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Where a part of the data set will be.
    pub(super) fn published(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// Moves all parts to their places.
    pub(super) fn publish(&self) -> Result<(), GenerateError> {
        for name in ALL {
            let path = self.published(name);
            // An empty folder may be there; a folder can be moved over it only on some systems.
            if path.is_dir() {
                fs::remove_dir(&path).map_err(GenerateError::io("replace", &path))?;
            }
            fs::rename(self.draft(name), &path).map_err(GenerateError::io("move into place", &path))?;
        }
        Ok(())
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What cannot be removed is found, and named, by the next generation.
        let _ = fs::remove_dir_all(&self.work);
    }
}

/// Whether there is a file, or a folder with anything in it.
fn is_taken(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Folder;
    use super::*;

    #[test]
    fn a_generation_that_stops_half_way_leaves_an_empty_folder() {
        let folder = Folder::new("half-way");
        let workspace = Workspace::claim(folder.path()).expect("an empty folder");
        fs::write(workspace.draft(PACKAGES), "half").expect("room on disk");
        drop(workspace);
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }

    #[test]
    fn a_file_in_the_place_of_a_part_counts_as_a_data_set() {
        for name in ALL {
            let folder = Folder::new("taken");
            fs::write(folder.path().join(name), "").expect("room on disk");
            let outcome = Workspace::claim(folder.path());
            assert!(matches!(outcome, Err(GenerateError::NotEmpty { .. })), "{name}");
        }
    }
}
