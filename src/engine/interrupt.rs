//! Ctrl-C and SIGTERM: what must be put in order before the process may end, and the moment after which it has
//! published.
//!
//! Nothing waits for workers to notice: files count only once a manifest names them, so a process may end at
//! any moment (a SIGKILL does). A signal ends it in the same way, after the clean-up that scratch folders and leases have
//! asked for. Publishing is the one thing that must not be cut: once it has begun, the process ends by itself.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const RUNNING: u8 = 0;
const PUBLISHING: u8 = 1;
const STOPPING: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(RUNNING);
static CLEANING: Mutex<Vec<(u64, Cleaner)>> = Mutex::new(Vec::new());

type Cleaner = Box<dyn Fn() + Send>;

/// Something that is put in order when the process is stopped, until it is dropped.
#[derive(Debug)]
pub struct OnStop {
    number: u64,
}

impl OnStop {
    /// `clean` is called at most once, from a thread of its own, while workers may still run.
    pub fn new(clean: impl Fn() + Send + 'static) -> Self {
        let mut all = lock();
        let number = all.last().map_or(0, |(number, _)| number + 1);
        all.push((number, Box::new(clean)));
        Self { number }
    }
}

impl Drop for OnStop {
    fn drop(&mut self) {
        lock().retain(|(number, _)| *number != self.number);
    }
}

/// Begins what a signal must not cut. Does not come back if the process is being stopped.
pub fn publishing() {
    if STATE.compare_exchange(RUNNING, PUBLISHING, Ordering::SeqCst, Ordering::SeqCst) == Err(STOPPING) {
        hold();
    }
}

/// Begins to stop; false if publishing has begun, so that the process ends by itself.
pub fn stop() -> bool {
    STATE.compare_exchange(RUNNING, STOPPING, Ordering::SeqCst, Ordering::SeqCst) != Err(PUBLISHING)
}

/// Whether the process is being stopped: failures are then consequences, and not to be told.
pub fn is_stopping() -> bool {
    STATE.load(Ordering::SeqCst) == STOPPING
}

/// Waits for the end of the process.
pub fn hold() -> ! {
    loop {
        std::thread::park();
    }
}

/// Puts in order what has asked for it, the latest first.
pub fn clean_up() {
    let all = std::mem::take(&mut *lock());
    for (_, clean) in all.iter().rev() {
        clean();
    }
}

fn lock() -> MutexGuard<'static, Vec<(u64, Cleaner)>> {
    CLEANING.lock().unwrap_or_else(PoisonError::into_inner)
}
