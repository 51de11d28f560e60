//! What came out of the stage: the figures of a run, and what each part adds to them.

use super::capped::CapFigures;
use super::reasons::Source;
use crate::policies::{Funnel, FunnelRow, RuleInfo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Expected revenue is summed in this many steps a currency unit, so that the order of the customers does
/// not show.
const REVENUE_STEPS: f64 = 65_536.0;

/// What came out, for summary and manifest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OfferFigures {
    pub offers: u64,
    pub customers: u64,
    pub customers_with_shortfall: u64,
    pub customers_without_offer: u64,
    pub offers_new_to_customer: u64,
    pub offers_from_own_habit: u64,
    pub offers_from_neighbours: u64,
    pub offers_from_bought_together: u64,
    pub offers_from_popularity: u64,
    /// In a control group: published and marked, not to be sent.
    pub offers_held_out: u64,
    pub customers_held_out: u64,
    /// Different packages offered, of all.
    pub packages_offered: u64,
    pub packages: u64,
    /// Share of customers that get the most frequent list, in a sample of about 50,000.
    pub same_for_all: f64,
    /// Score × price of all offers to be sent, currency units.
    pub expected_revenue: f64,
    /// What each rule took, in the order of application.
    pub rules: Vec<FunnelRow>,
    pub caps: Vec<CapFigures>,
}

/// Counts that can be added up in any order: of a part, of a worker, of the run. Memory: a byte a package and
/// 16 bytes a list of the sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub customers: u64,
    pub customers_with_shortfall: u64,
    pub customers_without_offer: u64,
    pub customers_held_out: u64,
    pub funnel: Funnel,
    /// Sampled customers with each list, by the list's hash.
    pub lists: BTreeMap<u64, u64>,
    offers: u64,
    offers_held_out: u64,
    offers_new_to_customer: u64,
    /// By [`Source`].
    offers_from: [u64; Source::ALL.len()],
    /// In `REVENUE_STEPS` of a currency unit.
    revenue: i64,
    /// By package: whether anybody is offered it.
    #[serde(with = "marks")]
    offered: Vec<bool>,
}

/// One character a package: a line of JSON stays short.
mod marks {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(marks: &[bool], serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = marks.iter().map(|mark| if *mark { '1' } else { '0' }).collect();
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<bool>, D::Error> {
        Ok(String::deserialize(deserializer)?.chars().map(|mark| mark == '1').collect())
    }
}

/// An offer as it is counted.
pub(super) struct Counted {
    pub package: u32,
    pub source: Source,
    pub is_new: bool,
    pub held_out: bool,
    /// Score × price, currency units; NaN if unknown.
    pub revenue: f64,
}

impl Tally {
    /// Of nobody, over so many packages and these rules.
    pub fn new(packages: usize, rules: &[RuleInfo]) -> Self {
        Self {
            customers: 0,
            customers_with_shortfall: 0,
            customers_without_offer: 0,
            customers_held_out: 0,
            funnel: Funnel::of(rules),
            lists: BTreeMap::new(),
            offers: 0,
            offers_held_out: 0,
            offers_new_to_customer: 0,
            offers_from: [0; Source::ALL.len()],
            revenue: 0,
            offered: vec![false; packages],
        }
    }

    pub fn offer(&mut self, offer: &Counted) {
        self.offers += 1;
        self.offers_held_out += u64::from(offer.held_out);
        if offer.revenue.is_finite() && !offer.held_out {
            self.revenue += (offer.revenue * REVENUE_STEPS).round() as i64;
        }
        self.offers_new_to_customer += u64::from(offer.is_new);
        self.offers_from[offer.source as usize] += 1;
        self.offered[offer.package as usize] = true;
    }

    /// Adds counts over the same packages and rules.
    pub fn merge(&mut self, other: &Self) {
        self.customers += other.customers;
        self.customers_with_shortfall += other.customers_with_shortfall;
        self.customers_without_offer += other.customers_without_offer;
        self.customers_held_out += other.customers_held_out;
        self.funnel.merge(&other.funnel);
        for (list, customers) in &other.lists {
            *self.lists.entry(*list).or_default() += customers;
        }
        self.offers += other.offers;
        self.offers_held_out += other.offers_held_out;
        self.offers_new_to_customer += other.offers_new_to_customer;
        self.offers_from.iter_mut().zip(other.offers_from).for_each(|(all, own)| *all += own);
        self.revenue += other.revenue;
        self.offered.iter_mut().zip(&other.offered).for_each(|(all, own)| *all |= own);
    }

    /// The figures of the run.
    pub fn figures(&self, caps: Vec<CapFigures>) -> OfferFigures {
        let compared: u64 = self.lists.values().sum();
        let from = |source: Source| self.offers_from[source as usize];
        OfferFigures {
            offers: self.offers,
            customers: self.customers,
            customers_with_shortfall: self.customers_with_shortfall,
            customers_without_offer: self.customers_without_offer,
            offers_new_to_customer: self.offers_new_to_customer,
            offers_from_own_habit: from(Source::OwnHabit),
            offers_from_neighbours: from(Source::Neighbours),
            offers_from_bought_together: from(Source::BoughtTogether),
            offers_from_popularity: from(Source::Popularity),
            offers_held_out: self.offers_held_out,
            customers_held_out: self.customers_held_out,
            packages_offered: self.offered.iter().filter(|offered| **offered).count() as u64,
            packages: self.offered.len() as u64,
            same_for_all: self.lists.values().max().map_or(0.0, |most| *most as f64 / compared as f64),
            expected_revenue: self.revenue as f64 / REVENUE_STEPS,
            rules: self.funnel.rows(),
            caps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(offers: &[(u32, Source, f64)], list: u64) -> Tally {
        let mut tally = Tally::new(4, &[]);
        for (package, source, revenue) in offers {
            let (package, source, revenue) = (*package, *source, *revenue);
            tally.offer(&Counted { package, source, is_new: package > 1, held_out: false, revenue });
        }
        tally.customers += 1;
        *tally.lists.entry(list).or_default() += 1;
        tally
    }

    #[test]
    fn parts_add_up_in_any_order_and_survive_being_written_down() {
        let parts = [
            tally(&[(0, Source::OwnHabit, 0.1), (1, Source::Popularity, 0.7)], u64::MAX),
            tally(&[(3, Source::Neighbours, f64::NAN)], 7),
            tally(&[(0, Source::OwnHabit, 1e9 / 3.0)], u64::MAX),
        ];
        let sum = |order: [usize; 3]| {
            let mut all = Tally::new(4, &[]);
            for at in order {
                let text = serde_json::to_string(&parts[at]).unwrap();
                all.merge(&serde_json::from_str(&text).unwrap());
            }
            all
        };
        let all = sum([0, 1, 2]);
        assert_eq!(all, sum([2, 0, 1]));
        let figures = all.figures(Vec::new());
        assert_eq!((figures.offers, figures.customers, figures.packages_offered), (4, 3, 3));
        assert_eq!((figures.offers_from_own_habit, figures.offers_from_bought_together), (2, 0));
        assert_eq!(figures.offers_new_to_customer, 1);
        assert!((figures.same_for_all - 2.0 / 3.0).abs() < 1e-12);
        assert!((figures.expected_revenue - (0.8 + 1e9 / 3.0)).abs() < 1e-3);
    }
}
