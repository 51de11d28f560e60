//! The planted segments: what kinds of customers there are, and how each kind buys.

use chrono::{Datelike, Days, NaiveDate, Weekday};
use rand_distr::{Distribution, StandardNormal};

use super::catalogue::{Catalogue, Package};
use super::choice::Choice;
use crate::numerics::random::generator;

/// Where a purchase is made. The order is the index used by the segments.
pub(super) const CHANNELS: [&str; 6] = ["APP", "USSD", "SMS", "WEB", "RETAIL", "CALL_CENTER"];

/// One kind of customer in round figures; weights need not sum to one.
struct Plan {
    /// Weight among all customers.
    share: f64,
    /// Purchases of a typical member in proportion to other segments.
    activity: f64,
    /// Weights by [`SERVICES`](super::catalogue::SERVICES).
    services: [f64; 6],
    /// Weights by [`VALIDITIES`](super::catalogue::VALIDITIES).
    validities: [f64; 6],
    /// Weights by [`CHARGINGS`](super::catalogue::CHARGINGS).
    chargings: [f64; 3],
    /// The price liked best, in currency units.
    price: f64,
    /// Weights by [`CHANNELS`].
    channels: [f64; 6],
    /// Purchases on a Saturday or Sunday in proportion to a working day.
    weekend: f64,
    /// The busiest hour and how many hours around it are busy too.
    hours: (f64, f64),
}

const PLANS: [Plan; SEGMENTS] = [
    // 0: a day at a time: social and video snacks from the app, most on weekends.
    Plan {
        share: 0.20,
        activity: 2.2,
        services: [0.6, 4.0, 1.6, 0.6, 0.2, 0.02],
        validities: [5.0, 3.0, 0.5, 0.1, 0.03, 0.01],
        chargings: [4.0, 0.3, 0.7],
        price: 2.0,
        channels: [0.75, 0.12, 0.05, 0.05, 0.02, 0.01],
        weekend: 1.5,
        hours: (20.0, 3.0),
    },
    // 1: a week at a time over the short codes.
    Plan {
        share: 0.18,
        activity: 1.3,
        services: [2.0, 1.5, 0.4, 0.1, 2.5, 0.05],
        validities: [0.1, 0.6, 5.0, 1.2, 0.2, 0.02],
        chargings: [4.0, 0.3, 0.7],
        price: 6.0,
        channels: [0.10, 0.70, 0.14, 0.02, 0.03, 0.01],
        weekend: 1.0,
        hours: (12.0, 3.5),
    },
    // 2: families: big monthly data on a bill, from the web.
    Plan {
        share: 0.20,
        activity: 0.6,
        services: [5.0, 0.2, 0.8, 0.1, 1.2, 0.1],
        validities: [0.02, 0.03, 0.1, 0.5, 5.0, 2.0],
        chargings: [0.5, 4.0, 1.0],
        price: 20.0,
        channels: [0.25, 0.03, 0.02, 0.60, 0.05, 0.05],
        weekend: 1.1,
        hours: (18.0, 3.0),
    },
    // 3: players: short gaming packs in the app, late at night and on weekends.
    Plan {
        share: 0.12,
        activity: 1.6,
        services: [0.5, 0.4, 0.8, 6.0, 0.2, 0.02],
        validities: [0.8, 3.0, 3.0, 1.5, 0.5, 0.05],
        chargings: [3.0, 0.6, 1.4],
        price: 7.0,
        channels: [0.80, 0.03, 0.02, 0.13, 0.01, 0.01],
        weekend: 1.8,
        hours: (23.0, 2.5),
    },
    // 4: travellers on business: roaming and all-in-one, dear, on working days, by phone or web.
    Plan {
        share: 0.08,
        activity: 0.7,
        services: [0.5, 0.05, 0.1, 0.02, 2.0, 5.0],
        validities: [0.2, 0.5, 2.5, 2.0, 2.5, 0.8],
        chargings: [0.4, 4.0, 1.0],
        price: 30.0,
        channels: [0.20, 0.02, 0.02, 0.30, 0.06, 0.40],
        weekend: 0.5,
        hours: (9.0, 3.0),
    },
    // 5: streamers: fortnightly and monthly video.
    Plan {
        share: 0.10,
        activity: 0.9,
        services: [0.8, 0.4, 6.0, 0.4, 0.5, 0.02],
        validities: [0.1, 0.2, 1.0, 4.0, 3.0, 0.5],
        chargings: [1.5, 1.0, 3.0],
        price: 14.0,
        channels: [0.45, 0.03, 0.02, 0.45, 0.03, 0.02],
        weekend: 1.6,
        hours: (21.0, 2.0),
    },
    // 6: thrifty: small plain data, topped up in a shop or by text message.
    Plan {
        share: 0.12,
        activity: 0.8,
        services: [5.0, 0.8, 0.1, 0.05, 0.4, 0.02],
        validities: [2.0, 2.0, 3.0, 1.0, 0.3, 0.02],
        chargings: [5.0, 0.1, 0.3],
        price: 3.0,
        channels: [0.03, 0.15, 0.32, 0.01, 0.48, 0.01],
        weekend: 0.8,
        hours: (11.0, 3.0),
    },
];

