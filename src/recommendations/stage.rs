//! The offers of a group of customers: rank, ask the rules, choose, explain.

use super::board::{Board, Near};
use super::capped::{CapPlan, CapSpillWriter, candidates_of};
use super::figures::{Counted, Tally};
use super::offers::{Rule, STANDS, Walk};
use super::reasons::{Source, Wording};
use super::rules::{CustomerFacts, Excluded, Rules};
use super::score::{Candidate, Ranker};
use super::signals::Subject;
use super::visit::Group;
use super::write::{OfferRows, OfferWriter, Row};
use super::{RecommendationError, SPARE, SPARE_WITHOUT_POLICIES};
use crate::config::resolve::Mix;
use crate::numerics::logistic::probability;
use crate::numerics::random::{hash_bytes, hash_u64};
use crate::policies::{Pairs, Pins, Policies, RuleInfo};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use std::ops::Range;
use std::sync::Arc;

/// Rules of the configuration come before those of the policy file.
const BUILT_IN: Rule = Excluded::ALL.len() as Rule;

/// Customers that are decided on together: few enough that their rankings, some 3 KB each, stay in a cache until
/// offers are made of them, and enough for the predicates of policies.
const DECIDED: usize = 256;

/// Decides which customers' lists are compared.
const LIST_SAMPLE: u64 = 0x6c69_7374;

/// What all workers share.
pub(super) struct Stage<'a> {
    pub ranker: Ranker<'a>,
    pub rules: Rules,
    pub policies: &'a Policies,
    /// All rules: those of the configuration, then those of the policy file.
    pub infos: Vec<RuleInfo>,
    pub top: usize,
    pub mix: Mix,
    /// Currency units, NaN if unknown, by package.
    pub prices: Vec<f64>,
    pub wording: Wording,
    pub packages: usize,
    /// One customer in so many is looked at for lists that are the same.
    pub list_step: u64,
    /// Prices of capped packages, and who goes without, once they are known.
    pub caps: Option<CapPlan>,
}

/// A worker's memory between groups.
pub(super) struct Desk {
    pub board: Board,
    /// Since it was last taken.
    pub tally: Tally,
    seen: Vec<Rule>,
    verdicts: Vec<Rule>,
    columns: PairColumns,
    /// By customer; kept, because memory that comes and goes costs more than what is in it.
    ranked: Vec<Ranked>,
    /// Of the part before.
    pub rows: OfferRows,
}

/// Some customers of a group that are decided on together.
struct Few<'a> {
    group: &'a Group<'a>,
    /// Of the group.
    range: Range<usize>,
    /// Their columns that policies ask for.
    customers: RecordBatch,
    ids: ArrayRef,
}

impl<'a> Few<'a> {
    fn of(group: &'a Group<'a>, range: Range<usize>, customers: &RecordBatch) -> Self {
        let ids = group.view.ids.slice(group.row(range.start), range.len());
        // Without policies there are no columns, and no rows of them either.
        let customers = match customers.num_rows() {
            0 => customers.clone(),
            _ => customers.slice(range.start, range.len()),
        };
        Self { group, range, customers, ids }
    }
}

/// Pairs of the group by column.
#[derive(Default)]
struct PairColumns {
    customers: Vec<u32>,
    packages: Vec<u32>,
    probability: Vec<f64>,
    price: Vec<f64>,
    times: Vec<i64>,
    days_since_last: Vec<i64>,
    rank: Vec<i64>,
}

/// One customer's ranking within the group's.
#[derive(Default)]
struct Ranked {
    candidates: Vec<Candidate>,
    /// The first rule of the policy file that refuses each of them; none without policies.
    verdicts: Vec<Rule>,
    /// The first so many are pinned.
    pinned: usize,
    /// Everything was ranked.
    complete: bool,
    /// What was chosen of them.
    walk: Walk,
}

impl Desk {
    pub fn new(packages: usize, infos: &[RuleInfo]) -> Self {
        Self {
            board: Board::new(packages),
            tally: Tally::new(packages, infos),
            seen: Vec::new(),
            verdicts: Vec::new(),
            columns: PairColumns::default(),
            ranked: Vec::new(),
            rows: OfferRows::default(),
        }
    }
}

impl PairColumns {
    fn clear(&mut self) {
        let Self { customers, packages, probability, price, times, days_since_last, rank } = self;
        customers.clear();
        packages.clear();
        probability.clear();
        price.clear();
        times.clear();
        days_since_last.clear();
        rank.clear();
    }

