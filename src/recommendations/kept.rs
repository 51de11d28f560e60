//! Neighbours that a first pass over all customers found, kept on scratch for the second.
//!
//! A part's answers lie in one file in the order of its groups. Disk: 8 bytes a neighbour.

use super::RecommendationError;
use crate::neighbours::index::Neighbours;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes read or written at once.
const BUFFER: usize = 1 << 20;

/// A folder of answers, a file for each part.
pub struct KeptNeighbours {
    folder: PathBuf,
}

/// A part's answers, on their way to the file or from it.
pub enum PartAnswers {
    Writing(BufWriter<File>),
    Reading(BufReader<File>),
}

impl KeptNeighbours {
    /// In a folder of the scratch disk, which is made.
    pub fn new(folder: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, part: usize) -> PathBuf {
        self.folder.join(format!("neighbours-{part:05}"))
    }

    pub fn write(&self, part: usize) -> std::io::Result<PartAnswers> {
        Ok(PartAnswers::Writing(BufWriter::with_capacity(BUFFER, File::create(self.path(part))?)))
    }

    pub fn read(&self, part: usize) -> std::io::Result<PartAnswers> {
        Ok(PartAnswers::Reading(BufReader::with_capacity(BUFFER, File::open(self.path(part))?)))
    }
}

impl PartAnswers {
    /// The answers of a group, of so many pools: from the file, or from a search and into it.
    pub fn of_group(
        &mut self,
        pools: usize,
        search: impl FnOnce() -> Result<Vec<Neighbours>, RecommendationError>,
    ) -> Result<Vec<Neighbours>, RecommendationError> {
        match self {
            Self::Writing(file) => {
                let found = search()?;
                found
                    .iter()
                    .try_for_each(|answers| answers.write(file))
                    .map_err(RecommendationError::Spill)?;
                Ok(found)
            }
            Self::Reading(file) => {
                let found = (0..pools).map(|_| Neighbours::read(file)).collect::<std::io::Result<_>>();
                found.map_err(RecommendationError::Spill)
            }
        }
    }

    /// Ends the file.
    pub fn finish(self) -> std::io::Result<()> {
        match self {
            Self::Writing(mut file) => file.flush(),
            Self::Reading(_) => Ok(()),
        }
    }
}

impl Neighbours {
    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let (k, counts, positions, distances) = self.parts();
        out.write_all(&(k as u32).to_le_bytes())?;
        out.write_all(&(counts.len() as u32).to_le_bytes())?;
        let mut bytes = Vec::with_capacity(4 * (counts.len() + 2 * positions.len()));
        bytes.extend(counts.iter().chain(positions).flat_map(|value| value.to_le_bytes()));
        bytes.extend(distances.iter().flat_map(|value| value.to_le_bytes()));
        out.write_all(&bytes)
    }

    fn read(input: &mut impl Read) -> std::io::Result<Self> {
        let mut head = [0; 8];
        input.read_exact(&mut head)?;
        let [a, b, c, d, e, f, g, h] = head;
        let (k, queries) =
            (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize);
        let mut bytes = vec![0; 4 * queries * (1 + 2 * k)];
        input.read_exact(&mut bytes)?;
        let words = |from: usize, count: usize| {
            let (words, _) = bytes[4 * from..4 * (from + count)].as_chunks::<4>();
            words.iter().copied()
        };
        Ok(Self::from_parts(
            k,
            words(0, queries).map(u32::from_le_bytes).collect(),
            words(queries, queries * k).map(u32::from_le_bytes).collect(),
            words(queries * (1 + k), queries * k).map(f32::from_le_bytes).collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_in_order_without_a_search() {
        let folder = tempfile::TempDir::new().unwrap();
        let kept = KeptNeighbours::new(&folder.path().join("kept")).unwrap();
        let group = |first: u32| {
            let one = Neighbours::from_parts(
                2,
                vec![2, 1],
                vec![first, 9, 7, u32::MAX],
                vec![0.5, 1.0, 2.0, f32::INFINITY],
            );
            vec![one, Neighbours::new()]
        };
        let mut part = kept.write(3).unwrap();
        for first in [4, 5] {
            part.of_group(2, || Ok(group(first))).unwrap();
        }
        part.finish().unwrap();
        let mut part = kept.read(3).unwrap();
        for first in [4, 5] {
            let read = part.of_group(2, || panic!("no search")).unwrap();
            assert_eq!(read.len(), 2);
            assert_eq!((read[0].of(0), read[0].of(1)), (group(first)[0].of(0), group(first)[0].of(1)));
            assert_eq!(read[1].queries(), 0);
        }
        // One that was cut.
        std::fs::write(folder.path().join("kept/neighbours-00003"), [2, 0, 0, 0, 9, 0, 0, 0, 1]).unwrap();
        assert!(kept.read(3).unwrap().of_group(2, || Ok(Vec::new())).is_err());
        assert!(kept.read(4).is_err());
    }
}
