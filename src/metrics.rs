//! What a schedule's monitoring reads: one text file in Prometheus' exposition format, for the textfile collector.
//!
//! Stages, exit code and memory are those of the last run, however it ended. What describes the published
//! offers (quality, age of the data, times of success) is kept from the file before when nothing was published.

use crate::engine::progress::StageFigures;
use crate::runs::manifest::Manifest;
use chrono::{DateTime, NaiveDate, Utc};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// How a run ended.
pub struct Ended<'a> {
    pub started: DateTime<Utc>,
    pub finished: DateTime<Utc>,
    pub exit_code: u8,
    /// The work was done, or there was none.
    pub succeeded: bool,
    pub stages: &'a [StageFigures],
    /// Reason and rows.
    pub rejected: &'a [(&'static str, u64)],
    pub peak_memory_bytes: u64,
    /// What was published, if anything was.
    pub published: Option<&'a Manifest>,
}

/// A metric of the file: name and meaning. All are gauges.
type Family = (&'static str, &'static str);

const LAST_SUCCESS: Family =
    ("packwise_last_success_timestamp_seconds", "End of the last run that published or found nothing new.");
const LAST_PUBLISH: Family =
    ("packwise_last_publish_timestamp_seconds", "End of the last run that published.");
const AS_OF: Family = ("packwise_data_as_of_timestamp_seconds", "End of the last day of the published data.");
const CUSTOMERS: Family = ("packwise_customers", "Customers of the published run.");
const OFFERS: Family = ("packwise_offers", "Offers of the published run.");
const ROWS: Family = ("packwise_input_rows", "Rows read for the published run.");
const WARNINGS: Family = ("packwise_warnings", "Warnings that the run was published with.");
const INDEX_RECALL: Family =
    ("packwise_index_recall_ratio", "Share of the true neighbours that the index finds, of the worst pool.");
const SILHOUETTE: Family = ("packwise_silhouette", "Silhouette of the segments, -1 to 1.");
const COVERAGE: Family = ("packwise_offer_coverage_ratio", "Share of the packages that anybody is offered.");
const BACKTEST: Family = ("packwise_backtest_recall_ratio", "Recall of the last evaluation.");

/// Of the published run: kept when nothing was published.
const KEPT: [Family; 11] = [
    LAST_SUCCESS,
    LAST_PUBLISH,
    AS_OF,
    CUSTOMERS,
    OFFERS,
    ROWS,
    WARNINGS,
    INDEX_RECALL,
    SILHOUETTE,
    COVERAGE,
    BACKTEST,
];

/// Writes the file at once, by rename: a collector never sees half of it.
pub fn write(path: &Path, ended: &Ended) -> std::io::Result<()> {
    let before = match std::fs::read_to_string(path) {
        Ok(text) => kept(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        // A file that is no text is none of ours; it is written anew.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => BTreeMap::new(),
        Err(error) => return Err(error),
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("packwise");
    // Collectors take files ending in .prom.
    let unfinished = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let mut file = std::fs::File::create(&unfinished)?;
    let written = file
        .write_all(text(ended, before).as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&unfinished, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}

/// The values to keep of an older file.
fn kept(text: &str) -> BTreeMap<&'static str, f64> {
    let samples = text.lines().filter_map(|line| line.split_once(' '));
    samples
        .filter_map(|(name, value)| {
            let (known, _) = KEPT.iter().find(|(known, _)| *known == name)?;
            Some((*known, value.trim().parse().ok()?))
        })
        .collect()
}

/// The whole file; `before` holds what is kept of an older one.
fn text(ended: &Ended, before: BTreeMap<&'static str, f64>) -> String {
    let mut lines = Lines(String::new());
    let finished = seconds(ended.finished);
    lines.one(("packwise_last_run_timestamp_seconds", "End of the last run, however it ended."), finished);
    lines.one(("packwise_exit_code", "Exit code of the last run."), f64::from(ended.exit_code));
    let took = (ended.finished - ended.started).num_milliseconds() as f64 / 1e3;
    lines.one(("packwise_run_seconds", "Seconds that the last run took."), took);
    lines.one(
        ("packwise_peak_memory_bytes", "Peak resident memory of the last run."),
        ended.peak_memory_bytes as f64,
    );
    let spilled: u64 = ended.stages.iter().map(|stage| stage.spilled_bytes).sum();
    lines.one(("packwise_spilled_bytes", "Bytes that the last run wrote to scratch."), spilled as f64);
    let mut stages = |name, help, of: fn(&StageFigures) -> f64| {
        let samples = ended.stages.iter().map(|stage| (stage.stage.as_str(), of(stage)));
        lines.labelled((name, help), "stage", samples);
    };
    stages("packwise_stage_seconds", "Seconds of each finished stage of the last run.", |s| s.seconds);
    stages("packwise_stage_rows_in", "Rows that a stage took.", |s| s.rows_in as f64);
    stages("packwise_stage_rows_out", "Rows that a stage gave.", |s| s.rows_out as f64);
    stages("packwise_stage_spilled_bytes", "Bytes that a stage wrote to scratch.", |s| {
        s.spilled_bytes as f64
    });
    let rejected = ended.rejected.iter().map(|(reason, rows)| (*reason, *rows as f64));
    lines.labelled(("packwise_rejected_rows", "Rows that the last run rejected."), "reason", rejected);

    let mut values = match ended.published {
        Some(manifest) => published(manifest),
        None => before.clone(),
    };
    let mut last = |family: Family, is_now: bool| match (is_now, before.get(family.0)) {
        (true, _) => values.insert(family.0, finished),
        (false, Some(time)) => values.insert(family.0, *time),
        (false, None) => None,
    };
    last(LAST_SUCCESS, ended.succeeded);
    last(LAST_PUBLISH, ended.published.is_some());
    for family in KEPT {
        if let Some(value) = values.get(family.0) {
            lines.one(family, *value);
        }
    }
    if let Some(as_of) = values.get(AS_OF.0) {
        let age = (finished - as_of).max(0.0);
        lines.one(("packwise_data_age_seconds", "Age of the published data when the last run ended."), age);
    }
    lines.0
}

/// What describes a published run.
fn published(manifest: &Manifest) -> BTreeMap<&'static str, f64> {
    let quality = &manifest.quality;
    let offers = &quality.offers;
    let mut values = BTreeMap::from([
        (CUSTOMERS.0, quality.customers as f64),
        (OFFERS.0, offers.offers as f64),
        (ROWS.0, manifest.input.rows as f64),
        (WARNINGS.0, quality.warnings.len() as f64),
        (COVERAGE.0, offers.packages_offered as f64 / offers.packages.max(1) as f64),
    ]);
    values.extend(quality.silhouette.map(|silhouette| (SILHOUETTE.0, silhouette)));
    values.extend(quality.backtest.as_ref().map(|backtest| (BACKTEST.0, backtest.recall)));
    let recalls = quality.neighbours.iter().map(|pool| pool.recall);
    values.extend(recalls.reduce(f64::min).map(|recall| (INDEX_RECALL.0, recall)));
    let day = manifest.as_of.parse::<NaiveDate>().ok().and_then(|day| day.succ_opt());
    values
        .extend(day.map(|day| (AS_OF.0, day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp() as f64)));
    values
}

fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1e3
}