    fn push(
        &mut self,
        customer: usize,
        rank: usize,
        candidate: &Candidate,
        subject: &Subject,
        prices: &[f64],
    ) {
        let own = candidate.bought.and_then(|at| subject.bought.get(at as usize));
        self.customers.push(customer as u32);
        self.packages.push(candidate.package);
        self.probability.push(probability(candidate.log_odds));
        self.price.push(prices[candidate.package as usize]);
        self.times.push(own.map_or(0, |own| own.times as i64));
        self.days_since_last.push(own.map_or(-1, |own| i64::from(subject.today - own.last_day)));
        self.rank.push(rank as i64 + 1);
    }

    fn pairs(&self) -> Pairs<'_> {
        Pairs {
            customers: &self.customers,
            packages: &self.packages,
            probability: &self.probability,
            price: &self.price,
            times: &self.times,
            days_since_last: &self.days_since_last,
            rank: &self.rank,
        }
    }
}

/// What becomes of one customer's ranking.
pub(super) struct Decision<'d> {
    pub row: usize,
    pub at: usize,
    pub ranking: &'d [Candidate],
    /// The first so many of the ranking are pinned.
    pub pinned: usize,
    pub walk: &'d Walk,
}

impl Stage<'_> {
    /// Offers to find for each customer: more than are made where prices have yet to choose.
    pub fn wanted(&self) -> usize {
        if self.caps.is_some() { (self.top + SPARE).min(self.packages) } else { self.top }
    }

    /// The first rule that refuses the package at `place` of a customer's whole ranking.
    pub fn verdict(
        &self,
        group: &Group,
        at: usize,
        ranking: &[Candidate],
        place: usize,
        desk: &mut Desk,
    ) -> Result<Rule, RecommendationError> {
        let one = Few::of(group, at..at + 1, &self.customers(group)?);
        let mut ranked = [Ranked { candidates: ranking.to_vec(), ..Ranked::default() }];
        self.judge(&one, &[0], &mut ranked, desk)?;
        let subject = group.subject(at);
        Ok(if place < ranking.len() {
            self.refuses(&subject, self.facts(&subject), &ranked[0], place)
        } else {
            STANDS
        })
    }

    /// Decides on every customer of the group and hands each decision to `each`.
    pub fn decide(
        &self,
        group: &Group,
        desk: &mut Desk,
        most_offers: usize,
        mut each: impl FnMut(&Group, &mut Desk, Decision) -> Result<(), RecommendationError>,
    ) -> Result<(), RecommendationError> {
        let customers = self.customers(group)?;
        let pins = self.policies.pins(&customers, group.len())?;
        let mut ranked = std::mem::take(&mut desk.ranked);
        for first in (0..group.len()).step_by(DECIDED) {
            let range = first..(first + DECIDED).min(group.len());
            ranked.resize_with(range.len(), Ranked::default);
            let some = Few::of(group, range, &customers);
            self.choose(&some, &pins, most_offers, &mut ranked, desk)?;
            for (at, own) in some.range.zip(&ranked) {
                let Ranked { candidates: ranking, pinned, walk, .. } = own;
                each(group, desk, Decision { row: group.row(at), at, ranking, pinned: *pinned, walk })?;
            }
        }
        desk.ranked = ranked;
        Ok(())
    }

    /// Ranks some customers, asks the rules, and chooses.
    fn choose(
        &self,
        some: &Few,
        pins: &Pins,
        most_offers: usize,
        ranked: &mut [Ranked],
        desk: &mut Desk,
    ) -> Result<(), RecommendationError> {
        let spare = match self.policies.is_empty() {
            false => SPARE,
            true if self.rules.refuse() => SPARE_WITHOUT_POLICIES,
            true => 0,
        };
        let most = (most_offers + spare).min(self.packages);
        let everybody: Vec<usize> = (0..ranked.len()).collect();
        self.rank(some, &everybody, most, pins, ranked, &mut desk.board);
        self.judge(some, &everybody, ranked, desk)?;
        let mut short: Vec<usize> = Vec::new();
        for (at, own) in ranked.iter_mut().enumerate() {
            if !self.walk(some, at, own, most_offers) && !own.complete {
                short.push(at);
            }
        }
        // Where rules took more than was spare, everything is ranked.
        if !short.is_empty() {
            self.rank(some, &short, self.packages, pins, ranked, &mut desk.board);
            self.judge(some, &short, ranked, desk)?;
            for at in short {
                self.walk(some, at, &mut ranked[at], most_offers);
            }
        }
        Ok(())
    }

    /// Ranks some of the customers.
    fn rank(
        &self,
        some: &Few,
        of: &[usize],
        most: usize,
        pins: &Pins,
        ranked: &mut [Ranked],
        board: &mut Board,
    ) {
        let Few { group, range, .. } = some;
        for (turn, own) in of.iter().enumerate() {
            let at = range.start + own;
            let near = group.near(at, of.get(turn + 1).map(|next| range.start + next));
            self.rank_one(group, at, near, most, pins, board, &mut ranked[*own]);
        }
    }

    /// Ranks one customer, pinned packages first.
    #[expect(clippy::too_many_arguments, reason = "one customer's share of the group")]
    fn rank_one(
        &self,
        group: &Group,
        at: usize,
        near: Near,
        most: usize,
        pins: &Pins,
        board: &mut Board,
        out: &mut Ranked,
    ) {
        let subject = group.subject(at);
        let Ranked { candidates, pinned, complete, .. } = out;
        self.ranker.rank(&subject, near, most, board, candidates);
        *pinned = 0;
        for pin in pins.of(at) {
            let candidate = match candidates.iter().position(|known| known.package == pin.package) {
                Some(known) => candidates.remove(known),
                None => self.ranker.one(&subject, pin.package, board),
            };
            candidates.insert(*pinned, candidate);
            *pinned += 1;
        }
        *complete = most == self.packages;
    }

    /// Finds the first rule of the policy file that refuses each candidate of some of the customers.
    fn judge(
        &self,
        some: &Few,
        of: &[usize],
        ranked: &mut [Ranked],
        desk: &mut Desk,
    ) -> Result<(), RecommendationError> {
        if self.policies.is_empty() {
            return Ok(());
        }
        desk.columns.clear();
        for at in of {
            let subject = some.group.subject(some.range.start + at);
            for (rank, candidate) in ranked[*at].candidates.iter().enumerate() {
                desk.columns.push(*at, rank, candidate, &subject, &self.prices);
            }
        }
        let pairs = desk.columns.pairs();
        self.policies.judge(&some.customers, some.ids.as_ref(), &pairs, &mut desk.verdicts)?;
        let mut found = desk.verdicts.iter();
        for at in of {
            let Ranked { candidates, verdicts, .. } = &mut ranked[*at];
            verdicts.clear();
            verdicts.extend(found.by_ref().take(candidates.len()));
        }
        Ok(())
    }

    /// What rules of the configuration need to know of a customer.
    fn facts(&self, subject: &Subject) -> CustomerFacts {
        let is_asked = self.rules.ask_for_prices() && !subject.ln_usual.is_nan();
        CustomerFacts { usual_price: if is_asked { f64::from(subject.ln_usual).exp() } else { 0.0 } }
    }

    /// The first rule that refuses the candidate at a place of a ranking.
    fn refuses(&self, subject: &Subject, customer: CustomerFacts, ranked: &Ranked, place: usize) -> Rule {
        let candidate = &ranked.candidates[place];
        let last = candidate.bought.map(|at| subject.bought[at as usize].last_day);
        if let Some(rule) = self.rules.excluded(candidate.package, customer, last) {
            return rule as Rule;
        }
        match ranked.verdicts.get(place).copied().unwrap_or(STANDS) {
            STANDS => STANDS,
            rule if place < ranked.pinned && !self.policies.refuses_pin(rule) => STANDS,
            rule => rule + BUILT_IN,
        }
    }

    /// Chooses offers; whether as many as wanted were found.
    fn walk(&self, some: &Few, at: usize, ranked: &mut Ranked, most_offers: usize) -> bool {
        let subject = some.group.subject(some.range.start + at);
        let customer = self.facts(&subject);
        let mut walk = std::mem::take(&mut ranked.walk);
        let candidates = &ranked.candidates;
        walk.down(candidates, most_offers, self.mix, ranked.pinned, |place, chosen| {
            match self.refuses(&subject, customer, ranked, place) {
                STANDS => {
                    let package = candidates[place].package;
                    let mut others = chosen.iter().map(|known| candidates[*known].package);
                    let other = others.find_map(|other| self.policies.together(package, other));
                    other.map_or(STANDS, |rule| rule + BUILT_IN)
                }
                rule => rule,
            }
        });
        let found = walk.chosen.len() >= most_offers;
        // Before the caps: what the first pass counted is what the second one chooses from.
        if let Some((left, rule)) = self.policies.allowance(some.ids.as_ref(), at) {
            for position in walk.chosen.split_off(walk.chosen.len().min(left as usize)) {
                walk.refused.push((position, rule + BUILT_IN));
            }
        }
        if let Some(caps) = &self.caps {
            let (part, row) = (some.group.number, some.group.row(some.range.start + at));
            caps.apply(candidates, ranked.pinned, part, row, self.top, BUILT_IN, &mut walk);
        }
        ranked.walk = walk;
        found
    }

    /// The columns of the group's customers that policies ask for.
    fn customers(&self, group: &Group) -> Result<RecordBatch, RecommendationError> {
        if self.policies.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::new(Schema::empty())));
        }
        let view = group.view.columns().slice(group.range.start, group.len());
        let segments = group.view.segments[group.range.clone()].iter().map(|segment| i64::from(*segment) + 1);
        let mut fields: Vec<_> = view.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("segment", DataType::Int64, false)));
        let mut columns = view.columns().to_vec();
        columns.push(Arc::new(Int64Array::from_iter_values(segments)));
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// Writes down what one customer could be offered, for the caps.
    pub fn note(
        &self,
        group: &Group,
        decision: &Decision,
        offers: &mut Vec<super::caps::Candidate>,
        writer: &mut CapSpillWriter,
    ) -> Result<(), RecommendationError> {
        candidates_of(decision.ranking, &decision.walk.chosen, decision.pinned, offers);
        let key = hash_bytes(&group.id_bytes(decision.at), 0);
        writer.add(decision.row, key, offers).map_err(RecommendationError::Spill)
    }

    /// Writes one customer's offers and counts them.
    pub fn publish(
        &self,
        group: &Group,
        desk: &mut Desk,
        decision: &Decision,
        writer: &mut OfferWriter,
    ) -> Result<(), RecommendationError> {
        let Decision { row, at, ranking, walk, .. } = decision;
        let subject = group.subject(*at);
        let id = group.id_bytes(*at);
        let consulted = group.nearest(*at).map_or(0, |(_, positions, _)| positions.len());
        if let Some((pool, positions, squared)) = group.nearest(*at) {
            writer.neighbours(&group.view.ids, *row, pool, (positions, squared))?;
        }
        let revenue =
            |candidate: &Candidate| probability(candidate.log_odds) * self.prices[candidate.package as usize];
        let mut held: Vec<(Rule, f64)> = Vec::new();
        let mut speakers = Vec::new();
        self.ranker.speakers(&subject, &mut speakers);
        let mut offers = Vec::with_capacity(walk.chosen.len());
        for (rank, position) in walk.chosen.iter().enumerate() {
            let candidate = &ranking[*position];
            let factors = self.ranker.factors(&subject, candidate);
            let source = Source::of(candidate, &factors);
            let held_out = self.policies.held_out(&id, candidate.package);
            let score = probability(candidate.log_odds);
            let earned = score * self.prices[candidate.package as usize];
            if let Some(rule) = held_out.and_then(|name| self.policies.number(name)) {
                held.push((rule + BUILT_IN, earned));
            }
            offers.push(Row {
                rank,
                candidate,
                score,
                factors,
                boost: self.ranker.preferences.of(candidate.package).1,
                source,
                subject: &subject,
                because_of: self.ranker.because_of(&subject, &speakers, candidate),
                consulted,
                wording: self.wording,
                held_out,
            });
            desk.tally.offer(&Counted {
                package: candidate.package,
                source,
                is_new: candidate.bought.is_none(),
                held_out: held_out.is_some(),
                revenue: earned,
            });
        }
        writer.offers(&group.view.ids, *row, &offers)?;
        let taken = walk.refused.iter().map(|(position, rule)| (*rule, revenue(&ranking[*position])));
        let considered = (walk.chosen.len() + walk.refused.len()) as u64;
        desk.tally.funnel.walk(considered, taken.chain(held.iter().copied()), &mut desk.seen);
        desk.tally.customers += 1;
        if hash_bytes(&id, LIST_SAMPLE).is_multiple_of(self.list_step) {
            let list = walk.chosen.iter().fold(LIST_SAMPLE, |hash, position| {
                hash_u64(u64::from(ranking[*position].package) + 1, hash)
            });
            *desk.tally.lists.entry(list).or_default() += 1;
        }
        desk.tally.customers_held_out += u64::from(self.policies.control(&id));
        if walk.chosen.len() < self.top {
            desk.tally.customers_with_shortfall += 1;
            desk.tally.customers_without_offer += u64::from(walk.chosen.is_empty());
            writer.shortfall(&group.view.ids, *row, walk, &self.infos)?;
        }
        Ok(())
    }
}
