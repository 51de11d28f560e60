//! Goes through the customers of a part, a group at a time, with everything that a score needs.

use super::board::Near;
use super::kept::{KeptNeighbours, PartAnswers};
use super::signals::{Bought, PackageFacts, Subject};
use super::{Fitted, RecommendationError};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::part::{RunFolder, id_bytes, id_text};
use crate::neighbours::index::{NOTHING, Neighbours};
use crate::neighbours::pool::{Neighbourhood, Pool};
use crate::policies::Policies;
use crate::segments::part_view::{PartView, Ranks, ranks};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// What a visit goes by.
pub struct Visitor<'a> {
    pub fitted: &'a Fitted,
    pub engine: &'a Engine,
    ranks: Ranks<'a>,
    columns: Vec<&'a str>,
    neighbours: usize,
    /// Customers that are looked up and scored together.
    group: usize,
    scale: f64,
    folder: &'a RunFolder,
    kept: Kept<'a>,
    /// Of parts that are done, for the next ones.
    desks: Mutex<Vec<Desk>>,
}

/// What a part needs, kept for the next one: memory that comes and goes is cleared by the system every time.
#[derive(Default)]
struct Desk {
    view: Option<PartView>,
    columns: GroupColumns,
}

/// The customers of a group by column.
#[derive(Default)]
struct GroupColumns {
    answers: Vec<Neighbours>,
    /// Pool and query number, by customer of the group.
    places: Vec<Option<(usize, usize)>>,
    bought: Vec<Bought>,
    offsets: Vec<usize>,
    active_days: Vec<f32>,
    last_days: Vec<i32>,
    ln_usual: Vec<f32>,
    /// What is asked of a pool.
    vectors: Vec<f32>,
    queries: Vec<f32>,
    exclude: Vec<u32>,
}

/// Where neighbours come from.
#[derive(Clone, Copy)]
enum Kept<'a> {
    No,
    /// From a search, and are kept.
    Keep(&'a KeptNeighbours),
    /// From what was kept.
    Use(&'a KeptNeighbours),
}

/// Some customers of a part.
pub struct Group<'a> {
    /// Of the part.
    pub number: usize,
    pub view: &'a PartView,
    pub range: Range<usize>,
    fitted: &'a Fitted,
    own: GroupColumns,
}

impl<'a> Visitor<'a> {
    /// Visits the parts of `fitted` in `folder` and looks up the neighbours that `config` asks for.
    pub fn new(fitted: &'a Fitted, config: &Config, engine: &'a Engine, folder: &'a RunFolder) -> Self {
        let settings = &config.neighbours;
        // An answer, and a vector twice.
        let bytes = (8 * settings.k + 8 * settings.dimensions) as u64;
        Self {
            fitted,
            engine,
            ranks: ranks(&fitted.features),
            columns: Vec::new(),
            neighbours: settings.k,
            group: engine.memory.looked_up(engine.threads, bytes),
            scale: config.money.scale(),
            folder,
            kept: Kept::No,
            desks: Mutex::default(),
        }
    }

    /// Keeps what is found for another visit.
    pub fn keeping(&self, kept: &'a KeptNeighbours) -> Self {
        Self {
            kept: Kept::Keep(kept),
            ranks: ranks(&self.fitted.features),
            columns: self.columns.clone(),
            desks: Mutex::default(),
            ..*self
        }
    }

    /// Takes what another visit kept.
    pub fn taking(&self, kept: &'a KeptNeighbours) -> Self {
        Self { kept: Kept::Use(kept), ..self.keeping(kept) }
    }

    /// Reads the columns of customers that policies ask for as well.
    pub fn reading(mut self, policies: &'a Policies) -> Self {
        // Segments are at hand anyway.
        self.columns = policies.customer_columns();
        self.columns.retain(|column| *column != "segment");
        self
    }