struct Lines(String);

impl Lines {
    fn one(&mut self, family: Family, value: f64) {
        self.head(family);
        self.0.push_str(&format!("{} {value}\n", family.0));
    }

    /// One sample a value of the label; no head without samples.
    fn labelled<'a>(&mut self, family: Family, label: &str, samples: impl Iterator<Item = (&'a str, f64)>) {
        // A stage that came twice is one sample.
        let mut sums: Vec<(&str, f64)> = Vec::new();
        for (name, value) in samples {
            match sums.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += value,
                None => sums.push((name, value)),
            }
        }
        if sums.is_empty() {
            return;
        }
        self.head(family);
        for (name, value) in sums {
            self.0.push_str(&format!("{}{{{label}=\"{}\"}} {value}\n", family.0, escaped(name)));
        }
    }

    fn head(&mut self, (name, help): Family) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
    }
}

/// A label's value between quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, seconds: f64) -> StageFigures {
        StageFigures {
            stage: name.to_owned(),
            rows_in: 10,
            rows_out: 9,
            seconds,
            peak_bytes: 1,
            spilled_bytes: 5,
        }
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn failed(stages: &[StageFigures]) -> Ended<'_> {
        Ended {
            started: at(1_000),
            finished: at(1_060),
            exit_code: 3,
            succeeded: false,
            stages,
            rejected: &[("time is null", 7)],
            peak_memory_bytes: 99,
            published: None,
        }
    }

    #[test]
    fn a_failure_keeps_what_describes_the_published_run() {
        let old = "# TYPE packwise_exit_code gauge\npackwise_exit_code 0\n\
                   packwise_last_success_timestamp_seconds 500\npackwise_customers 12\n\
                   packwise_last_publish_timestamp_seconds 400\npackwise_data_as_of_timestamp_seconds 60\nodd\n";
        let stages = [stage("features", 1.5), stage("odd \"\\\n", 2.0), stage("features", 0.5)];
        let text = text(&failed(&stages), kept(old));
        for line in [
            "packwise_exit_code 3",
            "packwise_run_seconds 60",
            "packwise_last_success_timestamp_seconds 500",
            "packwise_last_publish_timestamp_seconds 400",
            "packwise_customers 12",
            "packwise_data_age_seconds 1000",
            "packwise_stage_seconds{stage=\"features\"} 2",
            "packwise_stage_seconds{stage=\"odd \\\"\\\\\\n\"} 2",
            "packwise_spilled_bytes 15",
            "packwise_rejected_rows{reason=\"time is null\"} 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_first_failure_has_no_success_and_nothing_new_is_one() {
        let text_of = |ended: &Ended| text(ended, BTreeMap::new());
        assert!(!text_of(&failed(&[])).contains("success"));
        let fresh = Ended { exit_code: 99, succeeded: true, ..failed(&[]) };
        let said = text_of(&fresh);
        assert!(said.contains("packwise_last_success_timestamp_seconds 1060\n"));
        assert!(!said.contains("packwise_last_publish") && !said.contains("packwise_stage"));
    }

    #[test]
    fn the_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("packwise.prom");
        let good = Ended { exit_code: 99, succeeded: true, ..failed(&[]) };
        write(&path, &good).unwrap();
        write(&path, &Ended { finished: at(2_000), ..failed(&[]) }).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("packwise_last_success_timestamp_seconds 1060\n"), "{text}");
        assert!(text.contains("packwise_last_run_timestamp_seconds 2000\n"), "{text}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&folder.path().join("missing/packwise.prom"), &good).is_err());
    }
}
