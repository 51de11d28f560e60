//! Stages as a user sees them: a bar while they run (on a terminal), a row of the summary after.

use super::memory::PeakSampler;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::time::Instant;

/// One row of the summary table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageFigures {
    pub stage: String,
    pub rows_in: u64,
    pub rows_out: u64,
    pub seconds: f64,
    pub peak_bytes: u64,
    pub spilled_bytes: u64,
}

/// Progress of a run; all methods can be called from any thread.
pub struct Progress {
    bar: ProgressBar,
    shown: bool,
    sampler: PeakSampler,
    current: Mutex<Option<(String, Instant, u64)>>,
    finished: Mutex<Vec<StageFigures>>,
    rejected: Mutex<Vec<(&'static str, u64)>>,
}

impl Progress {
    /// `bars`: draw on standard error (the caller has checked that it is a terminal).
    pub fn new(bars: bool) -> Self {
        let bar = ProgressBar::hidden();
        if bars {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        }
        Self {
            bar,
            shown: bars,
            sampler: PeakSampler::start(),
            current: Mutex::new(None),
            finished: Mutex::new(Vec::new()),
            rejected: Mutex::new(Vec::new()),
        }
    }

    /// Begins a stage of about `rows` rows.
    pub fn begin(&self, stage: &str, rows: u64) {
        self.sampler.take();
        *lock(&self.current) = Some((stage.to_owned(), Instant::now(), rows));
        tracing::info!(stage, rows, "stage begins");
        if self.shown {
            let style = ProgressStyle::with_template(
                "{prefix:>16.bold} {bar:30.green/dim} {human_pos:>12}/{human_len} rows  {per_sec:>14}  {eta:>4} left",
            );
            if let Ok(style) = style {
                self.bar.set_style(style);
            }
            self.bar.reset();
            self.bar.set_length(rows);
            self.bar.set_prefix(stage.to_owned());
        }
    }

    /// More rows are done.
    pub fn advance(&self, rows: u64) {
        self.bar.inc(rows);
    }

    /// Ends the stage with its figures.
    pub fn end(&self, rows_in: u64, rows_out: u64, spilled_bytes: u64) {
        if let Some((stage, start, _)) = lock(&self.current).take() {
            let figures = StageFigures {
                stage,
                rows_in,
                rows_out,
                seconds: start.elapsed().as_secs_f64(),
                peak_bytes: self.sampler.take(),
                spilled_bytes,
            };
            tracing::info!(
                stage = figures.stage,
                rows_in,
                rows_out,
                seconds = figures.seconds,
                peak_bytes = figures.peak_bytes,
                spilled_bytes,
                "stage ends"
            );
            lock(&self.finished).push(figures);
        }
        self.bar.set_position(0);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Remembers how many rows were rejected for which reason, so that a run which fails can tell as well.
    pub fn set_rejected(&self, rows: Vec<(&'static str, u64)>) {
        *lock(&self.rejected) = rows;
    }

    /// Reasons and rows, of those that occurred.
    pub fn rejected(&self) -> Vec<(&'static str, u64)> {
        lock(&self.rejected).clone()
    }

    /// The summary so far.
    pub fn figures(&self) -> Vec<StageFigures> {
        lock(&self.finished).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
