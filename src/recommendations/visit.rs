//! Goes through the customers of a part, a group at a time, with everything that a score needs.

use super::kept::{KeptNeighbours, PartAnswers};
use super::score::NeighbourPackages;
use super::signals::{Bought, PackageFacts, Subject};
use super::{Fitted, RecommendationError};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::part::{RunFolder, id_text};
use crate::neighbours::index::{NOTHING, Neighbours};
use crate::neighbours::pool::{Neighbourhood, Pool};
use crate::policies::Policies;
use crate::segments::part_view::{PartView, Ranks, ranks};
use std::ops::Range;

/// Customers that are looked up and scored together: more share more of a look-up, fewer bound the memory of
/// answers (8 bytes a neighbour).
const GROUP: usize = 8_192;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// What a visit goes by.
pub struct Visitor<'a> {
    pub fitted: &'a Fitted,
    pub engine: &'a Engine,
    ranks: Ranks<'a>,
    columns: Vec<&'a str>,
    neighbours: usize,
    scale: f64,
    folder: &'a RunFolder,
    kept: Kept<'a>,
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
    answers: Vec<Neighbours>,
    /// Pool and query number, by customer of the group.
    places: Vec<Option<(usize, usize)>>,
    bought: Vec<Bought>,
    offsets: Vec<usize>,
    active_days: Vec<f32>,
    last_days: Vec<i32>,
    ln_usual: Vec<f32>,
}

impl<'a> Visitor<'a> {
    /// Visits the parts of `fitted` in `folder` and looks up the neighbours that `config` asks for.
    pub fn new(fitted: &'a Fitted, config: &Config, engine: &'a Engine, folder: &'a RunFolder) -> Self {
        Self {
            fitted,
            engine,
            ranks: ranks(&fitted.features),
            columns: Vec::new(),
            neighbours: config.neighbours.k,
            scale: config.money.scale(),
            folder,
            kept: Kept::No,
        }
    }

    /// Keeps what is found for another visit.
    pub fn keeping(&self, kept: &'a KeptNeighbours) -> Self {
        Self {
            kept: Kept::Keep(kept),
            ranks: ranks(&self.fitted.features),
            columns: self.columns.clone(),
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
        let view =
            PartView::read(number, features, segments, &self.ranks, &self.columns, self.folder, runtime)
                .map_err(RecommendationError::from)?;
        let (active, recency) = (view.column("active_days"), view.column("recency_days"));
        let usual = view.column("average_purchase");
        let mut kept = match self.kept {
            Kept::No => None,
            Kept::Keep(kept) => Some(kept.write(number).map_err(RecommendationError::Spill)?),
            Kept::Use(kept) => Some(kept.read(number).map_err(RecommendationError::Spill)?),
        };
        for start in (0..view.len()).step_by(GROUP) {
            let range = start..(start + GROUP).min(view.len());
            let mut group = Group {
                number,
                fitted: self.fitted,
                answers: Vec::new(),
                places: vec![None; range.len()],
                bought: Vec::new(),
                offsets: vec![0],
                active_days: range.clone().map(|c| active.value(c) as f32).collect(),
                last_days: range
                    .clone()
                    .map(|c| (features.as_of_day - recency.value(c) as i64) as i32)
                    .collect(),
                ln_usual: range
                    .clone()
                    .map(|c| match usual.value(c) * self.scale {
                        price if price > 0.0 => price.ln() as f32,
                        _ => f32::NAN,
                    })
                    .collect(),
                view: &view,
                range,
            };
            group.collect_bought();
            if self.neighbours > 0 {
                group.look_up(self.neighbours, kept.as_mut())?;
            }
            let size = group.len() as u64;
            each(&mut group)?;
            self.engine.progress.advance(size);
        }
        if let Some(kept) = kept {
            kept.finish().map_err(RecommendationError::Spill)?;
        }
        Ok(())
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

    pub fn segment(&self, at: usize) -> u32 {
        self.view.segments[self.row(at)]
    }

    /// The customer as of the end of the data that was fitted on.
    pub fn subject(&self, at: usize) -> Subject<'_> {
        Subject {
            bought: &self.bought[self.offsets[at]..self.offsets[at + 1]],
            active_days: self.active_days[at],
            last_day: self.last_days[at],
            today: self.fitted.features.as_of_day as i32,
            ln_usual: self.ln_usual[at],
            segment: self.segment(at),
        }
    }

    /// Moves a customer's "today": its decayed weights are as of that day.
    pub fn set_today(&mut self, at: usize, today: i32, half_life_days: f64) {
        let ahead = self.fitted.features.as_of_day as f64 - f64::from(today);
        let factor = (ahead / half_life_days).exp2() as f32;
        let own = self.offsets[at]..self.offsets[at + 1];
        self.bought[own].iter_mut().for_each(|bought| bought.weight *= factor);
    }

    /// The nearest candidates of a customer: their pool, positions and squared distances.
    pub fn nearest(&self, at: usize) -> Option<(&Pool, &[u32], &[f32])> {
        let (pool, query) = self.places[at]?;
        let (positions, squared) = self.answers[pool].of(query);
        Some((&self.fitted.neighbourhood.as_ref()?.pools[pool], positions, squared))
    }

    /// What they bought, into `out`.
    pub fn neighbours<'a>(&'a self, at: usize, out: &mut Vec<NeighbourPackages<'a>>) {
        out.clear();
        if let Some((pool, positions, squared)) = self.nearest(at) {
            out.extend(positions.iter().zip(squared).map(|(position, d)| (pool.bought(*position), *d)));
        }
    }