    /// Calls `each` for every group of part `number`, in order. Memory: the part, and a group's answers.
    pub fn part<E: From<RecommendationError>>(
        &self,
        number: usize,
        mut each: impl FnMut(&mut Group) -> Result<(), E>,
    ) -> Result<(), E> {
        let Fitted { features, segments, .. } = self.fitted;
        let runtime = self.engine.runtime.handle();
        let desks = || self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut desk = desks().pop().unwrap_or_default();
        let spent = desk.view.take().unwrap_or_default();
        let mut view = PartView::read(
            number,
            features,
            segments,
            &self.ranks,
            &self.columns,
            self.folder,
            runtime,
            spent,
        )
        .map_err(RecommendationError::from)?;
        if self.neighbours > 0 {
            view.scale(&segments.model.behaviour).map_err(RecommendationError::from)?;
        }
        let (active, recency) = (view.column("active_days"), view.column("recency_days"));
        let usual = view.column("average_purchase");
        let mut kept = match self.kept {
            Kept::No => None,
            Kept::Keep(kept) => Some(kept.write(number).map_err(RecommendationError::Spill)?),
            Kept::Use(kept) => Some(kept.read(number).map_err(RecommendationError::Spill)?),
        };
        for start in (0..view.len()).step_by(self.group) {
            let range = start..(start + self.group).min(view.len());
            let mut own = std::mem::take(&mut desk.columns);
            own.begin(range.len());
            own.active_days.extend(range.clone().map(|c| active.value(c) as f32));
            let last_day = |c: usize| (features.as_of_day - recency.value(c) as i64) as i32;
            own.last_days.extend(range.clone().map(last_day));
            own.ln_usual.extend(range.clone().map(|c| match usual.value(c) * self.scale {
                price if price > 0.0 => price.ln() as f32,
                _ => f32::NAN,
            }));
            let mut group = Group { number, fitted: self.fitted, view: &view, range, own };
            group.collect_bought();
            if self.neighbours > 0 {
                group.look_up(self.neighbours, kept.as_mut())?;
            }
            let size = group.len() as u64;
            each(&mut group)?;
            desk.columns = group.own;
            self.engine.progress.advance(size);
        }
        if let Some(kept) = kept {
            kept.finish().map_err(RecommendationError::Spill)?;
        }
        desk.view = Some(view);
        desks().push(desk);
        Ok(())
    }
}

impl GroupColumns {
    /// Empties the columns for a group of so many customers.
    fn begin(&mut self, customers: usize) {
        self.places.clear();
        self.places.resize(customers, None);
        self.bought.clear();
        self.offsets.clear();
        self.offsets.push(0);
        self.active_days.clear();
        self.last_days.clear();
        self.ln_usual.clear();
    }
}