/// How many segments are planted.
pub(super) const SEGMENTS: usize = 7;
/// How far from the price liked best a segment still buys: one standard deviation in ln(price).
const PRICE_SPREAD: f64 = 0.55;
/// Standard deviation of ln(popularity) among packages that suit a segment equally well.
const POPULARITY: f64 = 0.7;

/// A segment's habits, ready to draw from.
#[derive(Debug)]
pub(super) struct Segment {
    /// The probability of every package for a purchase that is none of the favourites.
    pub(super) probabilities: Vec<f64>,
    pub(super) packages: Choice,
    pub(super) channels: Choice,
    pub(super) hours: Choice,
    pub(super) rhythm: Rhythm,
    pub(super) activity: f64,
}

/// All segments.
#[derive(Debug)]
pub(super) struct Segments {
    /// Which segment a customer is of.
    pub(super) choice: Choice,
    pub(super) all: Vec<Segment>,
}

impl Segments {
    /// Every segment's tastes over a catalogue and its rhythm over a period of `days` from `start`.
    /// Memory: about 16 bytes a segment and package.
    pub(super) fn plan(catalogue: &Catalogue, seed: u64, start: NaiveDate, days: u32) -> Self {
        let all = PLANS.iter().enumerate().map(|(index, plan)| {
            let weights = package_weights(plan, index, catalogue, seed);
            let total: f64 = weights.iter().sum();
            Segment {
                probabilities: weights.iter().map(|weight| weight / total).collect(),
                packages: Choice::new(&weights),
                channels: Choice::new(&plan.channels),
                hours: Choice::new(&hour_weights(plan.hours)),
                rhythm: Rhythm::new(start, days, plan.weekend),
                activity: plan.activity,
            }
        });
        Self { choice: Choice::new(&PLANS.map(|plan| plan.share)), all: all.collect() }
    }
}

/// How much a segment likes every package: its weights for the service, the validity and the way of
/// charging, a bell over ln(price), and a popularity that the package has in this segment only.
fn package_weights(plan: &Plan, segment: usize, catalogue: &Catalogue, seed: u64) -> Vec<f64> {
    let mut random = generator(seed, "generate: popularity", segment as u64);
    let logs: Vec<f64> = catalogue
        .packages
        .iter()
        .map(|package: &Package| {
            let price = package.price_minor as f64 / 100.0;
            let distance = (price / plan.price).ln() / PRICE_SPREAD;
            let popularity: f64 = StandardNormal.sample(&mut random);
            plan.services[package.service].ln()
                + plan.validities[package.validity].ln()
                + plan.chargings[package.charging].ln()
                - 0.5 * distance * distance
                + POPULARITY * popularity
        })
        .collect();
    // Taken from the largest, so that a catalogue that suits nobody does not underflow to nothing.
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logs.iter().map(|log| (log - largest).exp()).collect()
}

/// Weights of the 24 hours: a quiet floor and a bell around the busiest hour of the clock.
fn hour_weights((peak, spread): (f64, f64)) -> Vec<f64> {
    (0..24)
        .map(|hour| {
            let apart = (f64::from(hour) - peak).abs();
            let distance = apart.min(24.0 - apart) / spread;
            0.08 + (-0.5 * distance * distance).exp()
        })
        .collect()
}

