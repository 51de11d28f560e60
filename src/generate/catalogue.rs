//! The packages on sale: families of one service, validity and way of charging, each a ladder of
//! rising quota and price.

use rand_distr::{Distribution, StandardNormal};

use crate::numerics::random::generator;

/// What a package is for. The order is the index used by the segments' tastes.
pub(super) const SERVICES: [&str; 6] = ["DATA", "SOCIAL", "VIDEO", "GAMING", "COMBO", "ROAMING"];
/// How a package is paid for.
pub(super) const CHARGINGS: [&str; 3] = ["PREPAID", "POSTPAID", "HYBRID"];
/// How long a package lasts: the text written and the days it means.
pub(super) const VALIDITIES: [(&str, u32); 6] =
    [("1 day", 1), ("3 days", 3), ("7 days", 7), ("14 days", 14), ("30 days", 30), ("90 days", 90)];

/// Quotas from which ladders take their rungs: the text written and the gigabytes it means.
const QUOTAS: [(&str, f64); 24] = [
    ("50 MB", 0.05),
    ("100 MB", 0.1),
    ("200 MB", 0.2),
    ("300 MB", 0.3),
    ("500 MB", 0.5),
    ("750 MB", 0.75),
    ("1 GB", 1.0),
    ("1.5 GB", 1.5),
    ("2 GB", 2.0),
    ("3 GB", 3.0),
    ("4 GB", 4.0),
    ("6 GB", 6.0),
    ("8 GB", 8.0),
    ("10 GB", 10.0),
    ("15 GB", 15.0),
    ("20 GB", 20.0),
    ("30 GB", 30.0),
    ("40 GB", 40.0),
    ("50 GB", 50.0),
    ("75 GB", 75.0),
    ("100 GB", 100.0),
    ("125 GB", 125.0),
    ("150 GB", 150.0),
    ("200 GB", 200.0),
];
const MAX_SPEEDS: [&str; 8] =
    ["10 Mbps", "25 Mbps", "50 Mbps", "75 Mbps", "100 Mbps", "200 Mbps", "500 Mbps", "1 Gbps"];
const MIN_SPEEDS: [&str; 8] =
    ["0.5 Mbps", "1 Mbps", "1 Mbps", "2 Mbps", "4 Mbps", "5 Mbps", "8 Mbps", "10 Mbps"];

/// Rungs of a full family; smaller catalogues have shorter families.
const RUNGS: u32 = 6;
/// The validity of a service's first family; later families move on from there, so that each round
/// of six families has every service and every validity once.
const FIRST_VALIDITY: [usize; 6] = [4, 0, 3, 1, 5, 2];
/// Of length five, coprime to the six services and validities, so that combinations come in all
/// ways of charging.
const CHARGING_CYCLE: [usize; 5] = [0, 1, 0, 2, 0];
/// The first rung's place in `QUOTAS` by validity, and how services move it.
const FIRST_QUOTA: [usize; 6] = [2, 3, 5, 7, 9, 11];
const QUOTA_SHIFT: [isize; 6] = [1, -2, 2, -1, 1, -2];
/// What a gigabyte of the service costs in proportion to plain data.
const SERVICE_PRICE: [f64; 6] = [1.0, 0.8, 0.9, 0.95, 1.25, 1.9];

/// One package on sale.
#[derive(Debug, Clone)]
pub(super) struct Package {
    pub(super) code: String,
    /// In hundredths of the currency unit.
    pub(super) price_minor: i64,
    /// Index into [`SERVICES`].
    pub(super) service: usize,
    /// Index into [`CHARGINGS`].
    pub(super) charging: usize,
    /// Index into [`VALIDITIES`].
    pub(super) validity: usize,
    pub(super) quota: &'static str,
    pub(super) max_speed: &'static str,
    pub(super) min_speed: &'static str,
    family: u32,
}

/// All packages, a family's rungs side by side from the smallest quota to the largest.
#[derive(Debug, Clone)]
pub(super) struct Catalogue {
    pub(super) packages: Vec<Package>,
}

impl Catalogue {
    /// The catalogue of `count` packages under a seed. The seed moves the families' price levels
    /// (about a tenth either way); names, quotas and validities depend on `count` alone.
    pub(super) fn plan(count: u32, seed: u64) -> Self {
        let families = count.div_ceil(RUNGS).max(1);
        let mut packages = Vec::with_capacity(count as usize);
        for family in 0..families {
            let rungs = count / families + u32::from(family < count % families);
            plan_family(family, rungs, seed, &mut packages);
        }
        Self { packages }
    }

    /// The package of the same family with the next bigger quota, if there is one.
    pub(super) fn rung_above(&self, package: usize) -> Option<usize> {
        let above = package + 1;
        (self.packages.get(above)?.family == self.packages[package].family).then_some(above)
    }

    /// The package of the same family with the next smaller quota, if there is one.
    pub(super) fn rung_below(&self, package: usize) -> Option<usize> {
        let below = package.checked_sub(1)?;
        (self.packages[below].family == self.packages[package].family).then_some(below)
    }
}