impl Group<'_> {
    pub fn len(&self) -> usize {
        self.range.len()
    }

    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The row in the view of a customer of the group.
    pub fn row(&self, at: usize) -> usize {
        self.range.start + at
    }

    pub fn id(&self, at: usize) -> String {
        id_text(self.view.ids.as_ref(), self.row(at))
    }

    /// The same without a copy where it is text.
    pub fn id_bytes(&self, at: usize) -> Cow<'_, [u8]> {
        id_bytes(self.view.ids.as_ref(), self.row(at))
    }

    pub fn segment(&self, at: usize) -> u32 {
        self.view.segments[self.row(at)]
    }

    /// The customer as of the end of the data that was fitted on.
    pub fn subject(&self, at: usize) -> Subject<'_> {
        Subject {
            bought: &self.own.bought[self.own.offsets[at]..self.own.offsets[at + 1]],
            active_days: self.own.active_days[at],
            last_day: self.own.last_days[at],
            today: self.fitted.features.as_of_day as i32,
            ln_usual: self.own.ln_usual[at],
            segment: self.segment(at),
        }
    }

    /// Moves a customer's "today": its decayed weights are as of that day.
    pub fn set_today(&mut self, at: usize, today: i32, half_life_days: f64) {
        let ahead = self.fitted.features.as_of_day as f64 - f64::from(today);
        let factor = (ahead / half_life_days).exp2() as f32;
        let own = self.own.offsets[at]..self.own.offsets[at + 1];
        self.own.bought[own].iter_mut().for_each(|bought| bought.weight *= factor);
    }

    /// The nearest candidates of a customer: their pool, positions and squared distances.
    pub fn nearest(&self, at: usize) -> Option<(&Pool, &[u32], &[f32])> {
        let (pool, query) = self.own.places[at]?;
        let (positions, squared) = self.own.answers[pool].of(query);
        Some((&self.fitted.neighbourhood.as_ref()?.pools[pool], positions, squared))
    }

    /// The same with what they bought, and whose lists the customer after this one will ask for.
    pub fn near(&self, at: usize, next: Option<usize>) -> Near<'_> {
        let Some((pool, positions, squared)) = self.nearest(at) else { return Near::default() };
        let next = next.and_then(|next| self.nearest(next)).filter(|(other, ..)| std::ptr::eq(*other, pool));
        let expected = next.map_or(&[][..], |(_, positions, _)| positions);
        Near { lists: Some(&pool.packages), positions, squared, expected }
    }

    fn collect_bought(&mut self) {
        let view = self.view;
        for customer in self.range.clone() {
            self.own.bought.extend(view.bought(customer).map(|at| Bought {
                package: view.packages[at],
                times: view.times[at] as f32,
                days: view.days[at] as f32,
                weight: view.weights[at] as f32,
                last_day: view.last[at].div_euclid(MICROS_PER_DAY) as i32,
            }));
            self.own.offsets.push(self.own.bought.len());
        }
    }

    fn look_up(&mut self, k: usize, kept: Option<&mut PartAnswers>) -> Result<(), RecommendationError> {
        let Some(neighbourhood) = &self.fitted.neighbourhood else { return Ok(()) };
        let mut asked = vec![0; neighbourhood.pools.len()];
        for (place, customer) in self.own.places.iter_mut().zip(self.range.clone()) {
            if let Some(pool) = neighbourhood.pool_of(self.view.segments[customer]) {
                *place = Some((pool, asked[pool]));
                asked[pool] += 1;
            }
        }
        let mut answers = std::mem::take(&mut self.own.answers);
        answers.resize_with(asked.len(), Neighbours::new);
        self.own.answers = match kept {
            Some(kept) => kept.of_group(asked.len(), || self.search(neighbourhood, k, answers))?,
            None => self.search(neighbourhood, k, answers)?,
        };
        Ok(())
    }

    /// The answers of every pool to those who are looked up in it, into `answers`, which are of an earlier group.
    fn search(
        &mut self,
        neighbourhood: &Neighbourhood,
        k: usize,
        mut answers: Vec<Neighbours>,
    ) -> Result<Vec<Neighbours>, RecommendationError> {
        let Self { view, range, own, .. } = self;
        let GroupColumns { places, vectors, queries, exclude, .. } = own;
        let dims = neighbourhood.vectors.dims();
        let customers = range.clone().map(|customer| {
            let bought = view.bought(customer);
            (view.scaled_row(customer), &view.packages[bought.clone()], &view.weights[bought])
        });
        neighbourhood.vectors.vectors_into(customers, vectors)?;
        for (number, answer) in answers.iter_mut().enumerate() {
            queries.clear();
            exclude.clear();
            for (at, customer) in range.clone().enumerate() {
                if places[at].is_some_and(|(pool, _)| pool == number) {
                    queries.extend_from_slice(&vectors[at * dims..][..dims]);
                    let id = id_bytes(view.ids.as_ref(), customer);
                    exclude.push(neighbourhood.position(number, &id));
                }
            }
            if exclude.is_empty() {
                *answer = Neighbours::new();
                continue;
            }
            let exclude = exclude.iter().any(|position| *position != NOTHING).then_some(&exclude[..]);
            neighbourhood.pools[number].built.index.search(queries, k, exclude, answer)?;
        }
        Ok(answers)
    }
}

impl Fitted {
    /// The package facts that scores go by.
    pub fn facts(&self) -> PackageFacts {
        PackageFacts::new(&self.features, &self.segments)
    }
}