/// How purchases spread over the days of the period: Saturdays and Sundays count `weekend` times a
/// working day.
#[derive(Debug)]
pub(super) struct Rhythm {
    /// The weight of the days before each day; one more entry than days.
    before: Vec<f64>,
}

impl Rhythm {
    fn new(start: NaiveDate, days: u32, weekend: f64) -> Self {
        let mut before = vec![0.0];
        let mut sum = 0.0;
        for day in 0..days {
            // `generate` has checked that the period can be counted.
            let weekday = start.checked_add_days(Days::new(u64::from(day))).map(|date| date.weekday());
            sum += if matches!(weekday, Some(Weekday::Sat | Weekday::Sun)) { weekend } else { 1.0 };
            before.push(sum);
        }
        Self { before }
    }

    /// The share of the whole period's weight that the days `first..=last` have.
    pub(super) fn share(&self, first: u32, last: u32) -> f64 {
        let total = self.before[self.before.len() - 1];
        (self.before[last as usize + 1] - self.before[first as usize]) / total
    }

    /// The day at a place between 0 and 1 of the weight of `first..=last`.
    pub(super) fn day_at(&self, first: u32, last: u32, place: f64) -> u32 {
        let (first, last) = (first as usize, last as usize);
        let from = self.before[first];
        let weight = from + place * (self.before[last + 1] - from);
        // Days weigh nearly the same: the guess is a step or two off.
        let mut day = (first + (place * (last + 1 - first) as f64) as usize).min(last);
        while day > first && self.before[day] > weight {
            day -= 1;
        }
        while day < last && self.before[day + 1] <= weight {
            day += 1;
        }
        day as u32
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::VALIDITIES;
    use super::*;

    fn days(package: &Package) -> u32 {
        VALIDITIES[package.validity].1
    }

    fn start() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 3, 1).expect("a date")
    }

    #[test]
    fn a_segment_prefers_what_its_plan_says() {
        let catalogue = Catalogue::plan(600, 1);
        let segments = Segments::plan(&catalogue, 1, start(), 28);
        let share_of = |segment: usize, wanted: &dyn Fn(&Package) -> bool| -> f64 {
            let probabilities = &segments.all[segment].probabilities;
            let pairs = catalogue.packages.iter().zip(probabilities);
            pairs.filter(|(package, _)| wanted(package)).map(|(_, p)| p).sum()
        };
        for segment in 0..SEGMENTS {
            assert!((share_of(segment, &|_| true) - 1.0).abs() < 1e-9);
        }
        assert!(share_of(0, &|p| days(p) <= 3) > 0.8);
        assert!(share_of(2, &|p| days(p) >= 30) > 0.8);
        assert!(share_of(3, &|p| p.service == 3) > 0.6);
        assert!(share_of(4, &|p| p.service == 5) > 0.4);
        assert!(share_of(6, &|p| p.price_minor < 600) > 0.8);
    }

    #[test]
    fn no_segment_is_left_with_nothing_in_a_tiny_catalogue() {
        let segments = Segments::plan(&Catalogue::plan(1, 1), 1, start(), 1);
        assert!(segments.all.iter().all(|segment| segment.probabilities == [1.0]));
    }

    #[test]
    fn places_fall_on_days_in_proportion_to_their_weight() {
        let rhythm = Rhythm::new(start(), 30, 2.5);
        let places = 100_000;
        let mut seen = [0u32; 30];
        for i in 0..places {
            seen[rhythm.day_at(5, 20, f64::from(i) / f64::from(places)) as usize] += 1;
        }
        let window: f64 = (5..=20).map(|day| rhythm.share(day, day)).sum();
        for (day, &count) in seen.iter().enumerate() {
            let inside = (5..=20).contains(&day);
            let wanted = if inside { rhythm.share(day as u32, day as u32) / window } else { 0.0 };
            assert!((f64::from(count) / f64::from(places) - wanted).abs() < 1e-4, "{day} {seen:?}");
        }
        // 2026-03-01 is a Sunday.
        assert!((rhythm.share(0, 0) / rhythm.share(1, 1) - 2.5).abs() < 1e-9);
        assert_eq!(rhythm.day_at(5, 20, 1.0), 20);
    }
}
