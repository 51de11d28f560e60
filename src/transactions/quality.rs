//! The data-quality report: what was read, what was rejected and why, what was noticed.

use super::normalise::Reason;
use super::times::date_of;
use super::whole_customers::Cleaned;
use super::{Transactions, source::Plan};
use crate::config::resolve::OnBadFile;
use crate::tables::{CustomerType, DATA_QUALITY};
use arrow::array::{Float64Builder, RecordBatch, StringBuilder};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One figure of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    pub measure: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub share: Option<f64>,
}

/// The report, in reading order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct QualityReport {
    pub measures: Vec<Measure>,
}

impl QualityReport {
    /// Puts the figures of the pass and of the buckets together.
    pub fn new(plan: &Plan, transactions: &Transactions, cleaned: Cleaned, customers: u64) -> Self {
        let counts = &transactions.counts;
        let rows = counts.rows;
        let mut report = Self { measures: Vec::new() };
        report.number("files", plan.sources.len() as f64);
        report.files_left_out(plan);
        report.number("bytes", plan.bytes as f64);
        report.number("rows", rows as f64);
        let valid = counts.good - cleaned.future;
        report.rows("valid rows", valid, rows);
        report.rows("rejected rows", counts.rejected_rows() + cleaned.future, rows);
        for reason in Reason::ALL {
            let mut count = counts.rejected[reason as usize];
            if reason == Reason::FutureTime {
                count += cleaned.future;
            }
            if count > 0 {
                report.rows(&format!("rejected: {}", reason.text()), count, rows);
            }
        }
        if counts.forgotten > 0 {
            report.rows("rows of forgotten customers", counts.forgotten, rows);
        }
        report.rows("returns taken off revenue", counts.returns_netted, rows);
        report.rows("returns left out", counts.returns_dropped, rows);
        report.rows("exact duplicates", cleaned.duplicates, rows);
        report.rows("repeated transaction ids dropped", cleaned.repeated_transactions, rows);
        report.rows("rows without a channel", counts.null_channels, rows);
        report.rows("rows without an amount", counts.null_amounts, rows);
        report.rows("rows without a quantity", counts.null_quantities, rows);
        report.number("customers", customers as f64);
        report.number("packages", transactions.packages.len() as f64);
        report.number("channels", transactions.channel_names.len() as f64);
        if let Some(first) = counts.by_day.iter().position(|rows| *rows > 0) {
            report.text("first day", date_of(first as i64).to_string());
        }
        report.text("last day", date_of(transactions.as_of_day).to_string());
        let span = 0..=transactions.as_of_day.max(0) as usize;
        let days = span.filter(|day| counts.by_day.get(*day).is_some_and(|rows| *rows > 0)).count();
        report.number("days with rows", days as f64);
        let money = match (transactions.has_money, transactions.has_catalogue) {
            (false, _) => "unknown: neither amounts nor prices are given, so offers go by relevance only",
            (true, true) => "from the transactions where given, else the catalogue's price",
            (true, false) => "from the transactions",
        };
        report.text("money", money.into());
        report
    }

    pub fn value(&self, measure: &str) -> Option<f64> {
        self.measures.iter().find(|m| m.measure == measure)?.value
    }

    /// The share of the rows that a measure counts, 0 if it is not there.
    pub fn share(&self, measure: &str) -> f64 {
        self.measures.iter().find(|m| m.measure == measure).and_then(|m| m.share).unwrap_or(0.0)
    }

    /// How many files the figures are without, and each with what is wrong with it.
    fn files_left_out(&mut self, plan: &Plan) {
        let left_out = &plan.left_out;
        if left_out.is_empty() && plan.on_bad_file == OnBadFile::Fail {
            return;
        }
        let names: Vec<&str> = left_out.iter().map(|file| file.file.name.as_str()).collect();
        self.measures.push(Measure {
            measure: "files left out".into(),
            value: Some(left_out.len() as f64),
            text: (!names.is_empty()).then(|| names.join(", ")),
            share: None,
        });
        for file in left_out {
            self.text(&format!("left out: {}", file.file.name), file.reason.clone());
        }
    }

    fn number(&mut self, measure: &str, value: f64) {
        self.measures.push(Measure { measure: measure.into(), value: Some(value), text: None, share: None });
    }

    fn text(&mut self, measure: &str, text: String) {
        self.measures.push(Measure { measure: measure.into(), value: None, text: Some(text), share: None });
    }

    fn rows(&mut self, measure: &str, count: u64, of: u64) {
        self.measures.push(Measure {
            measure: measure.into(),
            value: Some(count as f64),
            text: None,
            share: Some(count as f64 / of.max(1) as f64),
        });
    }

    /// The rows of the `data_quality` table.
    pub fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let (mut measures, mut values) = (StringBuilder::new(), Float64Builder::new());
        let (mut texts, mut shares) = (StringBuilder::new(), Float64Builder::new());
        for measure in &self.measures {
            measures.append_value(&measure.measure);
            values.append_option(measure.value);
            texts.append_option(measure.text.as_deref());
            shares.append_option(measure.share);
        }
        RecordBatch::try_new(
            DATA_QUALITY.schema(CustomerType::Text),
            vec![
                Arc::new(measures.finish()),
                Arc::new(values.finish()),
                Arc::new(texts.finish()),
                Arc::new(shares.finish()),
            ],
        )
    }
}
