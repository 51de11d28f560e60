//! One run at a time on an output: a file lock on local disk, a lease in an object store.
//!
//! A crash leaves neither behind. The file lock is the operating system's. The lease is an object that its holder
//! renews every 15 seconds, by a conditional write; one that has not been renewed for a minute is dead. A lease is
//! taken over only after its object was seen to stay the same for 20 seconds, so that a clock that is wrong cannot take
//! one that is alive. A run that has lost its lease does not publish.

use super::RunError;
use crate::engine::interrupt::OnStop;
use crate::engine::scratch::{WhenLocked, lock_file};
use chrono::{DateTime, TimeDelta, Utc};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;

/// The lock's name in the output.
pub const LOCK: &str = ".packwise.lock";

/// When a lease is renewed, watched, and given up.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub renew: Duration,
    /// An unchanged lease is taken over after so long; more than `renew`.
    pub watch: Duration,
    /// A lease that was renewed so lately is somebody's.
    pub alive: TimeDelta,
}

impl Default for Times {
    fn default() -> Self {
        Self { renew: Duration::from_secs(15), watch: Duration::from_secs(20), alive: TimeDelta::seconds(60) }
    }
}

/// The right to write runs to an output, until it is dropped.
#[derive(Debug)]
pub enum OutputLock {
    Local { _file: File },
    Lease(Lease),
}

impl OutputLock {
    /// Locks a local output.
    pub fn local(folder: &Path, when_locked: WhenLocked, name: &str) -> Result<Self, RunError> {
        match lock_file(&folder.join(LOCK), when_locked) {
            Ok(Some(file)) => Ok(Self::Local { _file: file }),
            Ok(None) => Err(RunError::Locked { path: name.to_owned() }),
            Err(source) => Err(super::unwritable(name, source)),
        }
    }

    /// Whether the lock is still held; asked before publishing.
    pub fn is_held(&self) -> bool {
        match self {
            Self::Local { .. } => true,
            Self::Lease(lease) => !lease.lost.load(Ordering::SeqCst),
        }
    }
}

/// A lease in an object store, renewed by a thread of its own.
#[derive(Debug)]
pub struct Lease {
    lost: Arc<AtomicBool>,
    /// Closing it ends the thread.
    ending: Option<mpsc::Sender<()>>,
    renewing: Option<JoinHandle<()>>,
    _on_stop: OnStop,
}

/// The object, and its version as this holder wrote it.
#[derive(Clone)]
struct Held {
    store: Arc<dyn ObjectStore>,
    path: StorePath,
    runtime: Handle,
    holder: Holder,
    version: Arc<Mutex<UpdateVersion>>,
}

