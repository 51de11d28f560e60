//! Every customer's purchases, drawn customer by customer and laid down by day.

use std::path::Path;

use rand_xoshiro::rand_core::RngCore;

use super::activity::Activity;
use super::customers::{Customer, Taste, uniform};
use super::error::GenerateError;
use super::spill::{Spill, Spilled};
use super::workers::share_out;
use super::{Model, customers::SUBSCRIBERS};
use crate::numerics::random::generator;

/// Share of the purchases of which the channel is not known.
const NO_CHANNEL: f64 = 0.005;
/// Share of a customer's purchases made through the channel they mostly use.
const USUAL_CHANNEL: f64 = 0.6;

/// One purchase within its day, packed so that the order of the integers is the order of the rows:
/// second of the day (17 bits), subscriber (30), package (14), channel (3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Purchase {
    pub(super) second: u32,
    pub(super) subscriber: u32,
    pub(super) package: u16,
    /// None where the channel is not known.
    pub(super) channel: Option<u8>,
}

const CHANNEL_BITS: u32 = 3;
const PACKAGE_BITS: u32 = 14;
const SUBSCRIBER_BITS: u32 = 30;
const SECOND_SHIFT: u32 = CHANNEL_BITS + PACKAGE_BITS + SUBSCRIBER_BITS;
const NO_CHANNEL_CODE: u64 = (1 << CHANNEL_BITS) - 1;
/// The largest catalogue that a record and a four-digit package number can name.
pub(super) const MOST_PACKAGES: u32 = 9_999;

const _: () = assert!(MOST_PACKAGES < 1 << PACKAGE_BITS && SUBSCRIBERS <= 1 << SUBSCRIBER_BITS);

impl Purchase {
    pub(super) fn pack(self) -> u64 {
        (u64::from(self.second) << SECOND_SHIFT)
            | (u64::from(self.subscriber) << (CHANNEL_BITS + PACKAGE_BITS))
            | (u64::from(self.package) << CHANNEL_BITS)
            | self.channel.map_or(NO_CHANNEL_CODE, u64::from)
    }

    pub(super) fn unpack(record: u64) -> Self {
        let channel = record & NO_CHANNEL_CODE;
        Self {
            second: second_of(record),
            subscriber: ((record >> (CHANNEL_BITS + PACKAGE_BITS)) & ((1 << SUBSCRIBER_BITS) - 1)) as u32,
            package: ((record >> CHANNEL_BITS) & ((1 << PACKAGE_BITS) - 1)) as u16,
            channel: (channel != NO_CHANNEL_CODE).then_some(channel as u8),
        }
    }
}

/// The second of the day of a packed purchase.
pub(super) fn second_of(record: u64) -> u32 {
    (record >> SECOND_SHIFT) as u32
}

/// What drawing all purchases gives.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) spilled: Vec<Spilled>,
    pub(super) customers_with_purchases: u64,
    pub(super) revenue_minor: i64,
}

/// Draws every purchase into files of packed records under `scratch`, 8 bytes a purchase.
pub(super) fn draw_all(
    model: &Model,
    activity: &Activity,
    scratch: &Path,
    threads: usize,
) -> Result<Drawn, GenerateError> {
    struct Worker {
        spill: Spill,
        buyers: u64,
        revenue_minor: i64,
    }
    let workers = Spill::most_workers(model.days).min(threads).min(activity.blocks());
    let done = share_out(
        workers,
        activity.blocks(),
        |worker| {
            let spill = Spill::create(scratch, worker, workers, model.days)?;
            Ok(Worker { spill, buyers: 0, revenue_minor: 0 })
        },
        |worker, block| {
            activity.visit_block(model, block, |customer, count| {
                worker.buyers += u64::from(count > 0);
                draw_customer(model, &customer, count, |day, purchase| {
                    let package = usize::from(purchase.package);
                    worker.revenue_minor += model.catalogue.packages[package].price_minor;
                    worker.spill.push(day, purchase.pack())
                })
            })
        },
    )?;
    let customers_with_purchases = done.iter().map(|worker| worker.buyers).sum();
    let revenue_minor = done.iter().map(|worker| worker.revenue_minor).sum();
    let spilled = done.into_iter().map(|worker| worker.spill.finish()).collect::<Result<_, _>>()?;
    Ok(Drawn { spilled, customers_with_purchases, revenue_minor })
}

