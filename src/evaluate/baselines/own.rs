//! What the customer itself bought, by how often and how recently.
//!
//! Where customers repeat themselves, as with groceries, these are hard to beat (Li et al., *A next
//! basket recommendation reality check*, ACM TOIS 41, 2023, where [`OwnThenPopular`] is "GP-TopFreq").

use super::popular::{Popular, PopularSettings, fill_from};
use super::{BaselineError, Check};
use crate::evaluate::histories::{Histories, History};
use crate::evaluate::recommender::{Recommender, Work};

/// How far popularity moves the score of an own package, as a part of it: it decides between equal
/// packages, and between no others.
const TIE: f64 = 1e-9;

/// The customer's packages by baskets that held them; all others score 0. Equal ones go by number.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnFrequent;

impl Recommender for OwnFrequent {
    fn name(&self) -> &str {
        "own frequent"
    }

    fn score(&self, customer: &History, scores: &mut [f64], _work: &mut Work) {
        scores.fill(0.0);
        add_own(customer, scores, |_| 1.0);
    }
}

/// The customer's packages by baskets that held them; popularity decides between equal ones and fills
/// up. The score is the number of baskets and a fraction.
#[derive(Clone, Debug)]
pub struct OwnThenPopular {
    popular: Popular,
}

impl OwnThenPopular {
    /// Cost and memory: those of [`Popular`].
    pub fn fit(histories: &Histories, popular: PopularSettings) -> Self {
        Self { popular: Popular::fit(histories, popular) }
    }
}

impl Recommender for OwnThenPopular {
    fn name(&self) -> &str {
        "own then popular"
    }

    fn score(&self, customer: &History, scores: &mut [f64], _work: &mut Work) {
        fill_from(scores, self.popular.shares());
        add_own(customer, scores, |_| 1.0);
    }
}

/// The customer's packages by baskets that count half after every half-life; popularity decides
/// between equal ones and fills up. Own packages score above 0, others below.
#[derive(Clone, Debug)]
pub struct OwnDecayed {
    name: String,
    popular: Popular,
    half_life: f64,
}

impl OwnDecayed {
    /// `half_life` in days. Cost and memory: those of [`Popular`].
    pub fn fit(
        histories: &Histories,
        half_life: f64,
        popular: PopularSettings,
    ) -> Result<Self, BaselineError> {
        Check("own decayed").positive("half_life", half_life)?;
        let name = format!("own decayed (half-life {half_life} days)");
        Ok(Self { name, popular: Popular::fit(histories, popular), half_life })
    }
}

impl Recommender for OwnDecayed {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, customer: &History, scores: &mut [f64], work: &mut Work) {
        let own = &mut work.dense;
        own.clear();
        own.resize(scores.len(), 0.0);
        add_own(customer, own, |age| (-age / self.half_life).exp2());
        // A weight too small for a float is still one of the customer's own.
        let weights = customer.lines.iter().filter_map(|line| {
            let weight = own.get(line.package as usize)?;
            Some((line.package, weight.max(f64::MIN_POSITIVE)))
        });
        own_before_popular(scores, self.popular.shares(), weights);
    }
}

/// The customer's packages by the day they were last bought: those of the last basket first;
/// popularity decides between equal ones and fills up. Own packages score one by the days since, above
/// 0, others below.
#[derive(Clone, Debug)]
pub struct LastPackage {
    popular: Popular,
}

impl LastPackage {
    /// Cost and memory: those of [`Popular`].
    pub fn fit(histories: &Histories, popular: PopularSettings) -> Self {
        Self { popular: Popular::fit(histories, popular) }
    }
}

impl Recommender for LastPackage {
    fn name(&self) -> &str {
        "last package"
    }

    fn score(&self, customer: &History, scores: &mut [f64], _work: &mut Work) {
        // Lines are in the order of days, so the last weight written for a package is its latest.
        let weights = customer.lines.iter().map(|line| (line.package, 1.0 / age(customer, line.day)));
        own_before_popular(scores, self.popular.shares(), weights);
    }
}

