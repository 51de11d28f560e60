//! Purchases on their way from customers to days: packed records on scratch disk.
//!
//! Each worker appends full buffers, a buffer a day, to a file of its own and remembers where they
//! went, so that the number of open files does not grow with the days. The order of the records of a
//! day does not matter: they are sorted when they are read.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::GenerateError;
use super::purchases::second_of;

/// Memory for the buffers of all workers, in bytes.
const BUFFERS: usize = 96 << 20;
/// A buffer is never larger: above this, writing no longer gets faster.
const LARGEST_BUFFER: usize = 64 << 10;
/// Nor is it smaller if fewer workers can avoid it.
const SMALLEST_BUFFER: usize = 8 << 10;
const RECORD: usize = size_of::<u64>();

/// One worker's records being written.
#[derive(Debug)]
pub(super) struct Spill {
    path: PathBuf,
    file: File,
    /// Bytes of each day that are not yet in the file.
    buffers: Vec<Vec<u8>>,
    capacity: usize,
    end: u64,
    extents: Vec<Vec<Extent>>,
}

/// Where a buffer went in its worker's file.
#[derive(Debug, Clone, Copy)]
struct Extent {
    offset: u64,
    bytes: u32,
}

impl Spill {
    /// How many workers may spill at once without their buffers getting too small.
    pub(super) fn most_workers(days: u32) -> usize {
        (BUFFERS / (days as usize * SMALLEST_BUFFER)).max(1)
    }

    /// The file of one of `workers` workers.
    pub(super) fn create(
        scratch: &Path,
        worker: usize,
        workers: usize,
        days: u32,
    ) -> Result<Self, GenerateError> {
        let days = days as usize;
        let path = scratch.join(format!("purchases-{worker}"));
        let file = File::create_new(&path).map_err(GenerateError::io("create", &path))?;
        let share = BUFFERS / (workers * days);
        let capacity = share.clamp(SMALLEST_BUFFER, LARGEST_BUFFER) / RECORD * RECORD;
        let buffers = vec![Vec::new(); days];
        Ok(Self { path, file, buffers, capacity, end: 0, extents: vec![Vec::new(); days] })
    }

    /// Adds a record to a day.
    pub(super) fn push(&mut self, day: u32, record: u64) -> Result<(), GenerateError> {
        let buffer = &mut self.buffers[day as usize];
        if buffer.capacity() == 0 {
            buffer.reserve_exact(self.capacity);
        }
        buffer.extend_from_slice(&record.to_le_bytes());
        if buffer.len() >= self.capacity { self.flush(day as usize) } else { Ok(()) }
    }

    fn flush(&mut self, day: usize) -> Result<(), GenerateError> {
        let buffer = &mut self.buffers[day];
        self.file.write_all(buffer).map_err(GenerateError::io("write", &self.path))?;
        self.extents[day].push(Extent { offset: self.end, bytes: buffer.len() as u32 });
        self.end += buffer.len() as u64;
        buffer.clear();
        Ok(())
    }

    /// Writes what is still in memory and gives the memory back.
    pub(super) fn finish(mut self) -> Result<Spilled, GenerateError> {
        for day in 0..self.buffers.len() {
            if !self.buffers[day].is_empty() {
                self.flush(day)?;
            }
        }
        Ok(Spilled { path: self.path, extents: self.extents })
    }
}

/// One worker's records, complete.
#[derive(Debug)]
pub(super) struct Spilled {
    path: PathBuf,
    extents: Vec<Vec<Extent>>,
}

impl Spilled {
    fn bytes(&self, day: usize) -> u64 {
        self.extents[day].iter().map(|extent| u64::from(extent.bytes)).sum()
    }
}

/// Reads the records of days back; each thread has its own.
#[derive(Debug)]
pub(super) struct SpillReader<'a> {
    files: Vec<(&'a Spilled, File)>,
    buffer: Vec<u8>,
}

impl<'a> SpillReader<'a> {
    pub(super) fn open(spilled: &'a [Spilled]) -> Result<Self, GenerateError> {
        let files = spilled.iter().map(|spilled| {
            let file = File::open(&spilled.path).map_err(GenerateError::io("open", &spilled.path))?;
            Ok((spilled, file))
        });
        Ok(Self { files: files.collect::<Result<_, _>>()?, buffer: Vec::new() })
    }

    /// How many records a day has.
    pub(super) fn rows(&self, day: usize) -> u64 {
        self.files.iter().map(|(spilled, _)| spilled.bytes(day)).sum::<u64>() / RECORD as u64
    }

    /// Replaces `records` by those of a day within a range of seconds, in no order. Reads the whole
    /// day however narrow the range.
    pub(super) fn read(
        &mut self,
        day: usize,
        seconds: &Range<u32>,
        records: &mut Vec<u64>,
    ) -> Result<(), GenerateError> {
        records.clear();
        for (spilled, file) in &mut self.files {
            for extent in &spilled.extents[day] {
                self.buffer.resize(extent.bytes as usize, 0);
                file.seek(SeekFrom::Start(extent.offset))
                    .and_then(|_| file.read_exact(&mut self.buffer))
                    .map_err(GenerateError::io("read", &spilled.path))?;
                let (chunks, _) = self.buffer.as_chunks::<RECORD>();
                let read = chunks.iter().map(|bytes| u64::from_le_bytes(*bytes));
                records.extend(read.filter(|&record| seconds.contains(&second_of(record))));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::purchases::Purchase;
    use super::super::tests::Folder;
    use super::*;

    #[test]
    fn records_come_back_by_day_and_by_second_whichever_worker_wrote_them() {
        let folder = Folder::new("spill");
        let record =
            |i: u32| Purchase { second: i % 86_400, subscriber: i, package: 1, channel: None }.pack();
        let mut spills: Vec<Spill> =
            (0..2).map(|worker| Spill::create(folder.path(), worker, 2, 3).expect("a file")).collect();
        // More than two buffers a day and worker, so that some go to disk early.
        let count = 3 * 2 * 20_000;
        for i in 0..count {
            spills[i as usize % 2].push(i / 2 % 3, record(i)).expect("room on disk");
        }
        let spilled: Vec<Spilled> =
            spills.into_iter().map(|spill| spill.finish().expect("room on disk")).collect();
        let mut reader = SpillReader::open(&spilled).expect("just written");
        let mut records = Vec::new();
        for day in 0..3 {
            assert_eq!(reader.rows(day as usize), 40_000);
            for seconds in [0..30_000, 30_000..86_400] {
                reader.read(day as usize, &seconds, &mut records).expect("just written");
                records.sort_unstable();
                let mut wanted: Vec<u64> = (0..count)
                    .filter(|i| i / 2 % 3 == day && seconds.contains(&(i % 86_400)))
                    .map(record)
                    .collect();
                wanted.sort_unstable();
                assert!(records == wanted, "day {day}, {seconds:?}");
            }
        }
    }

    #[test]
    fn many_days_get_fewer_workers_not_more_memory() {
        assert!(Spill::most_workers(92) >= 64);
        let days = 3_660;
        let workers = Spill::most_workers(days);
        assert!(workers >= 2 && workers * days as usize * SMALLEST_BUFFER <= BUFFERS);
    }
}
