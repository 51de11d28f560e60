//! The memory limit of the process and how it is divided.
//!
//! The limit is for the resident set of the whole process, not for one pool. A fixed part is set
//! aside for the program, its threads' stacks and the allocator; the rest is shared between buckets
//! that stay in memory and the working sets of the buckets in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes that the program, its threads, the decoders and the allocator take beside counted data
/// (measured: 60 to 90 MiB).
const PROGRAM: u64 = 80 << 20;
/// Least working set of a worker: a bucket's Parquet writers and its DataFusion session (measured).
const LEAST_PER_WORKER: u64 = 20 << 20;
/// Bytes of a sampled customer (values, packages, scaled copies while segments are fitted).
const SAMPLED_CUSTOMER: u64 = 600;
/// Bytes of a neighbour candidate (vector, packages, id, index).
const CANDIDATE: u64 = 560;
/// Bytes of a customer that weights are learned from (signals of its packages, once more while a segment
/// is fitted).
const LESSON: u64 = 6 << 10;
/// Share of the limit kept free for what nobody counts: fragmentation, decoders, the allocator's own.
const SLACK: f64 = 0.15;
/// Peak bytes of the features stage for one row of a bucket (measured at 52M rows: rows, sort, Arrow
/// columns, the groups of two aggregations and their output).
const FEATURE_BYTES_PER_ROW: u64 = 640;

/// The limit of the process in bytes, with the division that every stage goes by.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    bytes: u64,
    models: Models,
}

/// Customers that the models hold, from the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Models {
    pub sample: u64,
    pub pool: u64,
    /// Customers that weights are learned from: gone before the pool comes.
    pub tuning: u64,
}

impl Limit {
    pub fn new(bytes: u64, models: Models) -> Self {
        Self { bytes, models }
    }

    /// The least limit that a base of `rows` purchases can be done in on `threads` threads.
    pub fn least(self, rows: u64, threads: usize) -> u64 {
        let sample = self.models.sample.min(rows) * SAMPLED_CUSTOMER;
        let pool = self.models.pool.min(rows) * CANDIDATE;
        let tuning = self.models.tuning.min(rows) * LESSON;
        PROGRAM + sample + pool.max(tuning).max(threads as u64 * LEAST_PER_WORKER)
    }

    /// The limit itself.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// What data may take: the limit less the program, the sample and the slack.
    pub fn usable(self) -> u64 {
        let slack = (self.bytes as f64 * SLACK) as u64;
        let sample = self.models.sample * SAMPLED_CUSTOMER;
        self.bytes.saturating_sub(PROGRAM + sample + slack).max(16 << 20)
    }

    /// Bytes of shuffled rows that may stay in memory instead of going to scratch disk.
    pub fn resident_rows(self) -> u64 {
        self.usable() / 5 * 2
    }

    /// The same where rows stay through all later stages, as in a backtest.
    pub fn resident_rows_throughout(self) -> u64 {
        self.usable() / 10
    }

    /// Bytes that one worker may use for the bucket that it works on.
    pub fn per_bucket(self, threads: usize) -> u64 {
        self.usable() / 5 * 2 / threads.max(1) as u64
    }

    /// Rows of a bucket that one worker can make features of.
    pub fn rows_per_bucket(self, threads: usize) -> u64 {
        (self.per_bucket(threads) / FEATURE_BYTES_PER_ROW).clamp(10_000, 500_000)
    }

    /// Customers of a part that are looked up together where each takes so many bytes: the more, the more they share.
    pub fn looked_up(self, threads: usize, bytes: u64) -> usize {
        (self.per_bucket(threads) / 4 / bytes.max(1)).clamp(8_192, 65_536) as usize
    }

    /// How many buckets `rows` rows need so that a bucket in every worker stays within the limit.
    pub fn buckets(self, rows: u64, threads: usize) -> usize {
        let fitting = rows.div_ceil(self.rows_per_bucket(threads));
        // Four buckets a worker keep all of them busy to the end, where there is enough to do.
        let busy = (rows / 100_000).min(4 * threads as u64);
        usize::try_from(fitting.max(busy)).unwrap_or(4096).clamp(1, 4096)
    }

    /// The peak that the plan expects for `rows` rows of `row_bytes` each in `buckets` buckets.
    pub fn predicted_peak(self, rows: u64, row_bytes: u64, buckets: usize, threads: usize) -> u64 {
        let resident = (rows * row_bytes).min(self.resident_rows());
        let in_flight = (rows / buckets.max(1) as u64) * FEATURE_BYTES_PER_ROW * threads as u64;
        PROGRAM + self.models.sample.min(rows) * SAMPLED_CUSTOMER + resident + in_flight
    }
}

/// Resident bytes of this process now, where the system tells (Linux); else 0.
pub fn resident_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * 4096)
}

/// Peak resident bytes since the process started, where the system tells (Linux); else 0.
pub fn peak_resident_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        })
        .map_or(0, |kibibytes| kibibytes * 1024)
}

/// Samples the resident set 20 times a second, so that a stage can report its own peak.
pub struct PeakSampler {
    peak: Arc<AtomicU64>,
    /// Dropped to wake the thread, which nobody should wait for.
    awake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl PeakSampler {
    pub fn start() -> Self {
        let peak = Arc::new(AtomicU64::new(resident_bytes()));
        let (awake, end) = channel();
        let thread = {
            let peak = peak.clone();
            std::thread::spawn(move || {
                while end.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
                    peak.fetch_max(resident_bytes(), Ordering::Relaxed);
                }
            })
        };
        Self { peak, awake: Some(awake), thread: Some(thread) }
    }

    /// The peak since the last call; starts over from the present size.
    pub fn take(&self) -> u64 {
        let now = resident_bytes();
        self.peak.swap(now, Ordering::Relaxed).max(now)
    }
}

impl Drop for PeakSampler {
    fn drop(&mut self) {
        self.awake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_limit_means_more_buckets_and_never_none() {
        let limit = |bytes| Limit::new(bytes, Models { sample: 50_000, pool: 200_000, tuning: 20_000 });
        let few = limit(4 << 30).buckets(52_000_000, 2);
        let many = limit(1 << 30).buckets(52_000_000, 2);
        assert!(many > few && few >= 1, "{many} {few}");
        assert_eq!(limit(1 << 30).buckets(0, 2), 1);
        assert_eq!([200 << 20, 2 << 30].map(|bytes| limit(bytes).looked_up(2, 656)), [8_192, 65_536]);
        assert!(limit(256 << 20).least(10_000_000, 2) < 256 << 20);
        assert!(limit(128 << 20).least(10_000_000, 2) > 128 << 20);
    }

    #[test]
    fn the_resident_set_is_read() {
        assert!(peak_resident_bytes() > 1 << 20);
    }
}
