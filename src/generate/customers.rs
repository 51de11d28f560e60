//! The planted customers: who each one is, drawn from the seed and the customer's number alone, so
//! that any thread can draw any customer at any time and none has to be kept.

use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::rand_core::RngCore;

use super::Model;
use super::segments::CHANNELS;
use crate::numerics::random::{generator, hash_u64};

/// Share of the customers that join after the first day, and that stop before the last.
const JOINING: f64 = 0.18;
const LAPSING: f64 = 0.15;
/// Share of the customers that climb a rung of their favourite's ladder.
const CLIMBING: f64 = 0.15;
/// Standard deviation of ln(purchases) among customers of one segment: the busiest tenth makes about
/// two fifths of all purchases.
const ACTIVITY_SPREAD: f64 = 1.0;
/// Favourites together take between these shares of a customer's purchases.
const FAVOURITES: (f64, f64) = (0.5, 0.7);
/// Share of the customers that buy at regular intervals.
const REGULAR: f64 = 0.5;
/// The largest number of favourites.
pub(super) const MOST_FAVOURITES: usize = 3;

/// A customer's segment, time and weight: what has to be known of everybody before the purchases can
/// be shared out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Customer {
    pub(super) number: u64,
    pub(super) segment: usize,
    /// The first and the last day, counted from the period's start, on which they may buy.
    pub(super) first_day: u32,
    pub(super) last_day: u32,
    /// Expected purchases in proportion to other customers. An integer, so that sums do not depend
    /// on the order of adding.
    pub(super) weight: u64,
}

impl Customer {
    pub(super) fn draw(model: &Model, number: u64) -> Self {
        let mut random = generator(model.seed, "generate: customer", number);
        let segment = model.segments.choice.pick(random.next_u32());
        let joins = (uniform(&mut random) < JOINING).then(|| uniform(&mut random));
        let lapses = (uniform(&mut random) < LAPSING).then(|| uniform(&mut random));
        let end = model.days - 1;
        let first_day = joins.filter(|_| end >= 1).map_or(0, |place| 1 + scale(place, end));
        let left = end - first_day;
        let last_day = lapses.filter(|_| left >= 1).map_or(end, |place| first_day + scale(place, left));

        let plan = &model.segments.all[segment];
        let deviation: f64 = StandardNormal.sample(&mut random);
        let rate = plan.activity * (ACTIVITY_SPREAD * deviation).exp();
        let weight = rate * plan.rhythm.share(first_day, last_day);
        // At least one unit: nobody is impossible. 2²⁰ units keep the rounding below a millionth.
        let weight = ((weight * 2f64.powi(20)).round() as u64).max(1);
        Self { number, segment, first_day, last_day, weight }
    }
}

/// What a customer buys. For a purchase on day d, package p has the probability
///
/// > Σ shareᵢ · [favouriteᵢ = p] + (1 − Σ shareᵢ) · (probability of p in the segment)
///
/// where the first favourite is replaced by the rung above it from the day of the climb on. The
/// favourites are themselves drawn from the segment: a truncated Dirichlet process around it.
#[derive(Debug, Clone)]
pub(super) struct Taste {
    /// Between one and three, the most bought first.
    pub(super) favourites: Vec<Favourite>,
    pub(super) climb: Option<Climb>,
    /// The channel they mostly use.
    pub(super) channel: u8,
    /// Buys at regular intervals rather than at any time.
    pub(super) regular: bool,
}

/// A package that a customer comes back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Favourite {
    pub(super) package: u16,
    /// Its share of the purchases.
    pub(super) share: f64,
}

/// The step from the first favourite to the next bigger package of its family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Climb {
    pub(super) to: u16,
    /// The first day on which the bigger package is bought instead.
    pub(super) day: u32,
}

impl Taste {
    pub(super) fn draw(model: &Model, customer: &Customer) -> Self {
        let mut random = generator(model.seed, "generate: taste", customer.number);
        let segment = &model.segments.all[customer.segment];
        let channel = segment.channels.pick(random.next_u32()) as u8;
        debug_assert!(usize::from(channel) < CHANNELS.len());
        let regular = uniform(&mut random) < REGULAR;
        let total = FAVOURITES.0 + (FAVOURITES.1 - FAVOURITES.0) * uniform(&mut random);
        let (climbs, when) = (uniform(&mut random) < CLIMBING, uniform(&mut random));
        let parts: &[f64] = match uniform(&mut random) {
            u if u < 0.40 => &[1.0],
            u if u < 0.75 => &[0.65, 0.35],
            _ => &[0.5, 0.3, 0.2],
        };

        let mut first = segment.packages.pick(random.next_u32());
        let mut climb = None;
        if climbs && let Some(day) = climb_day(customer, when) {
            // Whoever already is on the top rung began one below.
            let ladder = match model.catalogue.rung_above(first) {
                Some(above) => Some((first, above)),
                None => model.catalogue.rung_below(first).map(|below| (below, first)),
            };
            if let Some((from, to)) = ladder {
                first = from;
                climb = Some(Climb { to: to as u16, day });
            }
        }

        let mut packages = vec![first as u16];
        // A segment that likes very few packages may give fewer favourites than wanted.
        for _ in 0..4 * parts.len() {
            let package = segment.packages.pick(random.next_u32()) as u16;
            let known = packages.contains(&package) || climb.is_some_and(|climb| climb.to == package);
            if packages.len() < parts.len() && !known {
                packages.push(package);
            }
        }
        let taken: f64 = parts[..packages.len()].iter().sum();
        let favourites = packages.iter().zip(parts);
        let favourites =
            favourites.map(|(&package, part)| Favourite { package, share: total * part / taken });
        Self { favourites: favourites.collect(), climb, channel, regular }
    }
}

