//! One customer and one package: whether it is offered, with which score, and what kept it out.

use super::model::ScoringModel;
use super::offers::STANDS;
use super::score::Candidate;
use super::signals::Factor;
use super::stage::Desk;
use super::visit::Visitor;
use super::{Fitted, RecommendationError, solve_caps, stage_of};
use crate::config::Config;
use crate::config::resolve::Mix;
use crate::engine::Engine;
use crate::engine::part::RunFolder;
use crate::engine::scratch::Scratch;
use crate::numerics::logistic::probability;
use crate::policies::{Policies, RuleInfo};
use serde::Serialize;

/// Why a package is offered to a customer, or why not.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    pub customer_id: String,
    pub package_code: String,
    /// Probability of a purchase in the window.
    pub score: f64,
    /// What it is ranked by.
    pub utility: f64,
    /// By name, summing to the utility.
    pub factors: Vec<(&'static str, f64)>,
    /// Its place by utility among all packages, before any rule.
    pub place: usize,
    pub packages: usize,
    pub outcome: Outcome,
    /// Neighbours that bought it, of those asked.
    pub neighbours: u32,
    pub consulted: usize,
    pub because_of: Option<String>,
    /// The utility of the last offer that was made instead.
    pub last_offer_utility: Option<f64>,
}

/// What became of the package.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// At this rank, from 1; with the control group that holds it back, if one does.
    Offered { rank: usize, held_out: Option<String> },
    /// By this rule.
    Refused { rule: RuleInfo },
    /// `recommendations.novelty` asks for packages of the other kind only.
    OtherKind,
    /// No rule refuses it, but the offers that were made rank higher, fill its slots, or are as many as
    /// the customer may still get.
    Outranked,
}

/// Decides on the customer exactly as the run does, and looks the package up in what came out. None if
/// nobody has the id. Takes a pass over the parts up to the customer's, and two where caps are set.
#[expect(clippy::too_many_arguments, reason = "what a run builds its offers from, and one question")]
pub fn explain(
    fitted: &Fitted,
    model: &ScoringModel,
    policies: &Policies,
    config: &Config,
    engine: &Engine,
    scratch: &Scratch,
    folder: &RunFolder,
    (id, package): (&str, u32),
) -> Result<Option<Explanation>, RecommendationError> {
    let facts = fitted.facts();
    let mut stage = stage_of(fitted, &facts, model, policies, config);
    let visitor = Visitor::new(fitted, config, engine, folder).reading(policies);
    if !policies.caps().is_empty() {
        stage.caps = Some(solve_caps(&stage, &visitor, scratch)?);
    }
    let mut desk = Desk::new(stage.packages, &stage.infos);
    let mut found = None;
    for number in 0..fitted.features.parts.len() {
        visitor.part(number, |group| -> Result<(), RecommendationError> {
            let Some(at) = (0..group.len()).find(|at| group.id(*at) == id) else { return Ok(()) };
            let near = group.near(at, None);
            let subject = group.subject(at);
            let mut all: Vec<Candidate> = Vec::new();
            stage.ranker.rank(&subject, near, stage.packages, &mut desk.board, &mut all);
            let Some(place) = all.iter().position(|candidate| candidate.package == package) else {
                return Ok(());
            };
            let candidate = all[place];
            let verdict = stage.verdict(group, at, &all, place, &mut desk)?;
            let (mut rank, mut rule, mut last) = (None, verdict, None);
            stage.decide(group, &mut desk, stage.wanted(), |_, _, decision| {
                if decision.at == at {
                    let of = |position: &usize| decision.ranking[*position].package == package;
                    rank = decision.walk.chosen.iter().position(of);
                    last = decision.walk.chosen.last().map(|position| decision.ranking[*position].utility);
                    if let Some((_, by)) = decision.walk.refused.iter().find(|(position, _)| of(position)) {
                        rule = *by;
                    }
                }
                Ok(())
            })?;
            let outcome = match (rank, stage.infos.get(rule as usize)) {
                (Some(rank), _) => Outcome::Offered {
                    rank: rank + 1,
                    held_out: policies.held_out(id.as_bytes(), package).map(str::to_owned),
                },
                (None, Some(info)) if rule != STANDS => Outcome::Refused { rule: info.clone() },
                _ => match (stage.mix, candidate.bought) {
                    (Mix::NewOnly, Some(_)) | (Mix::RepeatOnly, None) => Outcome::OtherKind,
                    _ => Outcome::Outranked,
                },
            };
            let factors = stage.ranker.factors(&subject, &candidate);
            let mut speakers = Vec::new();
            stage.ranker.speakers(&subject, &mut speakers);
            let mut named: Vec<(&'static str, f64)> =
                Factor::ALL.iter().zip(factors).map(|(factor, value)| (factor.text(), value)).collect();
            named.push(("policies", stage.ranker.preferences.of(package).1));
            let code = |package: u32| fitted.features.packages[package as usize].code.clone();
            found = Some(Explanation {
                customer_id: id.to_owned(),
                package_code: code(package),
                score: probability(candidate.log_odds),
                utility: candidate.utility,
                factors: named,
                place: place + 1,
                packages: stage.packages,
                outcome,
                neighbours: candidate.neighbours,
                consulted: near.positions.len(),
                because_of: stage.ranker.because_of(&subject, &speakers, &candidate).map(code),
                last_offer_utility: last,
            });
            Ok(())
        })?;
        if found.is_some() {
            break;
        }
    }
    Ok(found)
}