/// Adds one family's rungs. Prices grow as quota^0.38 × days^0.22 (so a bigger
/// package is cheaper by the gigabyte), which puts the whole grid between about 1 and 60.
fn plan_family(family: u32, rungs: u32, seed: u64, packages: &mut Vec<Package>) {
    let round = family as usize / SERVICES.len();
    let service = family as usize % SERVICES.len();
    let validity = (FIRST_VALIDITY[service] + round) % VALIDITIES.len();
    let charging = CHARGING_CYCLE[(round + service) % CHARGING_CYCLE.len()];
    // Families of the same kind differ: one climbs in wide steps, the next in narrow ones.
    let step = 1 + (round + 1) % 2;
    let highest_first = QUOTAS.len() - 1 - step * (RUNGS as usize - 1);
    let first = FIRST_QUOTA[validity].saturating_add_signed(QUOTA_SHIFT[service]).min(highest_first);

    let wobble: f64 =
        StandardNormal.sample(&mut generator(seed, "generate: family price", u64::from(family)));
    let level = 2.9 * SERVICE_PRICE[service] * (0.07 * wobble).exp().clamp(0.8, 1.25);
    let (_, days) = VALIDITIES[validity];
    let mut floor = 95;
    for rung in 0..rungs as usize {
        let (quota, gigabytes) = QUOTAS[first + rung * step];
        let price = level * gigabytes.powf(0.38) * f64::from(days).powf(0.22);
        // Prices end in 0 or 5, and a higher rung always costs more.
        let price_minor = ((price * 20.0).round() as i64 * 5).clamp(floor + 5, 6_000.max(floor + 5));
        floor = price_minor;
        let speed = (first / 3 + rung / 2 + charging % 2).min(MAX_SPEEDS.len() - 1);
        packages.push(Package {
            code: format!("{}{}-{:04}", &SERVICES[service][..3], days, packages.len() + 1),
            price_minor,
            service,
            charging,
            validity,
            quota,
            max_speed: MAX_SPEEDS[speed],
            min_speed: MIN_SPEEDS[speed],
            family,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// "1.5 GB" as 1536, "100 Mbps" as 100: a number, one space, a unit.
    fn quantity(text: &str) -> f64 {
        let (number, unit) = text.split_once(' ').expect("a number and a unit");
        let scale = match unit {
            "MB" | "Mbps" | "day" | "days" => 1.0,
            "Gbps" => 1000.0,
            "GB" => 1024.0,
            other => panic!("unknown unit {other}"),
        };
        number.parse::<f64>().expect("a number") * scale
    }

    #[test]
    fn every_size_gives_that_many_packages_with_codes_of_their_own() {
        for count in [1, 2, 5, 6, 7, 13, 60, 600, 9_999] {
            let catalogue = Catalogue::plan(count, 1);
            let codes: HashSet<&str> = catalogue.packages.iter().map(|p| p.code.as_str()).collect();
            assert_eq!((catalogue.packages.len(), codes.len()), (count as usize, count as usize));
        }
    }

    #[test]
    fn a_ladder_rises_in_quota_and_price_within_one_kind_of_package() {
        let catalogue = Catalogue::plan(600, 3);
        let mut steps = 0;
        for (index, package) in catalogue.packages.iter().enumerate() {
            let Some(above) = catalogue.rung_above(index) else { continue };
            let above = &catalogue.packages[above];
            assert!(quantity(above.quota) > quantity(package.quota), "{package:?} {above:?}");
            assert!(above.price_minor > package.price_minor, "{package:?} {above:?}");
            let kind = |p: &Package| (p.service, p.charging, p.validity);
            assert_eq!(kind(above), kind(package));
            assert_eq!(catalogue.rung_below(index + 1), Some(index));
            steps += 1;
        }
        assert_eq!(steps, 500);
        assert_eq!(catalogue.rung_above(599), None);
        assert_eq!(catalogue.rung_below(0), None);
    }

    #[test]
    fn prices_and_speeds_are_believable_and_quantities_can_be_parsed() {
        for count in [60, 600, 9_999] {
            for package in Catalogue::plan(count, 9).packages {
                assert!((100..=6_100).contains(&package.price_minor), "{package:?}");
                assert!(quantity(package.min_speed) < quantity(package.max_speed), "{package:?}");
                assert!(quantity(package.quota) >= 50.0, "{package:?}");
                let (text, days) = VALIDITIES[package.validity];
                assert_eq!(quantity(text), f64::from(days));
            }
        }
    }

    #[test]
    fn sixty_packages_already_hold_every_service_and_validity() {
        let catalogue = Catalogue::plan(60, 1);
        let services: HashSet<usize> = catalogue.packages.iter().map(|p| p.service).collect();
        let validities: HashSet<usize> = catalogue.packages.iter().map(|p| p.validity).collect();
        assert_eq!((services.len(), validities.len()), (6, 6));
    }
}
