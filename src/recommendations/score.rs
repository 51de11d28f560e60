//! The score: a customer's own habit blended with what its neighbours buy.
//!
//! own(p) is the share of p in the customer's time-decayed purchases. neighbours(p) is the mean of
//! the same share over the neighbours, weighted by similarity exp(−d² / 2h²), where h² is the mean
//! squared distance of the neighbours (so the weight does not depend on the scale of the vectors).
//! score = w · own + (1 − w) · neighbours: 0 to 1, and the scores of all packages sum to at most 1.

use super::rules::{CustomerFacts, Excluded, Rules};

/// Where an offer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    OwnHabit,
    Neighbours,
    Both,
    /// What sells in the customer's segment.
    Segment,
}

impl Source {
    pub fn text(self) -> &'static str {
        match self {
            Self::OwnHabit => "own habit",
            Self::Neighbours => "neighbours",
            Self::Both => "own habit and neighbours",
            Self::Segment => "segment",
        }
    }
}

/// One offer of a customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offer {
    pub package: u32,
    pub score: f64,
    pub source: Source,
    /// Position among the customer's own packages, if it was bought before.
    pub bought: Option<u32>,
    pub neighbours: u32,
}

/// A package that the customer has bought.
#[derive(Debug, Clone, Copy)]
pub struct Bought {
    pub package: u32,
    pub weight: f64,
    /// Microseconds since 1970.
    pub last: i64,
}

/// A neighbour's packages (rank, share) and squared distance.
pub type NeighbourPackages<'a> = (&'a [(u32, f32)], f32);

/// What scoring one customer goes by.
pub struct Question<'a> {
    pub bought: &'a [Bought],
    pub neighbours: &'a [NeighbourPackages<'a>],
    /// Packages by their share of the segment's purchases, most first.
    pub segment: &'a [(u32, f64)],
    /// The customer has too little history for neighbours: the segment takes their place.
    pub is_new: bool,
    pub facts: CustomerFacts,
}

/// Settings of the blend.
#[derive(Debug, Clone, Copy)]
pub struct Blend {
    pub own_weight: f64,
    pub top: usize,
}

/// A customer's offers, best first (ties to the first package code), and what the rules took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    pub offers: Vec<Offer>,
    /// Candidates that each rule excluded, in the order of [`Excluded::ALL`].
    pub excluded: [u32; Excluded::ALL.len()],
}

/// A dense scoreboard over packages, kept between customers. Memory: 24 bytes a package.
pub struct Scorer {
    own: Vec<f64>,
    near: Vec<f64>,
    counts: Vec<u32>,
    bought: Vec<u32>,
    touched: Vec<u32>,
}

const NOT_BOUGHT: u32 = u32::MAX;
/// Packages that fill up rank below every scored one: their segment share is scaled by this part of the
/// least score.
const FALL_BACK: f64 = 0.5;

impl Scorer {
    pub fn new(packages: usize) -> Self {
        Self {
            own: vec![0.0; packages],
            near: vec![0.0; packages],
            counts: vec![0; packages],
            bought: vec![NOT_BOUGHT; packages],
            touched: Vec::new(),
        }
    }

