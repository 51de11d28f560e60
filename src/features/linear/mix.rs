//! The features of a customer that come from its packages and what the catalogue says of them: variety,
//! the favourite, means of properties, and shares of types. `mix` of `sql/customer_features.sql` says the
//! same.

use super::columns::{Floats, Integers, Lent};
use super::packages::Bought;
use crate::features::slots::{OTHER, Slots};
use arrow::array::{ArrayRef, DictionaryArray, Int32Array};
use arrow::error::ArrowError;
use std::sync::Arc;

/// What the catalogue says of a package, as the mix takes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Properties {
    /// Fifth of the catalogue by price, 1 to 5.
    pub tier: Option<i64>,
    pub validity_days: Option<f64>,
    pub quota_mb_per_day: Option<f64>,
    pub speed_mbps: Option<f64>,
    /// 1 to 8, 9 for the rest, 0 without one.
    pub service_slot: i32,
    pub charging_slot: i32,
}

/// A sum over the purchases whose package has the property.
#[derive(Default)]
struct Mean {
    sum: f64,
    times: i64,
}

impl Mean {
    fn add(&mut self, times: i64, value: Option<f64>) {
        // Without a branch: which packages have a property is as good as random to the processor.
        self.sum += times as f64 * value.unwrap_or(0.0);
        self.times += if value.is_some() { times } else { 0 };
    }

    fn push_to(&self, column: &mut Floats) {
        column.push_option((self.times > 0).then(|| self.sum / self.times as f64));
    }
}

/// Columns of the customers so far.
pub struct Mix<'a> {
    properties: &'a [Properties],
    package_names: &'a ArrayRef,
    has_money: bool,
    /// Slot and published name of every share.
    services: Vec<(usize, String)>,
    charging: Vec<(usize, String)>,
    distinct: Integers,
    /// Rank of the favourite, −1 without one.
    favourite: Vec<i32>,
    favourite_share: Floats,
    tier: Floats,
    validity: Floats,
    quota: Floats,
    speed: Floats,
    service_shares: Vec<Floats>,
    charging_shares: Vec<Floats>,
}

impl<'a> Mix<'a> {
    pub fn new(
        properties: &'a [Properties],
        package_names: &'a ArrayRef,
        has_money: bool,
        services: &Slots,
        charging: &Slots,
    ) -> Self {
        let (services, charging) = (services.used(), charging.used());
        Self {
            properties,
            package_names,
            has_money,
            service_shares: services.iter().map(|_| Floats::default()).collect(),
            charging_shares: charging.iter().map(|_| Floats::default()).collect(),
            services,
            charging,
            distinct: Integers::default(),
            favourite: Vec::new(),
            favourite_share: Floats::default(),
            tier: Floats::default(),
            validity: Floats::default(),
            quota: Floats::default(),
            speed: Floats::default(),
        }
    }

    /// Takes in the next customer: its packages by rank, and its purchases.
    pub fn add(&mut self, bought: &[Bought], purchases: i64) {
        let (mut distinct, mut favourite, mut most) = (0, -1, 0);
        let (mut tier_sum, mut tier_times) = (0i64, 0i64);
        let (mut validity, mut quota, mut speed) = (Mean::default(), Mean::default(), Mean::default());
        let mut total = 0f64;
        let mut by_service = [0f64; OTHER as usize + 1];
        let mut by_charging = [0f64; OTHER as usize + 1];
        for one in bought {
            let Some(properties) = self.properties.get(one.package as usize) else { continue };
            let times = one.times;
            distinct += i64::from(times > 0);
            // Ties go to the first code, which is the lower rank and comes first.
            if times > most {
                (favourite, most) = (one.package as i32, times);
            }
            tier_sum += times * properties.tier.unwrap_or(0);
            tier_times += if properties.tier.is_some() { times } else { 0 };
            validity.add(times, properties.validity_days);
            quota.add(times, properties.quota_mb_per_day);
            speed.add(times, properties.speed_mbps);
            // A package counts its revenue, or its purchases where no money is known.
            let part = if self.has_money { one.revenue.max(0) } else { times } as f64;
            total += part;
            by_service[properties.service_slot as usize] += part;
            by_charging[properties.charging_slot as usize] += part;
        }
        self.distinct.push(distinct);
        self.favourite.push(favourite);
        self.favourite_share.push(if purchases > 0 { most as f64 / purchases as f64 } else { 0.0 });
        self.tier.push_option((tier_times > 0).then(|| tier_sum as f64 / tier_times as f64));
        validity.push_to(&mut self.validity);
        quota.push_to(&mut self.quota);
        speed.push_to(&mut self.speed);
        let share = |part: f64| if total > 0.0 { part / total } else { 0.0 };
        for ((slot, _), shares) in self.services.iter().zip(&mut self.service_shares) {
            shares.push(share(by_service[*slot]));
        }
        for ((slot, _), shares) in self.charging.iter().zip(&mut self.charging_shares) {
            shares.push(share(by_charging[*slot]));
        }
    }

    /// Codes of the favourite packages so far, for the column `favourite_package`; starts them over.
    pub fn favourites(&mut self) -> Result<ArrayRef, ArrowError> {
        let ranks: Int32Array = self.favourite.drain(..).map(|rank| (rank >= 0).then_some(rank)).collect();
        Ok(Arc::new(DictionaryArray::try_new(ranks, self.package_names.clone())?))
    }

    /// The columns of numbers with their published names.
    pub fn columns(&mut self) -> Vec<Lent<'_>> {
        let mut all: Vec<Lent<'_>> = vec![
            ("distinct_packages", &mut self.distinct),
            ("favourite_share", &mut self.favourite_share),
            ("mean_price_tier", &mut self.tier),
            ("mean_validity_days", &mut self.validity),
            ("mean_quota_mb_per_day", &mut self.quota),
            ("mean_speed_mbps", &mut self.speed),
        ];
        let services = self.services.iter().zip(&mut self.service_shares);
        for ((_, name), shares) in services.chain(self.charging.iter().zip(&mut self.charging_shares)) {
            all.push((name, shares));
        }
        all
    }
}