/// Days from a purchase to the day of the offers, at least 1.
fn age(customer: &History, day: i32) -> f64 {
    (f64::from(customer.as_of) - f64::from(day)).max(1.0)
}

/// Adds `weight(age in days)` for every basket that holds a package, oldest first.
fn add_own(customer: &History, scores: &mut [f64], weight: impl Fn(f64) -> f64) {
    for (day, basket) in customer.baskets() {
        let weight = weight(age(customer, day));
        for line in basket {
            if let Some(score) = scores.get_mut(line.package as usize) {
                *score += weight;
            }
        }
    }
}

/// Own packages score their weight, which is above 0; others a number below 0 that rises with
/// popularity. Of several weights for a package the last one holds.
fn own_before_popular(scores: &mut [f64], shares: &[f64], weights: impl Iterator<Item = (u32, f64)>) {
    fill_from(scores, shares);
    scores.iter_mut().for_each(|score| *score -= 1.0);
    for (package, weight) in weights {
        let package = package as usize;
        if let Some(score) = scores.get_mut(package) {
            *score = weight * (1.0 + TIE * shares.get(package).unwrap_or(&0.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::histories::Line;
    use crate::evaluate::recommender::top;

    /// Customer 0 is the one asked; the others make 5 the most popular, then 4.
    fn histories() -> Histories {
        let mut histories = Histories::new(7);
        let lines = |bought: &[(i32, u32)]| {
            bought
                .iter()
                .map(|&(day, package)| Line { day, package, times: 1, amount: 1 })
                .collect::<Vec<_>>()
        };
        histories.push(101, lines(&[(10, 1), (11, 1), (90, 2), (90, 4), (95, 3), (95, 0)])).unwrap();
        for day in 50..55 {
            histories.push(101, lines(&[(day, 5), (day - 1, 5), (day, 4), (day, 3)])).unwrap();
        }
        histories
    }

    fn order(method: &dyn Recommender, customer: &History) -> Vec<u32> {
        let (mut scores, mut out) = (vec![f64::NAN; 7], Vec::new());
        method.score(customer, &mut scores, &mut Work::new());
        top(&scores, &|_| false, 7, &mut out);
        out
    }

    #[test]
    fn frequency_counts_baskets_and_popularity_decides_what_is_equal() {
        let histories = histories();
        let customer = histories.get(0);
        assert_eq!(order(&OwnFrequent, &customer), [1, 0, 2, 3, 4, 5, 6]);
        let popular = PopularSettings::default();
        let own = OwnThenPopular::fit(&histories, popular);
        assert_eq!(order(&own, &customer), [1, 3, 4, 0, 2, 5, 6]);
        let nothing = History { lines: &[], ..customer };
        assert_eq!(order(&own, &nothing)[0], 5);
    }

    #[test]
    fn decay_and_recency_put_late_packages_first() {
        let histories = histories();
        let popular = PopularSettings::default();
        let (first, rest) = ([3, 0, 4, 2, 1], [5, 6]);
        let expected = [&first[..], &rest].concat();
        assert_eq!(order(&LastPackage::fit(&histories, popular), &histories.get(0)), expected);
        let decayed = OwnDecayed::fit(&histories, 20.0, popular).unwrap();
        assert_eq!(order(&decayed, &histories.get(0)), expected);
        let slow = OwnDecayed::fit(&histories, 1e6, popular).unwrap();
        assert_eq!(order(&slow, &histories.get(0))[0], 1, "two old baskets beat one late one");
        let sudden = OwnDecayed::fit(&histories, 0.01, popular).unwrap();
        let mut scores = [0.0; 7];
        sudden.score(&histories.get(0), &mut scores, &mut Work::new());
        assert!(scores[1] > 0.0 && scores[5] < 0.0, "a vanished weight is still the customer's own");
    }

    #[test]
    fn a_half_life_that_is_none_is_refused() {
        let error = OwnDecayed::fit(&histories(), -3.0, PopularSettings::default()).unwrap_err();
        let text = "`half_life` of own decayed is -3, it must be a finite number above 0";
        assert_eq!(error.to_string(), text);
    }
}
