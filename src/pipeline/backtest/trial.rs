//! The methods of a backtest, one after the other, on the same customers.

use super::super::fit::Bench;
use super::Plan;
use crate::config::resolve::Mix;
use crate::engine::Engine;
use crate::error::Error;
use crate::evaluate::EvaluateError;
use crate::evaluate::cases::{Cases, Grouping};
use crate::evaluate::histories::Histories;
use crate::evaluate::judge::{self, Judgement, Listing};
use crate::evaluate::linear::{Linear, LinearMethod};
use crate::evaluate::methods;
use crate::evaluate::metrics::{Catalogue, Columns};
use crate::evaluate::packwise::{Base, FactsByDay, NeighboursAlone, Packwise, Profile};
use crate::evaluate::recommender::Recommender;
use crate::evaluate::report::{CutoffResult, EXACT, PACKWISE, PRICE_WEIGHTS, UNAIDED, price_name};
use crate::neighbours::pool::Neighbourhood;
use crate::recommendations::Fitted;
use crate::recommendations::model::ScoringModel;
use crate::recommendations::signals::Factor;
use crate::recommendations::tune::Lessons;

/// Everything that is compared at one cut-off.
pub(in crate::pipeline) struct Trial<'a> {
    /// The cut-off.
    pub name: String,
    pub fitted: &'a Fitted,
    /// What the weights are learned from; none: the stated weights are tested.
    pub lessons: Option<Lessons>,
    pub facts: &'a FactsByDay,
    pub cases: &'a Cases,
    pub profiles: &'a [Profile],
    /// The same with every candidate compared, where the index does not.
    pub exact: Option<(&'a Neighbourhood, &'a [Profile])>,
    /// What baselines choose their settings on; none: they are left out.
    pub before: Option<&'a Cases>,
    /// Histories without the validation baskets, to reproduce published figures.
    pub published: Option<&'a Histories>,
}

/// The figures of a cut-off, and the columns that differences are taken of.
pub(in crate::pipeline) type Outcome = (CutoffResult, Vec<(String, Columns)>);

impl Trial<'_> {
    /// Lists and figures of every method. Memory: 4 bytes an offer, rankers of three variants at a time
    /// (4 bytes a package, segment and day of the facts), and one baseline.
    pub fn hold(self, bench: Bench, plan: &Plan) -> Result<Outcome, Error> {
        let Bench { transactions, config, engine, .. } = bench;
        let Self { fitted, cases, profiles, .. } = self;
        let prices: Vec<Option<i64>> = fitted.features.packages.iter().map(|package| package.price).collect();
        let customers = fitted.features.customers.max(1) as f64;
        let popularity: Vec<f64> =
            fitted.features.package_totals.iter().map(|total| total.customers as f64 / customers).collect();
        let of_customer: Vec<u32> = profiles.iter().map(|profile| profile.segment).collect();
        let judged = judge::Bench {
            cases,
            segments: &of_customer,
            channels: &transactions.channel_names,
            catalogue: Catalogue { prices: &prices, popularity: &popularity },
            at: &plan.at,
        };
        let segments = fitted.segments.model.k;
        let base = Base {
            facts: self.facts,
            affinities: &fitted.affinities,
            profiles,
            neighbourhood: fitted.neighbourhood.as_ref(),
            segments,
            half_life_days: config.features.half_life_days,
        };
        let learn = |without| match &self.lessons {
            Some(lessons) => {
                lessons.learn(segments, without, config.recommendations.per_segment, engine.threads)
            }
            None => {
                ScoringModel::untuned(Some("no customer has purchases before the last window".to_owned()))
            }
        };
        let mut contest = Contest::new(judged, plan.at.last().copied().unwrap_or(1), engine);
        let model = learn(None);
        contest.packwise(base, &model, &learn)?;
        if let Some((neighbourhood, profiles)) = self.exact {
            let base = Base { profiles, neighbourhood: Some(neighbourhood), ..base };
            contest.method(&Packwise::new(EXACT, base, &model, 0.0, true))?;
        }
        for model in [Linear::Ease, Linear::NextSet] {
            contest.method(&LinearMethod { affinities: &fitted.affinities, model })?;
        }
        if let Some(before) = self.before {
            contest.baselines(before)?;
        }
        if let Some(published) = self.published {
            contest.published(published)?;
        }
        let quality = fitted.neighbourhood.as_ref().map(|found| &found.quality[..]).unwrap_or_default();
        let result = CutoffResult {
            cutoff: self.name,
            customers: cases.histories.len(),
            tested: cases.truths.len(),
            judgements: contest.judgements,
            chosen: contest.chosen,
            tuning: model.tuning,
            neighbour_recall: quality.iter().map(|pool| pool.recall).min_by(f64::total_cmp),
            neighbour_index: quality.first().map(|pool| pool.kind.clone()),
        };
        Ok((result, contest.columns))
    }
}