/// A day in the middle half of the customer's time, which has to have at least two days.
fn climb_day(customer: &Customer, place: f64) -> Option<u32> {
    let span = customer.last_day - customer.first_day;
    let offset = (f64::from(span) * (0.25 + 0.5 * place)).round() as u32;
    (span >= 1).then(|| customer.first_day + offset.max(1))
}

/// The telephone numbers: each customer's own, spread over the number range in no visible order.
#[derive(Debug)]
pub(super) struct Numbers {
    keys: [u64; 4],
}

/// Subscriber numbers have nine digits; this many customers are possible.
pub(super) const SUBSCRIBERS: u64 = 1_000_000_000;
/// The least power of two above [`SUBSCRIBERS`].
const SUBSCRIBER_BITS: u32 = 30;
/// Characters of an MSISDN: country and network, then the subscriber number.
pub(super) const MSISDN_LENGTH: usize = 12;
const NETWORK: &[u8] = b"905";

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self { keys: [0, 1, 2, 3].map(|round| hash_u64(round, seed ^ 0x4D53_4953_444E)) }
    }

    /// The subscriber number of a customer below [`SUBSCRIBERS`]: a bijection, because each round of
    /// [`mix`](Self::mix) can be undone and numbers out of range are mixed again until they are in.
    pub(super) fn subscriber(&self, customer: u64) -> u32 {
        debug_assert!(customer < SUBSCRIBERS);
        let mut number = self.mix(customer);
        while number >= SUBSCRIBERS {
            number = self.mix(number);
        }
        number as u32
    }

    /// A permutation of the 30-bit integers: add a key, multiply by an odd number, fold the high
    /// half into the low one.
    fn mix(&self, mut value: u64) -> u64 {
        const MASK: u64 = (1 << SUBSCRIBER_BITS) - 1;
        for key in self.keys {
            value = (value ^ key) & MASK;
            value = value.wrapping_mul(0x2C1B_3C6D) & MASK;
            value ^= value >> (SUBSCRIBER_BITS / 2);
        }
        value
    }
}

/// Appends the twelve digits of a subscriber's MSISDN.
pub(super) fn push_msisdn(subscriber: u32, text: &mut Vec<u8>) {
    let mut digits = [b'0'; MSISDN_LENGTH];
    digits[..NETWORK.len()].copy_from_slice(NETWORK);
    let mut rest = subscriber;
    for digit in digits[NETWORK.len()..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text.extend_from_slice(&digits);
}

/// A number from 0 (included) to 1 (excluded) in steps of 2⁻⁵³.
pub(super) fn uniform(random: &mut impl RngCore) -> f64 {
    (random.next_u64() >> 11) as f64 * 2f64.powi(-53)
}

/// An integer below `size` from a place between 0 and 1.
fn scale(place: f64, size: u32) -> u32 {
    (place * f64::from(size)) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_customers_share_a_number() {
        let numbers = Numbers::new(5);
        let mut seen = HashSet::new();
        for customer in (0..100_000).chain(SUBSCRIBERS - 100_000..SUBSCRIBERS) {
            let subscriber = numbers.subscriber(customer);
            assert!(u64::from(subscriber) < SUBSCRIBERS);
            assert!(seen.insert(subscriber), "customer {customer}");
        }
        let mut text = Vec::new();
        push_msisdn(4_050, &mut text);
        assert_eq!(text, b"905000004050");
    }

    #[test]
    fn numbers_spread_over_the_range_and_move_with_the_seed() {
        let (one, two) = (Numbers::new(1), Numbers::new(2));
        let tenths: HashSet<u32> = (0..200).map(|c| one.subscriber(c) / 100_000_000).collect();
        assert_eq!(tenths.len(), 10);
        assert!((0..20).filter(|&c| one.subscriber(c) == two.subscriber(c)).count() < 3);
    }

    #[test]
    fn shares_of_joining_lapsing_and_climbing_customers_are_as_planned() {
        let model = Model::for_tests(20_000, 60, 600);
        let (mut joining, mut lapsing, mut climbing) = (0, 0, 0);
        for number in 0..model.customers {
            let customer = Customer::draw(&model, number);
            assert!(customer.first_day <= customer.last_day && customer.last_day < model.days);
            joining += u32::from(customer.first_day > 0);
            lapsing += u32::from(customer.last_day < model.days - 1);
            let taste = Taste::draw(&model, &customer);
            let share: f64 = taste.favourites.iter().map(|favourite| favourite.share).sum();
            assert!((0.5..=0.7 + 1e-9).contains(&share), "{taste:?}");
            assert!(taste.favourites.is_sorted_by(|a, b| a.share >= b.share), "{taste:?}");
            if let Some(climb) = taste.climb {
                climbing += 1;
                let from = usize::from(taste.favourites[0].package);
                assert_eq!(model.catalogue.rung_above(from), Some(usize::from(climb.to)));
                assert!(climb.day > customer.first_day && climb.day <= customer.last_day);
            }
        }
        let share = |count: u32| f64::from(count) / model.customers as f64;
        assert!((share(joining) - 0.18).abs() < 0.015, "{joining}");
        assert!((share(lapsing) - 0.15).abs() < 0.015, "{lapsing}");
        assert!((share(climbing) - 0.15).abs() < 0.015, "{climbing}");
    }
}