    /// Scores one customer.
    pub fn score(&mut self, question: &Question, rules: &Rules, blend: Blend, answer: &mut Answer) {
        answer.offers.clear();
        answer.excluded = Default::default();
        let total: f64 = question.bought.iter().map(|bought| bought.weight).sum();
        for (position, bought) in question.bought.iter().enumerate() {
            self.touch(bought.package);
            self.own[bought.package as usize] = if total > 0.0 { bought.weight / total } else { 0.0 };
            self.bought[bought.package as usize] = position as u32;
        }
        let use_segment = question.is_new || question.neighbours.is_empty();
        if !use_segment {
            self.add_neighbours(question.neighbours);
        }
        for package in &self.touched {
            let at = *package as usize;
            // Shares are rounded, so that a single package can come out a hair above 1.
            let score = (blend.own_weight * self.own[at] + (1.0 - blend.own_weight) * self.near[at]).min(1.0);
            let bought = (self.bought[at] != NOT_BOUGHT).then_some(self.bought[at]);
            let source = match (bought.is_some(), self.counts[at] > 0) {
                (true, true) => Source::Both,
                (true, false) => Source::OwnHabit,
                _ => Source::Neighbours,
            };
            let last = bought.map(|position| question.bought[position as usize].last);
            match rules.excluded(*package, question.facts, last) {
                Some(reason) => answer.excluded[reason as usize] += 1,
                None => answer.offers.push(Offer {
                    package: *package,
                    score,
                    source,
                    bought,
                    neighbours: self.counts[at],
                }),
            }
        }
        // What sells in the segment: in the neighbours' place for new customers, and to fill up.
        if use_segment || answer.offers.len() < blend.top {
            let weight = if use_segment {
                1.0 - blend.own_weight
            } else {
                let least = answer.offers.iter().map(|offer| offer.score).fold(1.0, f64::min);
                least * FALL_BACK
            };
            let mut added = 0;
            for (package, share) in question.segment {
                if added == blend.top {
                    break;
                }
                if self.bought[*package as usize] != NOT_BOUGHT || self.counts[*package as usize] > 0 {
                    continue;
                }
                match rules.excluded(*package, question.facts, None) {
                    Some(reason) => answer.excluded[reason as usize] += 1,
                    None => {
                        added += 1;
                        answer.offers.push(Offer {
                            package: *package,
                            score: weight * share,
                            source: Source::Segment,
                            bought: None,
                            neighbours: 0,
                        });
                    }
                }
            }
        }
        self.reset();
        answer.offers.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.package.cmp(&b.package)));
        answer.offers.truncate(blend.top);
    }

    fn add_neighbours(&mut self, neighbours: &[NeighbourPackages]) {
        let mean = neighbours.iter().map(|(_, d)| f64::from(*d)).sum::<f64>() / neighbours.len() as f64;
        let similarity =
            |squared: f32| if mean > 0.0 { (-f64::from(squared) / (2.0 * mean)).exp() } else { 1.0 };
        let total: f64 = neighbours.iter().map(|(_, squared)| similarity(*squared)).sum();
        for (packages, squared) in neighbours {
            let weight = similarity(*squared) / total;
            for (package, share) in *packages {
                self.touch(*package);
                self.near[*package as usize] += weight * f64::from(*share);
                self.counts[*package as usize] += 1;
            }
        }
    }

    fn touch(&mut self, package: u32) {
        let at = package as usize;
        if self.bought[at] == NOT_BOUGHT && self.counts[at] == 0 {
            self.touched.push(package);
        }
    }

    fn reset(&mut self) {
        for package in self.touched.drain(..) {
            let at = package as usize;
            self.own[at] = 0.0;
            self.near[at] = 0.0;
            self.counts[at] = 0;
            self.bought[at] = NOT_BOUGHT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bought(package: u32, weight: f64) -> Bought {
        Bought { package, weight, last: 0 }
    }

    fn answer(question: &Question, own_weight: f64, top: usize) -> Answer {
        let mut answer = Answer::default();
        let rules = Rules::none(5);
        let mut scorer = Scorer::new(5);
        // Twice: nothing of the first customer may be left on the scoreboard.
        scorer.score(question, &rules, Blend { own_weight, top }, &mut Answer::default());
        scorer.score(question, &rules, Blend { own_weight, top }, &mut answer);
        answer
    }

    #[test]
    fn own_habit_and_neighbours_blend_as_documented() {
        let near: [(&[(u32, f32)], f32); 2] = [(&[(1, 1.0)], 4.0), (&[(2, 0.6), (1, 0.4)], 4.0)];
        let question = Question {
            bought: &[bought(0, 3.0), bought(1, 1.0)],
            neighbours: &near,
            segment: &[],
            is_new: false,
            facts: CustomerFacts { usual_price: 0.0 },
        };
        let offers = answer(&question, 0.6, 5).offers;
        let found: Vec<(u32, f64, Source, u32)> = offers
            .iter()
            .map(|o| (o.package, (o.score * 1e6).round() / 1e6, o.source, o.neighbours))
            .collect();
        // Equal distances, so each neighbour counts half: near(1) = .7, near(2) = .3.
        assert_eq!(
            found,
            vec![
                (0, 0.45, Source::OwnHabit, 0),
                (1, 0.43, Source::Both, 2),
                (2, 0.12, Source::Neighbours, 1)
            ]
        );
    }

    #[test]
    fn a_new_customer_gets_what_sells_in_the_segment() {
        let near: [(&[(u32, f32)], f32); 1] = [(&[(1, 1.0)], 1.0)];
        let question = Question {
            bought: &[bought(0, 1.0)],
            neighbours: &near,
            segment: &[(3, 0.5), (0, 0.3), (4, 0.2)],
            is_new: true,
            facts: CustomerFacts { usual_price: 0.0 },
        };
        let offers = answer(&question, 0.5, 3).offers;
        let found: Vec<(u32, Source)> = offers.iter().map(|o| (o.package, o.source)).collect();
        assert_eq!(found, vec![(0, Source::OwnHabit), (3, Source::Segment), (4, Source::Segment)]);
    }

    #[test]
    fn the_segment_fills_up_below_every_scored_package() {
        let near: [(&[(u32, f32)], f32); 1] = [(&[(1, 0.001)], 1.0)];
        let question = Question {
            bought: &[],
            neighbours: &near,
            segment: &[(3, 1.0)],
            is_new: false,
            facts: CustomerFacts { usual_price: 0.0 },
        };
        let offers = answer(&question, 0.5, 2).offers;
        assert_eq!(offers.iter().map(|o| o.package).collect::<Vec<_>>(), vec![1, 3]);
    }
}
