//! Sends again what the client of `object_store` does not: listings and removals whose answer was cut in the middle.
//!
//! The client sends a request again if it fails, and reads on if the bytes of an object are cut. A listing that is cut
//! is an error there (object_store 0.13). All that is repeated here may be done twice.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Another store, with patience.
#[derive(Debug, Clone)]
pub struct Patient {
    inner: Arc<dyn ObjectStore>,
    retries: usize,
    pause: Duration,
}

impl Patient {
    pub fn new(inner: Arc<dyn ObjectStore>, retries: usize, pause: Duration) -> Self {
        Self { inner, retries, pause }
    }

    /// Does something until it succeeds, is refused, or was tried often enough.
    async fn again<T, F: Future<Output = Result<T>>>(&self, mut work: impl FnMut() -> F) -> Result<T> {
        let mut pause = self.pause;
        for _ in 0..self.retries {
            match work().await {
                // The client has tried all else already.
                Err(Error::Generic { source, .. }) if is_cut(source.as_ref()) => {
                    tracing::info!(%source, "an answer was cut; the request is sent again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
        work().await
    }
}

/// Whether an answer came, and was cut: an error of HTTP below all others, rather than of a status.
pub fn is_cut(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        error.downcast_ref::<object_store::client::HttpError>().is_some_and(|error| {
            use object_store::client::HttpErrorKind::{Decode, Interrupted, Request, Timeout, Unknown};
            matches!(error.kind(), Decode | Interrupted | Request | Timeout | Unknown)
        })
    })
}

impl std::fmt::Display for Patient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Patient {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let done = async move {
            let paths: Vec<Path> = paths.try_collect().await?;
            let delete = || {
                let paths = futures::stream::iter(paths.clone()).map(Ok).boxed();
                this.inner.delete_stream(paths).try_collect::<Vec<Path>>()
            };
            this.again(delete).await
        };
        futures::stream::once(done).map_ok(|paths| futures::stream::iter(paths).map(Ok)).try_flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        let done =
            async move { this.again(|| this.inner.list(prefix.as_ref()).try_collect::<Vec<_>>()).await };
        futures::stream::once(done).map_ok(|found| futures::stream::iter(found).map(Ok)).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.again(|| self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
