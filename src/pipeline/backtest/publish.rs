//! What a backtest leaves in the output: its figures as a table and as JSON, and two charts.

use crate::charts::{CurvePoint, MethodLine, MethodPoint, Role, accuracy_revenue, recall_by_k};
use crate::engine::part::{PartWriter, RunFolder};
use crate::error::Error;
use crate::evaluate::judge::compared_at;
use crate::evaluate::report::{Backtest, Evaluation, PACKWISE, mean, methods, price_name};
use crate::runs::Output;
use crate::tables;
use serde::Serialize;

/// `evaluation.json`: the short form first, which runs carry, then everything.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    pub backtest: Option<Backtest>,
    pub evaluation: &'a Evaluation,
}

impl<'a> Report<'a> {
    pub fn of(evaluation: &'a Evaluation) -> Self {
        Self { backtest: evaluation.backtest(), evaluation }
    }

    /// Indented, with a line break at the end.
    pub fn json(&self) -> Result<Vec<u8>, Error> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|source| Error::Io {
            action: "write the evaluation as JSON".into(),
            source: source.into(),
        })?;
        text.push(b'\n');
        Ok(text)
    }
}

/// Writes table and charts into `folder`, then makes the evaluation visible. The chart of accuracy and
/// revenue is of the lists that methods are compared at.
pub(super) fn publish(evaluation: &Evaluation, output: &Output, folder: &RunFolder) -> Result<(), Error> {
    let batch = evaluation.batch().map_err(|source| Error::Arrow { action: "make a table", source })?;
    let mut writer = PartWriter::create(folder, tables::EVALUATION.name, 0, batch.schema())?;
    writer.write(&batch)?;
    writer.finish()?;
    let (lines, points, curve) = drawn(evaluation);
    folder.put("recall_by_k.svg", recall_by_k(&lines).into_bytes())?;
    let k = compared_at(&evaluation.at);
    folder.put("accuracy_revenue.svg", accuracy_revenue(k, &points, &curve).into_bytes())?;
    folder.settle()?;
    output.publish_evaluation(&evaluation.id, Report::of(evaluation).json()?)?;
    Ok(())
}

fn role(method: &str) -> Role {
    match method {
        PACKWISE => Role::Packwise,
        variant if variant.starts_with(PACKWISE) => Role::Variant,
        _ => Role::Other,
    }
}

/// What the charts show: every method but the points of the curve.
fn drawn(evaluation: &Evaluation) -> (Vec<MethodLine>, Vec<MethodPoint>, Vec<CurvePoint>) {
    let on_curve: Vec<String> =
        evaluation.price_curve.iter().map(|point| price_name(point.price_weight)).collect();
    let names: Vec<String> =
        methods(evaluation).into_iter().filter(|name| !on_curve.contains(name)).collect();
    let lines = names.iter().map(|name| MethodLine {
        name: name.clone(),
        role: role(name),
        recalls: evaluation
            .at
            .iter()
            .filter_map(|k| Some((*k, mean(evaluation, name, *k, |row| row.figures.recall)?)))
            .collect(),
    });
    let k = compared_at(&evaluation.at);
    let points = names.iter().filter_map(|name| {
        Some(MethodPoint {
            name: name.clone(),
            role: role(name),
            recall: mean(evaluation, name, k, |row| row.figures.recall)?,
            revenue: mean(evaluation, name, k, |row| row.figures.revenue_recall)?,
        })
    });
    let curve = evaluation.price_curve.iter().map(|point| CurvePoint {
        gamma: point.price_weight,
        recall: point.recall,
        revenue: point.revenue_recall,
    });
    (lines.collect(), points.collect(), curve.collect())
}
