//! The result of a backtest: rows for the table, differences with intervals, and what is published.

use super::EvaluateError;
use super::bootstrap::{Interval, Pair, differences};
use super::cases::Grouping;
use super::judge::Judgement;
use super::metrics::{Columns, Metric};
use crate::privacy::suppression::hidden_groups;
use crate::recommendations::model::Tuning;
use crate::tables::{self, CustomerType};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The published score's name in every report.
pub const PACKWISE: &str = "packwise";
/// The score without what neighbours buy, its weights learned without it.
pub const UNAIDED: &str = "packwise without neighbours";
/// The score over the true neighbours rather than those that the index finds.
pub const EXACT: &str = "packwise, exact neighbours";
/// Price weights of the accuracy-revenue curve.
pub const PRICE_WEIGHTS: [f64; 5] = [0.0, 0.25, 0.5, 1.0, 2.0];
/// Resamples of every interval.
const REPEATS: usize = 1_000;

/// What a difference is of.
const COMPARED: [(&str, Metric, Option<Metric>); 3] = [
    ("recall", Metric::Recall, None),
    ("ndcg", Metric::Ndcg, None),
    ("revenue_recall", Metric::HitMoney, Some(Metric::TruthMoney)),
];

/// The figures of one cut-off.
#[derive(Debug, Clone, Serialize)]
pub struct CutoffResult {
    /// The last day that was seen; for the last-basket protocol its name.
    pub cutoff: String,
    /// Customers with a history, and those of them that were tested.
    pub customers: usize,
    pub tested: usize,
    pub judgements: Vec<Judgement>,
    /// Settings that baselines chose, by method.
    pub chosen: Vec<(String, String)>,
    pub tuning: Tuning,
    /// Share of the true neighbours that the index found, if there is one.
    pub neighbour_recall: Option<f64>,
    /// Its kind: exact, cells or hnsw.
    pub neighbour_index: Option<String>,
}

/// A difference between packwise and another method over the customers of all cut-offs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comparison {
    pub against: String,
    pub metric: String,
    pub k: usize,
    /// packwise less the other, with its 95 % interval.
    pub difference: f64,
    pub low: f64,
    pub high: f64,
}

/// Everything that a backtest found.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    pub id: String,
    pub packwise_version: &'static str,
    /// "window" or "last-basket".
    pub protocol: &'static str,
    pub window_days: Option<u32>,
    /// Which customers are tested, in words.
    pub customers: String,
    /// What the history of a tested customer holds, in words.
    pub history: String,
    pub at: Vec<usize>,
    pub cutoffs: Vec<CutoffResult>,
    pub comparisons: Vec<Comparison>,
    /// Price weight, recall and revenue recall of the re-ranked score, means over cut-offs.
    pub price_curve: Vec<PricePoint>,
    pub seconds: f64,
}

/// The re-rank by price at one strength.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct PricePoint {
    pub price_weight: f64,
    pub recall: f64,
    pub revenue_recall: f64,
}

/// What a run carries of the last backtest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backtest {
    pub id: String,
    pub protocol: String,
    pub window_days: Option<u32>,
    pub cutoffs: Vec<String>,
    pub tested: u64,
    pub k: usize,
    pub recall: f64,
    pub ndcg: f64,
    pub repeat_recall: Option<f64>,
    pub explore_recall: Option<f64>,
    pub revenue_recall: Option<f64>,
    /// The best other method by recall, and its recall.
    pub best_other: Option<(String, f64)>,
}

/// What the score re-ranked by price is called.
pub fn price_name(weight: f64) -> String {
    format!("{PACKWISE}, price weight {weight}")
}

/// A figure of a method: the mean over cut-offs of all customers.
pub fn mean(
    evaluation: &Evaluation,
    method: &str,
    k: usize,
    of: impl Fn(&Judgement) -> Option<f64>,
) -> Option<f64> {
    let values: Vec<f64> = evaluation
        .cutoffs
        .iter()
        .flat_map(|cutoff| &cutoff.judgements)
        .filter(|row| row.method == method && row.grouping == Grouping::All.text() && row.figures.k == k)
        .filter_map(of)
        .collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The methods in the order of the report.
pub fn methods(evaluation: &Evaluation) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in evaluation.cutoffs.iter().flat_map(|cutoff| &cutoff.judgements) {
        if !names.contains(&row.method) {
            names.push(row.method.clone());
        }
    }
    names
}

/// Differences between packwise and every other method; `columns` holds what each method's lists were
/// worth at each cut-off, customer by customer.
pub fn compare(
    columns: &[(String, Vec<Columns>)],
    k: usize,
    seed: u64,
    threads: usize,
) -> Result<Vec<Comparison>, EvaluateError> {
    let all = |own: &[Columns], metric: Metric| -> Vec<f32> {
        own.iter().flat_map(|columns| columns.get(k, metric).unwrap_or_default().iter().copied()).collect()
    };
    let Some((_, packwise)) = columns.iter().find(|(name, _)| name == PACKWISE) else {
        return Ok(Vec::new());
    };
    let mut comparisons = Vec::new();
    for (name, metric, denominator) in COMPARED {
        let own = all(packwise, metric);
        let denominators = denominator.map(|metric| all(packwise, metric));
        if denominators.as_ref().is_some_and(|money| money.iter().sum::<f32>() <= 0.0) {
            continue;
        }
        let others: Vec<(&String, Vec<f32>)> = columns
            .iter()
            .filter(|(name, _)| name != PACKWISE)
            .map(|(name, columns)| (name, all(columns, metric)))
            .collect();
        let pairs: Vec<Pair> = others
            .iter()
            .map(|(_, other)| Pair { a: &own, b: other, denominators: denominators.as_deref() })
            .collect();
        for ((against, _), Interval { mean, low, high, .. }) in
            others.iter().zip(differences(&pairs, REPEATS, seed, threads)?)
        {
            comparisons.push(Comparison {
                against: (*against).clone(),
                metric: name.to_owned(),
                k,
                difference: mean,
                low,
                high,
            });
        }
    }
    Ok(comparisons)
}