    fn collect_bought(&mut self) {
        for customer in self.range.clone() {
            self.bought.extend(self.view.bought(customer).map(|at| Bought {
                package: self.view.packages[at],
                times: self.view.times[at] as f32,
                days: self.view.days[at] as f32,
                weight: self.view.weights[at] as f32,
                last_day: self.view.last[at].div_euclid(MICROS_PER_DAY) as i32,
            }));
            self.offsets.push(self.bought.len());
        }
    }

    fn look_up(&mut self, k: usize, kept: Option<&mut PartAnswers>) -> Result<(), RecommendationError> {
        let Some(neighbourhood) = &self.fitted.neighbourhood else { return Ok(()) };
        let mut asked = vec![0; neighbourhood.pools.len()];
        for (place, customer) in self.places.iter_mut().zip(self.range.clone()) {
            if let Some(pool) = neighbourhood.pool_of(self.view.segments[customer]) {
                *place = Some((pool, asked[pool]));
                asked[pool] += 1;
            }
        }
        self.answers = match kept {
            Some(kept) => kept.of_group(asked.len(), || self.search(neighbourhood, k))?,
            None => self.search(neighbourhood, k)?,
        };
        Ok(())
    }

    /// The answers of every pool to those who are looked up in it.
    fn search(
        &self,
        neighbourhood: &Neighbourhood,
        k: usize,
    ) -> Result<Vec<Neighbours>, RecommendationError> {
        let view = self.view;
        let dims = neighbourhood.vectors.dims();
        let vectors = neighbourhood.vectors.vectors(self.range.clone().map(|customer| {
            let bought = view.bought(customer);
            (view.scaled_row(customer), &view.packages[bought.clone()], &view.weights[bought])
        }))?;
        let of_pool = |number: usize| -> Result<Neighbours, RecommendationError> {
            let (mut queries, mut exclude) = (Vec::new(), Vec::new());
            for (at, customer) in self.range.clone().enumerate() {
                if self.places[at].is_some_and(|(pool, _)| pool == number) {
                    queries.extend_from_slice(&vectors[at * dims..][..dims]);
                    let id = id_text(view.ids.as_ref(), customer);
                    exclude.push(neighbourhood.position(number, id.as_bytes()));
                }
            }
            let mut answer = Neighbours::new();
            if !exclude.is_empty() {
                let exclude = exclude.iter().any(|position| *position != NOTHING).then_some(&exclude[..]);
                neighbourhood.pools[number].built.index.search(&queries, k, exclude, &mut answer)?;
            }
            Ok(answer)
        };
        (0..neighbourhood.pools.len()).map(of_pool).collect()
    }
}

impl Fitted {
    /// The package facts that scores go by.
    pub fn facts(&self) -> PackageFacts {
        PackageFacts::new(&self.features, &self.segments)
    }
}
