//! The models of a run, and what they say about themselves.

use super::Settings;
use super::collect::Summaries;
use super::models::{
    Dropout, FitError, FitOptions, FitReport, PurchaseFit, SpendFit, SpendRows, Tuples, ValueHorizonError,
    fit_purchases, fit_spend,
};
use super::scorer::Scorer;

/// Everything that was fitted. A model that cannot be is an error with a sentence about the customers, and
/// the tables that need it say so.
#[derive(Debug)]
pub struct Models {
    /// Both purchase models; the first is the one that the configuration asks for.
    pub purchases: [(Dropout, Result<PurchaseFit, FitError>); 2],
    pub spend: Result<SpendFit, SpendFailure>,
    /// One customer in so many was fitted to.
    pub one_in: u64,
}

/// Why there is no spend model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SpendFailure {
    #[error("no money is known: neither amounts nor prices")]
    NoMoney,
    #[error(transparent)]
    Fit(#[from] FitError),
}

/// One parameter of a model, or, without one, what the model says.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRow {
    pub model: &'static str,
    pub parameter: Option<&'static str>,
    pub estimate: Option<f64>,
    pub standard_error: Option<f64>,
    pub log_likelihood: Option<f64>,
    pub gradient_norm: Option<f64>,
    pub condition: Option<f64>,
    pub converged: Option<bool>,
    pub customers: u64,
    pub tuples: Option<u64>,
    pub note: String,
}

impl Models {
    /// Fits both purchase models and the spend model.
    pub fn fit(
        tuples: &Tuples,
        one_in: u64,
        spend: &SpendRows,
        has_money: bool,
        settings: &Settings,
    ) -> Self {
        let options = FitOptions { penalty: settings.penalty, ..FitOptions::default() };
        let other = match settings.model {
            Dropout::BgNbd => Dropout::MbgNbd,
            Dropout::MbgNbd => Dropout::BgNbd,
        };
        Self {
            purchases: [settings.model, other]
                .map(|dropout| (dropout, fit_purchases(tuples, dropout, &options))),
            spend: match has_money {
                true => fit_spend(spend, &options).map_err(SpendFailure::from),
                false => Err(SpendFailure::NoMoney),
            },
            one_in,
        }
    }

    /// The models of the whole base.
    pub fn of(summaries: &Summaries, has_money: bool, settings: &Settings) -> Self {
        Self::fit(&summaries.tuples, summaries.one_in, &summaries.spend, has_money, settings)
    }

    /// What values come from; None without a purchase model.
    pub fn scorer(&self, settings: &Settings) -> Result<Option<Scorer>, ValueHorizonError> {
        let [(_, fit), _] = &self.purchases;
        let Ok(fit) = fit else { return Ok(None) };
        let spend = self.spend.as_ref().ok().map(|fit| fit.model);
        Scorer::new(fit.model, spend, fit.unit, settings.months, settings.discount).map(Some)
    }

    /// The rows of `value_models`.
    pub fn rows(&self) -> Vec<ModelRow> {
        let mut rows = Vec::new();
        let part = match self.one_in {
            1 => String::new(),
            many => format!("fitted to one customer in {many}; "),
        };
        for (dropout, fit) in &self.purchases {
            match fit {
                Ok(fit) => report(dropout.name(), &fit.report, &part, &mut rows),
                Err(error) => rows.push(failed(dropout.name(), error.to_string())),
            }
        }
        match &self.spend {
            Ok(fit) => {
                let correlation = fit.correlation.map_or_else(String::new, |r| {
                    format!("correlation of frequency and value {r:.3} (assumed 0); ")
                });
                report("Gamma-Gamma", &fit.report, &correlation, &mut rows);
            }
            Err(error) => rows.push(failed("Gamma-Gamma", error.to_string())),
        }
        rows
    }
}

fn report<const N: usize>(model: &'static str, report: &FitReport<N>, lead: &str, rows: &mut Vec<ModelRow>) {
    let mut notes: Vec<String> = report.unidentified.iter().map(ToString::to_string).collect();
    if !report.converged {
        notes.push("the fit did not converge".to_owned());
    }
    let note = format!("{lead}{}", notes.join("; ")).trim_end_matches("; ").to_owned();
    for at in 0..N {
        rows.push(ModelRow {
            model,
            parameter: Some(report.names[at]),
            estimate: Some(report.parameters[at]),
            standard_error: report.standard_errors[at],
            log_likelihood: Some(report.log_likelihood),
            gradient_norm: Some(report.gradient_norm),
            condition: report.condition,
            converged: Some(report.converged),
            customers: report.customers,
            tuples: Some(report.tuples as u64),
            note: note.clone(),
        });
    }
}

fn failed(model: &'static str, note: String) -> ModelRow {
    ModelRow {
        model,
        parameter: None,
        estimate: None,
        standard_error: None,
        log_likelihood: None,
        gradient_norm: None,
        condition: None,
        converged: None,
        customers: 0,
        tuples: None,
        note,
    }
}
