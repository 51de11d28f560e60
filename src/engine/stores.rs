//! From a URL to its object store, by the section `[object_store]` and the usual environment.

mod patient;

use super::location::LocationError;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::ClientConfigKey;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as StorePath;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
pub use patient::{Patient, is_cut};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use url::{Position, Url};

/// How object stores are reached. Credentials are not among it: they come from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Of an S3, Google or Azure API elsewhere than at its usual address.
    pub endpoint: Option<String>,
    /// Of S3.
    pub region: Option<String>,
    /// Whether requests may go unencrypted.
    pub allow_http: bool,
    /// How often a request that failed is sent again.
    pub retries: usize,
    /// The first pause before a request is sent again, and the longest; pauses grow at random in between.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// From a request's first try to its last.
    pub give_up: Duration,
    /// Until a connection is made.
    pub connect: Duration,
    /// From the start of a try to the end of its answer.
    pub answer: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            allow_http: false,
            retries: 10,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(15),
            give_up: Duration::from_secs(180),
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(60),
        }
    }
}

/// URLs occur wherever a path may, and a process has one configuration: so it is set once and not handed through
/// every reader of a file.
static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Sets how this process reaches object stores. The first call counts.
pub fn configure(settings: &Settings) {
    let _ = SETTINGS.set(settings.clone());
}

/// The store and the path of a URL, by the settings of this process.
pub fn open_url(text: &str) -> Result<(Arc<dyn ObjectStore>, StorePath), LocationError> {
    open(text, SETTINGS.get_or_init(Settings::default))
}

/// The store and the path of a URL.
///
/// What is remote is tried again as often as the settings say. Server errors, full servers and broken connections are tried again, after pauses that grow with jitter; what the
/// server refuses (credentials, permissions) is an error at once.
pub fn open(text: &str, settings: &Settings) -> Result<(Arc<dyn ObjectStore>, StorePath), LocationError> {
    let fail = |source: Box<dyn std::error::Error + Send + Sync>| LocationError::Url {
        url: text.to_owned(),
        source,
    };
    let url = Url::parse(text).map_err(|error| fail(error.into()))?;
    let (scheme, path) = ObjectStoreScheme::parse(&url).map_err(|error| fail(error.into()))?;
    let store = build(&scheme, &url, settings).map_err(|error| fail(error.into()))?;
    Ok((Arc::new(Patient::new(store, settings.retries, settings.first_pause)), path))
}

fn build(
    scheme: &ObjectStoreScheme,
    url: &Url,
    settings: &Settings,
) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    let retry = RetryConfig {
        max_retries: settings.retries,
        retry_timeout: settings.give_up,
        backoff: BackoffConfig {
            init_backoff: settings.first_pause,
            max_backoff: settings.longest_pause,
            base: 2.0,
        },
    };
    // Key by key, so that what the environment says of proxies and certificates stays.
    let client = [
        (ClientConfigKey::ConnectTimeout, Some(milliseconds(settings.connect))),
        (ClientConfigKey::Timeout, Some(milliseconds(settings.answer))),
        (ClientConfigKey::AllowHttp, settings.allow_http.then(|| "true".to_owned())),
    ];
    let client = client.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let endpoint = settings.endpoint.clone();
    Ok(match scheme {
        ObjectStoreScheme::AmazonS3 => {
            let mut builder = AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(retry);
            for (key, value) in client {
                builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
            }
            let given = [
                (AmazonS3ConfigKey::Endpoint, endpoint),
                (AmazonS3ConfigKey::Region, settings.region.clone()),
            ];
            for (key, value) in given.into_iter().filter_map(|(key, value)| Some((key, value?))) {
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.build()?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str()).with_retry(retry);
            for (key, value) in client {
                builder = builder.with_config(GoogleConfigKey::Client(key), value);
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_config(GoogleConfigKey::BaseUrl, endpoint);
            }
            Arc::new(builder.build()?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str()).with_retry(retry);
            for (key, value) in client {
                builder = builder.with_config(AzureConfigKey::Client(key), value);
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_config(AzureConfigKey::Endpoint, endpoint);
            }
            Arc::new(builder.build()?)
        }
        ObjectStoreScheme::Http => {
            let mut options = ClientOptions::new();
            for (key, value) in client {
                options = options.with_config(key, value);
            }
            let root = &url[..Position::BeforePath];
            Arc::new(
                HttpBuilder::new().with_url(root).with_client_options(options).with_retry(retry).build()?,
            )
        }
        ObjectStoreScheme::Local => Arc::new(LocalFileSystem::new()),
        ObjectStoreScheme::Memory => Arc::new(InMemory::new()),
        other => {
            return Err(object_store::Error::NotSupported { source: format!("{other:?}").into() });
        }
    })
}

/// What an object store said, if that is why something failed.
pub fn failure<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a object_store::Error> {
    std::iter::successors(Some(error), |error| match error.downcast_ref::<std::io::Error>() {
        // It gives its cause's cause as its own.
        Some(io) => io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
        None => error.source(),
    })
    .find_map(|error| error.downcast_ref())
}

/// Whether the server refused. Listings tell it only in their text.
fn is_refusal(error: &object_store::Error) -> bool {
    match error {
        object_store::Error::Unauthenticated { .. } | object_store::Error::PermissionDenied { .. } => true,
        object_store::Error::Generic { source, .. } => {
            let text = source.to_string();
            ["401 Unauthorized", "403 Forbidden"].iter().any(|status| text.contains(status))
        }
        _ => false,
    }
}

/// What to do when an object store failed.
pub fn hint(failure: &object_store::Error) -> Option<&'static str> {
    match failure {
        error if is_refusal(error) => Some(
            "check the credentials in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
             GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_KEY) and what they may do",
        ),
        object_store::Error::Generic { store, .. } if *store != "LocalFileSystem" => Some(
            "check the network, object_store.endpoint and, for S3, the region; object_store.retries says how long to try",
        ),
        _ => None,
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_has_its_store() {
        let settings = Settings {
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            region: Some("eu-north-1".to_owned()),
            allow_http: true,
            ..Settings::default()
        };
        let opened =
            |url: &str| open(url, &settings).map(|(store, path)| (store.to_string(), path.to_string()));
        let (s3, path) = opened("s3://bucket/some/folder").unwrap();
        assert!(s3.contains("S3") && s3.contains("bucket"), "{s3}");
        assert_eq!(path, "some/folder");
        for (url, name) in [("gs://bucket/x", "bucket"), ("http://example.com/x", "Http")] {
            assert!(opened(url).unwrap().0.contains(name), "{url}");
        }
        for url in ["ftp://example.com/x", "s3://", "nothing"] {
            let error = open(url, &settings).unwrap_err();
            assert!(error.to_string().contains(url), "{error}");
        }
    }

    #[test]
    fn what_a_store_said_is_found_below_other_errors() {
        let refused = || object_store::Error::PermissionDenied { path: "a".to_owned(), source: "403".into() };
        let wrapped = parquet::errors::ParquetError::External(Box::new(std::io::Error::other(refused())));
        assert!(hint(failure(&wrapped).unwrap()).unwrap().contains("credentials"));
        let listed = LocationError::List { path: "s3://a".to_owned(), source: refused().into() };
        assert!(failure(&listed).is_some());
        assert!(failure(&std::io::Error::other("disk")).is_none());
    }
}