impl Evaluation {
    /// Takes out the figures of groups of fewer than `k` customers, and of so many more that the figures of all do not
    /// give them away.
    pub fn leave_out_small_groups(&mut self, k: u64) {
        for cutoff in &mut self.cutoffs {
            let mut lines: BTreeMap<(String, &str, usize), Vec<usize>> = BTreeMap::new();
            for (number, row) in
                cutoff.judgements.iter().enumerate().filter(|(_, row)| row.grouping != Grouping::All.text())
            {
                lines.entry((row.method.clone(), row.grouping, row.figures.k)).or_default().push(number);
            }
            let mut hidden = vec![false; cutoff.judgements.len()];
            for line in lines.values() {
                let customers: Vec<u64> =
                    line.iter().map(|row| cutoff.judgements[*row].figures.customers).collect();
                line.iter()
                    .zip(hidden_groups(&customers, k))
                    .for_each(|(row, is_hidden)| hidden[*row] = is_hidden);
            }
            let mut hidden = hidden.into_iter();
            cutoff.judgements.retain(|_| !hidden.next().unwrap_or(false));
        }
    }

    /// Fills in the accuracy-revenue curve from the judgements of the re-ranked variants.
    pub fn draw_price_curve(&mut self) {
        let k = super::judge::compared_at(&self.at);
        let point = |price_weight: f64| {
            let name = if price_weight == 0.0 { PACKWISE.to_owned() } else { price_name(price_weight) };
            Some(PricePoint {
                price_weight,
                recall: mean(self, &name, k, |row| row.figures.recall)?,
                revenue_recall: mean(self, &name, k, |row| row.figures.revenue_recall)?,
            })
        };
        self.price_curve = PRICE_WEIGHTS.into_iter().filter_map(point).collect();
    }

    /// What a run's manifest carries; None if packwise was not tested.
    pub fn backtest(&self) -> Option<Backtest> {
        let k = super::judge::compared_at(&self.at);
        let best_other = methods(self)
            .into_iter()
            .filter(|name| !name.starts_with(PACKWISE))
            .filter_map(|name| mean(self, &name, k, |row| row.figures.recall).map(|recall| (name, recall)))
            .max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
        Some(Backtest {
            id: self.id.clone(),
            protocol: self.protocol.to_owned(),
            window_days: self.window_days,
            cutoffs: self.cutoffs.iter().map(|cutoff| cutoff.cutoff.clone()).collect(),
            tested: self.cutoffs.iter().map(|cutoff| cutoff.tested as u64).sum(),
            k,
            recall: mean(self, PACKWISE, k, |row| row.figures.recall)?,
            ndcg: mean(self, PACKWISE, k, |row| row.figures.ndcg)?,
            repeat_recall: mean(self, PACKWISE, k, |row| row.figures.repeat_recall),
            explore_recall: mean(self, PACKWISE, k, |row| row.figures.explore_recall),
            revenue_recall: mean(self, PACKWISE, k, |row| row.figures.revenue_recall),
            best_other,
        })
    }

    /// The table `evaluation`.
    pub fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let rows: Vec<(&str, &Judgement)> = self
            .cutoffs
            .iter()
            .flat_map(|cutoff| cutoff.judgements.iter().map(|row| (cutoff.cutoff.as_str(), row)))
            .collect();
        let text = |of: &dyn Fn(&(&str, &Judgement)) -> String| {
            Arc::new(StringArray::from_iter_values(rows.iter().map(of))) as ArrayRef
        };
        let count = |of: &dyn Fn(&Judgement) -> i64| {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, row)| of(row)))) as ArrayRef
        };
        let figure = |of: &dyn Fn(&Judgement) -> Option<f64>| {
            Arc::new(rows.iter().map(|(_, row)| of(row)).collect::<Float64Array>()) as ArrayRef
        };
        RecordBatch::try_new(
            tables::EVALUATION.schema(CustomerType::Text),
            vec![
                text(&|_| self.protocol.to_owned()),
                text(&|(cutoff, _)| (*cutoff).to_owned()),
                text(&|(_, row)| row.method.clone()),
                text(&|(_, row)| row.grouping.to_owned()),
                text(&|(_, row)| row.group.clone()),
                count(&|row| row.figures.k as i64),
                count(&|row| row.figures.customers as i64),
                figure(&|row| row.figures.precision),
                figure(&|row| row.figures.recall),
                figure(&|row| row.figures.hit),
                figure(&|row| row.figures.ndcg),
                figure(&|row| row.figures.ndcg_full),
                figure(&|row| row.figures.map),
                figure(&|row| row.figures.repeat_recall),
                figure(&|row| row.figures.explore_recall),
                figure(&|row| row.figures.repeat_share_of_truth),
                figure(&|row| row.figures.repeat_share_of_list),
                figure(&|row| row.figures.revenue_recall),
                figure(&|row| row.figures.upsell_recall),
                figure(&|row| row.figures.coverage),
                figure(&|row| row.figures.gini),
                figure(&|row| row.figures.novelty),
                figure(&|row| row.figures.same_for_all),
            ],
        )
    }
}
