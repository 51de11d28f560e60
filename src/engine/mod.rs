//! The only owner of files, object stores, buckets, memory, Parquet and DataFusion sessions.
//!
//! | file | does |
//! |---|---|
//! | [`location`] | paths and URLs to files with size and identity; listing, globbing |
//! | [`input`] | bytes of a file for the Parquet and CSV readers, local or remote |
//! | [`buckets`] | the shuffle: buckets of whole customers, in memory and on scratch disk |
//! | [`rows`] | rows of a bucket by column |
//! | [`packing`] | rows in one word each |
//! | [`memory`] | the limit of the process, what it leaves for buckets, the peak |
//! | [`allocator`] | freed memory goes back at once |
//! | [`session`] | DataFusion sessions: one a bucket, and the read-only one of `query` |
//! | [`part`] | bounded Parquet writers and readers of published tables |
//! | [`scratch`] | the scratch folder and its lock |
//! | [`journal`] | what an unfinished run has finished |
//! | [`interrupt`] | what a signal must wait for, and what it cleans up |
//! | [`guard`] | panics of decoders as errors |
//! | [`progress`] | stages, bars and the figures of the summary table |
//! | [`workers`] | threads that take jobs in order |

pub mod allocator;
pub mod buckets;
pub mod columns;

pub mod current;
pub mod guard;
pub mod input;
pub mod interrupt;
pub mod journal;
pub mod location;
pub mod memory;
pub mod packing;
pub mod part;
pub mod progress;
pub mod rows;
pub mod scratch;
pub mod session;
pub mod stores;
pub mod workers;

use std::sync::Arc;

/// What every stage needs of the machine: threads, the memory limit, the asynchronous runtime that
/// object stores and DataFusion run on, and progress.
pub struct Engine {
    pub threads: usize,
    pub memory: memory::Limit,
    pub runtime: tokio::runtime::Runtime,
    pub progress: Arc<progress::Progress>,
}

impl Engine {
    /// An engine with `threads` workers under `memory` bytes for the whole process, of which the models
    /// (sample and candidates) take `models`.
    pub fn new(
        threads: usize,
        memory: u64,
        models: memory::Models,
        progress: progress::Progress,
    ) -> std::io::Result<Self> {
        allocator::suit(memory);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.clamp(1, 4))
            .enable_all()
            .build()?;
        Ok(Self {
            threads: threads.max(1),
            memory: memory::Limit::new(memory, models),
            runtime,
            progress: Arc::new(progress),
        })
    }

    /// Bytes of remote input that each thread may have on their way beside what it works on: a sixteenth of the limit for
    /// all of them, and no more than pays.
    pub fn read_ahead(&self) -> u64 {
        (self.memory.usable() / 16 / self.threads as u64).min(32 << 20)
    }
}