impl Lease {
    /// Takes the lease at `path`, at the time `now`. With [`WhenLocked::Wait`] until its holder ends or dies.
    pub fn take(
        store: &Arc<dyn ObjectStore>,
        path: &StorePath,
        runtime: &Handle,
        when_locked: WhenLocked,
        now: DateTime<Utc>,
        times: Times,
    ) -> Result<Option<Self>, object_store::Error> {
        let holder = Holder::new(now);
        let hold = |version| Self::hold(store, path, runtime, holder.clone(), version, times);
        loop {
            let put = runtime.block_on(holder.write(store.as_ref(), path, PutMode::Create, 0));
            let found = match put {
                Ok(version) => return Ok(Some(hold(version))),
                Err(object_store::Error::AlreadyExists { .. }) => match runtime.block_on(store.head(path)) {
                    Ok(found) => found,
                    // Given back in between.
                    Err(object_store::Error::NotFound { .. }) => continue,
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            };
            let is_alive = now.signed_duration_since(found.last_modified) < times.alive;
            if is_alive && when_locked == WhenLocked::Fail {
                return Ok(None);
            }
            tracing::info!(lease = %path, "waiting for another run to end");
            std::thread::sleep(times.watch);
            let dead = UpdateVersion { e_tag: found.e_tag, version: found.version };
            match runtime.block_on(holder.write(store.as_ref(), path, PutMode::Update(dead), 0)) {
                Ok(version) => return Ok(Some(hold(version))),
                // Renewed: its holder lives.
                Err(object_store::Error::Precondition { .. }) if when_locked == WhenLocked::Fail => {
                    return Ok(None);
                }
                Err(object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn hold(
        store: &Arc<dyn ObjectStore>,
        path: &StorePath,
        runtime: &Handle,
        holder: Holder,
        version: UpdateVersion,
        times: Times,
    ) -> Self {
        let held = Held {
            store: store.clone(),
            path: path.clone(),
            runtime: runtime.clone(),
            holder,
            version: Arc::new(Mutex::new(version)),
        };
        let lost = Arc::new(AtomicBool::new(false));
        let (ending, ended) = mpsc::channel();
        let (renewed, is_lost) = (held.clone(), lost.clone());
        let renewing = std::thread::spawn(move || {
            let mut count = 0;
            while ended.recv_timeout(times.renew) == Err(RecvTimeoutError::Timeout) {
                count += 1;
                if !renewed.renew(count) {
                    is_lost.store(true, Ordering::SeqCst);
                    return;
                }
            }
            renewed.give_back();
        });
        let _on_stop = OnStop::new(move || held.give_back());
        Self { lost, ending: Some(ending), renewing: Some(renewing), _on_stop }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.ending.take());
        if let Some(renewing) = self.renewing.take() {
            let _ = renewing.join();
        }
    }
}

impl Held {
    /// Writes the lease anew; false if it is somebody else's. A store that cannot be reached now may be next time.
    fn renew(&self, count: u64) -> bool {
        let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let update = PutMode::Update(version.clone());
        match self.runtime.block_on(self.holder.write(self.store.as_ref(), &self.path, update, count)) {
            Ok(written) => {
                *version = written;
                true
            }
            Err(object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. }) => false,
            Err(error) => {
                tracing::warn!(lease = %self.path, %error, "the lease was not renewed");
                true
            }
        }
    }

    /// Removes the lease if it is still this holder's; what is left dies by itself.
    fn give_back(&self) {
        let version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.runtime.block_on(async {
            let found = self.store.head(&self.path).await?;
            if found.e_tag == version.e_tag {
                self.store.delete(&self.path).await?;
            }
            Ok::<(), object_store::Error>(())
        });
    }
}

/// Who writes a lease.
#[derive(Clone)]
struct Holder {
    name: String,
}

impl Holder {
    /// A name that nobody else has: by chance.
    fn new(now: DateTime<Utc>) -> Self {
        let chance = RandomState::new().hash_one((std::process::id(), now));
        Self { name: format!("{}-{chance:016x}", std::process::id()) }
    }

    /// What a lease holds: different for every holder and renewal, so that no two versions have one tag.
    fn body(&self, count: u64) -> String {
        format!("{{\"holder\": \"{}\", \"renewed\": {count}}}\n", self.name)
    }

    /// Writes the lease under a condition. One that was written although the answer was lost is recognised by what
    /// it holds.
    async fn write(
        &self,
        store: &dyn ObjectStore,
        path: &StorePath,
        mode: PutMode,
        count: u64,
    ) -> Result<UpdateVersion, object_store::Error> {
        let body = self.body(count);
        let options = PutOptions { mode, ..PutOptions::default() };
        let failure = match store.put_opts(path, PutPayload::from(body.clone()), options).await {
            Ok(written) => return Ok(written.into()),
            Err(failure) => failure,
        };
        let Ok(found) = store.get(path).await else { return Err(failure) };
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        match found.bytes().await {
            Ok(bytes) if bytes == body.as_bytes() => Ok(version),
            _ => Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn times() -> Times {
        let renew = Duration::from_millis(20);
        Times { renew, watch: Duration::from_millis(120), alive: TimeDelta::seconds(60) }
    }

    struct Place {
        store: Arc<dyn ObjectStore>,
        runtime: tokio::runtime::Runtime,
    }

    impl Place {
        fn new() -> Self {
            let store = Arc::new(InMemory::new());
            Self { store, runtime: tokio::runtime::Builder::new_multi_thread().build().unwrap() }
        }

        fn take(&self, when_locked: WhenLocked, now: DateTime<Utc>) -> Option<Lease> {
            let path = StorePath::from(LOCK);
            Lease::take(&self.store, &path, self.runtime.handle(), when_locked, now, times()).unwrap()
        }

        fn is_there(&self) -> bool {
            self.runtime.block_on(self.store.head(&StorePath::from(LOCK))).is_ok()
        }
    }

    #[test]
    fn a_lease_is_one_runs_until_it_is_given_back() {
        let place = Place::new();
        let first = place.take(WhenLocked::Fail, Utc::now()).unwrap();
        assert!(place.take(WhenLocked::Fail, Utc::now()).is_none());
        assert!(OutputLock::Lease(first).is_held());
        assert!(!place.is_there());
        assert!(place.take(WhenLocked::Fail, Utc::now()).is_some());
    }

    #[test]
    fn a_living_lease_is_not_taken_by_a_clock_that_is_ahead() {
        let place = Place::new();
        let _first = place.take(WhenLocked::Fail, Utc::now()).unwrap();
        assert!(place.take(WhenLocked::Fail, Utc::now() + TimeDelta::days(1)).is_none());
    }

    #[test]
    fn a_dead_lease_is_taken_over_and_a_waiting_run_gets_one_that_is_given_back() {
        let place = Place::new();
        let path = StorePath::from(LOCK);
        place.runtime.block_on(place.store.put(&path, PutPayload::from_static(b"of a dead run"))).unwrap();
        assert!(place.take(WhenLocked::Fail, Utc::now()).is_none(), "written just now");
        let second = place.take(WhenLocked::Fail, Utc::now() + TimeDelta::minutes(2)).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| place.take(WhenLocked::Wait, Utc::now()).is_some());
            std::thread::sleep(Duration::from_millis(50));
            drop(second);
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn a_holder_whose_lease_was_replaced_knows_it() {
        let place = Place::new();
        let path = StorePath::from(LOCK);
        let lease = OutputLock::Lease(place.take(WhenLocked::Fail, Utc::now()).unwrap());
        place.runtime.block_on(place.store.put(&path, PutPayload::from_static(b"of another"))).unwrap();
        while lease.is_held() {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(lease);
        assert!(place.is_there(), "the other's lease stays");
    }
}