/// Lists and figures so far, method after method.
struct Contest<'a> {
    bench: judge::Bench<'a>,
    customers: Vec<usize>,
    listing: Listing,
    engine: &'a Engine,
    judgements: Vec<Judgement>,
    columns: Vec<(String, Columns)>,
    chosen: Vec<(String, String)>,
}

impl<'a> Contest<'a> {
    fn new(bench: judge::Bench<'a>, most: usize, engine: &'a Engine) -> Self {
        Self {
            customers: bench.cases.truths.iter().map(|truth| truth.customer).collect(),
            listing: Listing::new(most, engine.threads),
            bench,
            engine,
            judgements: Vec::new(),
            columns: Vec::new(),
            chosen: Vec::new(),
        }
    }

    fn method(&mut self, method: &dyn Recommender) -> Result<(), EvaluateError> {
        self.lists(method.name(), method, Mix::Any, &[Grouping::All], &self.bench.cases.histories)
    }

    /// Lists by what `histories` hold, judged as all others.
    fn lists(
        &mut self,
        name: &str,
        method: &dyn Recommender,
        mix: Mix,
        groups: &[Grouping],
        histories: &Histories,
    ) -> Result<(), EvaluateError> {
        let lists = self.listing.with_mix(mix).lists(method, histories, &self.customers);
        let (judgements, columns) = judge::judge(name, &lists, &self.bench, groups)?;
        self.judgements.extend(judgements);
        self.columns.push((name.to_owned(), columns));
        Ok(())
    }

    /// The score, what it loses without a part, and its variants.
    fn packwise(
        &mut self,
        base: Base,
        model: &ScoringModel,
        learn: &dyn Fn(Option<Factor>) -> ScoringModel,
    ) -> Result<(), EvaluateError> {
        const GROUPS: [Grouping; 4] =
            [Grouping::All, Grouping::Segment, Grouping::History, Grouping::Channel];
        let known = &self.bench.cases.histories;
        let full = Packwise::new(PACKWISE, base, model, 0.0, true);
        self.lists(PACKWISE, &full, Mix::Any, &GROUPS, known)?;
        let slots = Mix::Slots { repeat: 5, explore: 5 };
        self.lists("packwise, 5 repeat + 5 new", &full, slots, &[Grouping::All], known)?;
        self.lists("packwise, new only", &full, Mix::NewOnly, &[Grouping::All], known)?;
        drop(full);
        let alone = learn(Some(Factor::Neighbours));
        self.method(&Packwise::new(UNAIDED, base, &alone, 0.0, false))?;
        let apart = learn(Some(Factor::BoughtTogether));
        self.method(&Packwise::new("packwise without affinities", base, &apart, 0.0, true))?;
        self.method(&NeighboursAlone { base })?;
        for weight in PRICE_WEIGHTS.into_iter().filter(|weight| *weight > 0.0) {
            self.method(&Packwise::new(&price_name(weight), base, model, weight, true))?;
        }
        Ok(())
    }

    /// Every baseline, with the settings that were best on `before`.
    fn baselines(&mut self, before: &Cases) -> Result<(), EvaluateError> {
        let known = &self.bench.cases.histories;
        for baseline in methods::choose(before, self.engine.threads)? {
            let fitted = baseline.fit(known, self.engine.threads)?;
            let groups: &[Grouping] = match baseline.name {
                "own then popular (GP-Top)" => &[Grouping::All, Grouping::History],
                _ => &[Grouping::All],
            };
            self.chosen.push((baseline.name.to_owned(), fitted.name().to_owned()));
            self.lists(baseline.name, fitted.as_ref(), Mix::Any, groups, known)?;
            self.engine.progress.advance(self.customers.len() as u64 / methods::FAMILIES);
        }
        Ok(())
    }

    /// Methods with the settings and the histories of published tables.
    fn published(&mut self, training: &Histories) -> Result<(), EvaluateError> {
        let known = &self.bench.cases.histories;
        for (name, fitted, histories) in methods::published(training, known)? {
            self.chosen.push((name.to_owned(), fitted.name().to_owned()));
            self.lists(name, fitted.as_ref(), Mix::Any, &[Grouping::All], histories)?;
        }
        Ok(())
    }
}