/// Draws one customer's `count` purchases, calling `emit` with the day and the purchase. Customers
/// with regular habits get gaps between half and one and a half times the average; others buy at any
/// time. Either way the days' weights hold on average.
fn draw_customer<E>(
    model: &Model,
    customer: &Customer,
    count: u64,
    mut emit: impl FnMut(u32, Purchase) -> Result<(), E>,
) -> Result<(), E> {
    if count == 0 {
        return Ok(());
    }
    let taste = Taste::draw(model, customer);
    let segment = &model.segments.all[customer.segment];
    let subscriber = model.numbers.subscriber(customer.number);
    let mut random = generator(model.seed, "generate: purchases", customer.number);
    let phase = uniform(&mut random);
    let cells = count as f64;
    for index in 0..count {
        // One draw of 64 bits serves two small decisions.
        let (package_bits, place_bits) = halves(random.next_u64());
        let (hour_bits, second_bits) = halves(random.next_u64());
        let (channel_bits, usual_bits) = halves(random.next_u64());

        let place = if taste.regular {
            ((index as f64 + phase + 0.5 * fraction(place_bits)) / cells).fract()
        } else {
            fraction(place_bits)
        };
        let day = segment.rhythm.day_at(customer.first_day, customer.last_day, place);
        let hour = segment.hours.pick(hour_bits) as u32;
        let second = hour * 3_600 + ((u64::from(second_bits) * 3_600) >> 32) as u32;
        let package = match favourite(&taste, day, fraction(package_bits)) {
            Some(package) => package,
            None => segment.packages.pick(random.next_u32()) as u16,
        };
        let channel = match fraction(usual_bits) {
            u if u < NO_CHANNEL => None,
            u if u < NO_CHANNEL + USUAL_CHANNEL => Some(taste.channel),
            _ => Some(segment.channels.pick(channel_bits) as u8),
        };
        emit(day, Purchase { second, subscriber, package, channel })?;
    }
    Ok(())
}

/// The favourite in whose share `place` falls, if it falls in one.
fn favourite(taste: &Taste, day: u32, place: f64) -> Option<u16> {
    let mut below = 0.0;
    for (rank, favourite) in taste.favourites.iter().enumerate() {
        below += favourite.share;
        if place < below {
            let climbed = taste.climb.filter(|climb| rank == 0 && day >= climb.day);
            return Some(climbed.map_or(favourite.package, |climb| climb.to));
        }
    }
    None
}

fn halves(bits: u64) -> (u32, u32) {
    ((bits >> 32) as u32, bits as u32)
}

/// 32 random bits as a number from 0 (included) to 1 (excluded).
fn fraction(bits: u32) -> f64 {
    f64::from(bits) * 2f64.powi(-32)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_packed_purchase_comes_back_and_sorts_by_time_then_customer() {
        let purchase = Purchase { second: 86_399, subscriber: 999_999_999, package: 9_998, channel: Some(5) };
        assert_eq!(Purchase::unpack(purchase.pack()), purchase);
        let unknown = Purchase { channel: None, ..purchase };
        assert_eq!(Purchase::unpack(unknown.pack()), unknown);
        let later = Purchase { second: 8, subscriber: 0, package: 0, channel: Some(0) };
        let earlier = Purchase { second: 7, ..purchase };
        let other = Purchase { subscriber: 3, ..earlier };
        assert!(other.pack() < earlier.pack() && earlier.pack() < later.pack());
    }

    #[test]
    fn packages_are_bought_with_the_probabilities_that_the_truth_states() {
        let model = Model::for_tests(50, 80, 60);
        let climber = (0..50)
            .map(|number| Customer::draw(&model, number))
            .find(|customer| Taste::draw(&model, customer).climb.is_some())
            .expect("some of fifty climb");
        let taste = Taste::draw(&model, &climber);
        let climb = taste.climb.expect("chosen for it");
        let mut times = [vec![0.0; 60], vec![0.0; 60]];
        let Ok(()) = draw_customer(&model, &climber, 400_000, |day, purchase| {
            times[usize::from(day >= climb.day)][usize::from(purchase.package)] += 1.0;
            Ok::<_, Infallible>(())
        });
        let probabilities = &model.segments.all[climber.segment].probabilities;
        let background = 1.0 - taste.favourites.iter().map(|favourite| favourite.share).sum::<f64>();
        for (after, times) in times.iter().enumerate() {
            let total: f64 = times.iter().sum();
            for (package, count) in times.iter().enumerate() {
                let mut wanted = background * probabilities[package];
                for (rank, favourite) in taste.favourites.iter().enumerate() {
                    let target = if rank == 0 && after == 1 { climb.to } else { favourite.package };
                    wanted += if usize::from(target) == package { favourite.share } else { 0.0 };
                }
                let found = count / total;
                assert!((found - wanted).abs() < 0.006, "package {package}: {found}, not {wanted}");
            }
        }
    }

    #[test]
    fn regular_customers_keep_their_distance() {
        let model = Model::for_tests(200, 100, 60);
        let mut seen = [0, 0];
        for number in 0..200 {
            let customer = Customer::draw(&model, number);
            let regular = Taste::draw(&model, &customer).regular;
            if customer.last_day - customer.first_day < 90 {
                continue;
            }
            let mut days = Vec::new();
            let Ok(()) = draw_customer(&model, &customer, 8, |day, _| {
                days.push(day);
                Ok::<_, Infallible>(())
            });
            days.sort_unstable();
            let closest = days.windows(2).map(|pair| pair[1] - pair[0]).min();
            // Twelve days apart on average, at least six apart less the weekly rhythm.
            if regular {
                assert!(closest >= Some(3), "customer {number}: {days:?}");
                seen[0] += 1;
            } else {
                seen[1] += u32::from(closest < Some(3));
            }
        }
        assert!(seen[0] > 20 && seen[1] > 20, "{seen:?}");
    }
}
