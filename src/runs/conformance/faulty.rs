//! A store that fails as networks and disks do, around any other.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An error, and nothing is done.
    Error,
    /// All is done, and the answer does not come.
    Timeout,
    /// All is done, the answer does not come, and the request arrives once more.
    Twice,
    /// Half of what is read, without a word.
    Truncated,
    /// All is well, but late.
    Slow,
}

const FAULTS: [Fault; 5] = [Fault::Error, Fault::Timeout, Fault::Twice, Fault::Truncated, Fault::Slow];

/// Fails in one of `one_in` requests, by the number of the request.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    one_in: u64,
    requests: AtomicU64,
    faults: Arc<Mutex<BTreeMap<Fault, u64>>>,
}

impl Faulty {
    pub fn new(inner: Arc<dyn ObjectStore>, one_in: u64) -> Self {
        Self { inner, one_in, requests: AtomicU64::new(0), faults: Arc::default() }
    }

    /// How often what went wrong, counted on.
    pub fn faults(&self) -> Arc<Mutex<BTreeMap<Fault, u64>>> {
        self.faults.clone()
    }

    fn next(&self) -> Option<Fault> {
        let chance = blake3::hash(&self.requests.fetch_add(1, Ordering::SeqCst).to_le_bytes());
        let [first, second, ..] = *chance.as_bytes();
        if u64::from(first) * self.one_in >= 256 {
            return None;
        }
        let fault = FAULTS[usize::from(second) % FAULTS.len()];
        *self.faults.lock().unwrap().entry(fault).or_default() += 1;
        Some(fault)
    }

    /// Waits or fails before anything is done.
    async fn before(&self) -> Result<Option<Fault>> {
        let fault = self.next();
        match fault {
            Some(Fault::Error) => return Err(broken("500")),
            Some(Fault::Slow) => tokio::time::sleep(Duration::from_millis(2)).await,
            _ => {}
        }
        Ok(fault)
    }
}

fn broken(what: &'static str) -> Error {
    Error::Generic { store: "faulty", source: what.into() }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = self.before().await?;
        let done = self.inner.put_opts(path, payload.clone(), options.clone()).await?;
        match fault {
            Some(Fault::Twice) => self.inner.put_opts(path, payload, options).await,
            Some(Fault::Timeout) => Err(broken("timed out")),
            _ => Ok(done),
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.before().await?;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.before().await?;
        let found = self.inner.get_opts(path, options).await?;
        match fault {
            Some(Fault::Timeout) => Err(broken("timed out")),
            Some(Fault::Truncated) => {
                let (meta, range, attributes) =
                    (found.meta.clone(), found.range.clone(), found.attributes.clone());
                let bytes = found.bytes().await?;
                let half: Bytes = bytes.slice(..bytes.len() / 2);
                let payload = GetResultPayload::Stream(futures::stream::iter([Ok(half)]).boxed());
                Ok(GetResult { payload, meta, range, attributes })
            }
            _ => Ok(found),
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let inner = self.inner.clone();
        match self.next() {
            Some(Fault::Error) => futures::stream::iter([Err(broken("500"))]).boxed(),
            Some(Fault::Timeout) => {
                let done = async move {
                    inner.delete_stream(paths).try_collect::<Vec<_>>().await?;
                    Err(broken("timed out"))
                };
                futures::stream::once(done).boxed()
            }
            _ => inner.delete_stream(paths),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.next() {
            Some(Fault::Error | Fault::Timeout) => futures::stream::iter([Err(broken("500"))]).boxed(),
            _ => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let fault = self.before().await?;
        match fault {
            Some(Fault::Timeout) => Err(broken("timed out")),
            _ => self.inner.list_with_delimiter(prefix).await,
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.before().await?;
        self.inner.copy_opts(from, to, options).await
    }
}
