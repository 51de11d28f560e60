//! Whether a run's files are those that its manifest lists.

use super::manifest::Manifest;
use super::{Output, RunError};
use crate::engine::part::PartFile;
use futures::StreamExt;
use object_store::ObjectStoreExt;
use serde::Serialize;

/// A file that is not as the manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    pub path: String,
    pub problem: String,
}

impl Output {
    /// Reads every file of a run and compares it with its checksum. Memory: 8 files' pieces at a time.
    pub fn verify(&self, manifest: &Manifest) -> Result<(u64, Vec<Damage>), RunError> {
        const TOGETHER: usize = 8;
        let files: Vec<&PartFile> =
            manifest.tables.values().flat_map(|table| &table.files).chain(&manifest.extras).collect();
        let looks = futures::stream::iter(files.iter().copied()).map(|file| async move {
            let problem = self.problem(manifest, file).await;
            problem.map(|problem| Damage { path: file.path.clone(), problem })
        });
        let found = self.runtime.block_on(looks.buffered(TOGETHER).collect::<Vec<_>>());
        Ok((files.len() as u64, found.into_iter().flatten().collect()))
    }

    async fn problem(&self, manifest: &Manifest, file: &PartFile) -> Option<String> {
        let path = self.run_path(&manifest.run_id, &file.path);
        let mut pieces = match self.store.get(&path).await {
            Ok(found) => found.into_stream(),
            Err(object_store::Error::NotFound { .. }) => return Some("is missing".to_owned()),
            Err(error) => return Some(format!("cannot be read: {error}")),
        };
        let (mut hash, mut bytes) = (blake3::Hasher::new(), 0);
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => {
                    hash.update(&piece);
                    bytes += piece.len() as u64;
                }
                Err(error) => return Some(format!("cannot be read: {error}")),
            }
        }
        if bytes != file.bytes {
            return Some(format!("has {bytes} bytes instead of {}", file.bytes));
        }
        (hash.finalize().to_hex().as_str() != file.checksum).then(|| "has another checksum".to_owned())
    }
}
