//! The section `[object_store]` from typed to resolved.

use super::check::Check;
use super::typed;
use crate::engine::stores::Settings;
use std::time::Duration;
use url::Url;

/// Longest time that makes sense, in seconds.
const DAY: f64 = 86_400.0;

pub(super) fn resolve(raw: &typed::ObjectStore, check: &mut Check) -> Settings {
    let endpoint = raw.endpoint.trim();
    if !endpoint.is_empty() {
        match Url::parse(endpoint) {
            Ok(url) if url.scheme() == "http" && !raw.allow_http => {
                check.problem(
                    "object_store.endpoint",
                    endpoint,
                    "is not encrypted; take https://, or set object_store.allow_http = true",
                );
            }
            Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => {}
            _ => check.problem(
                "object_store.endpoint",
                endpoint,
                "must be an address such as \"https://minio.example.com:9000\"",
            ),
        }
    }
    let mut seconds = |key: &str, value: f64, low: f64| {
        if (low..=DAY).contains(&value) {
            return Duration::from_secs_f64(value);
        }
        check.problem(
            &format!("object_store.{key}"),
            value,
            format!("must be a number of seconds from {low} to {DAY}"),
        );
        Duration::ZERO
    };
    let given = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
    Settings {
        endpoint: given(endpoint),
        region: given(&raw.region),
        allow_http: raw.allow_http,
        first_pause: seconds("first_pause_seconds", raw.first_pause_seconds, 0.001),
        longest_pause: seconds("longest_pause_seconds", raw.longest_pause_seconds, 0.001),
        give_up: seconds("give_up_seconds", raw.give_up_seconds, 0.0),
        connect: seconds("connect_seconds", raw.connect_seconds, 0.001),
        answer: seconds("answer_seconds", raw.answer_seconds, 0.001),
        retries: check.integer("object_store.retries", raw.retries, 0, 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn loaded(settings: &[&str]) -> Result<Settings, String> {
        let mut given = ["transactions.path=a", "output.path=b"].map(str::to_owned).to_vec();
        for (column, name) in [("customer", "c"), ("package", "p"), ("time", "t")] {
            given.push(format!("transactions.columns.{column}={name}"));
        }
        given.extend(settings.iter().map(|setting| (*setting).to_owned()));
        load(None, &given).map(|(config, _)| config.object_store).map_err(|error| error.to_string())
    }

    #[test]
    fn the_reference_says_the_defaults() {
        assert_eq!(loaded(&[]).unwrap(), Settings::default());
    }

    #[test]
    fn nonsense_is_refused_with_its_key() {
        for (setting, key) in [
            ("object_store.endpoint=minio:9000", "object_store.endpoint"),
            ("object_store.endpoint=http://minio:9000", "allow_http"),
            ("object_store.endpoint=ftp://minio", "object_store.endpoint"),
            ("object_store.retries=-1", "object_store.retries"),
            ("object_store.answer_seconds=0.0", "object_store.answer_seconds"),
            ("object_store.connect_seconds=nan", "object_store.connect_seconds"),
            ("object_store.give_up_seconds=inf", "object_store.give_up_seconds"),
        ] {
            let error = loaded(&[setting]).unwrap_err();
            assert!(error.contains(key), "{setting}: {error}");
        }
        let encrypted = loaded(&["object_store.endpoint=https://minio:9000"]).unwrap();
        assert_eq!(encrypted.endpoint.as_deref(), Some("https://minio:9000"));
    }
}
