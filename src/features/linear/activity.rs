//! The features of a customer that come from its rows: how much, how often, when, and through which
//! channels. `WITH activity` of `sql/customer_features.sql` says the same.

use super::columns::{Floats, Integers, Lent, Times, micros};
use super::customer::CustomerRows;
use crate::features::slots::{OTHER, Slots};
use crate::transactions::times::DAY;

/// Days of a month as features take it.
const MONTH: i64 = 30;
/// No row is of it.
const NO_DAY: u32 = u32::MAX;

/// Columns of the customers so far.
pub struct Activity {
    /// The slot of every channel by its rank and one; the first is for rows without one.
    slots: Vec<u8>,
    as_of_day: i64,
    scale: f64,
    /// Slot and published name of every channel share.
    channels: Vec<(usize, String)>,
    purchases: Integers,
    active_days: Integers,
    units: Floats,
    revenue: Floats,
    average: Floats,
    largest: Floats,
    purchases_month: Integers,
    revenue_month: Floats,
    revenue_month_share: Floats,
    trend: Floats,
    first: Times,
    last: Times,
    recency: Integers,
    tenure: Integers,
    gap: Floats,
    weekend: Floats,
    channel_shares: Vec<Floats>,
}

impl Activity {
    /// `channel_slots`: the slot of every channel by rank.
    pub fn new(channels: &Slots, channel_slots: &[i32], as_of_day: i64, scale: f64) -> Self {
        let channels = channels.used();
        Self {
            slots: std::iter::once(0).chain(channel_slots.iter().map(|slot| *slot as u8)).collect(),
            as_of_day,
            scale,
            channel_shares: channels.iter().map(|_| Floats::default()).collect(),
            channels,
            purchases: Integers::default(),
            active_days: Integers::default(),
            units: Floats::default(),
            revenue: Floats::default(),
            average: Floats::default(),
            largest: Floats::default(),
            purchases_month: Integers::default(),
            revenue_month: Floats::default(),
            revenue_month_share: Floats::default(),
            trend: Floats::default(),
            first: Times::default(),
            last: Times::default(),
            recency: Integers::default(),
            tenure: Integers::default(),
            gap: Floats::default(),
            weekend: Floats::default(),
        }
    }

    /// Takes in the next customer; returns its purchases.
    pub fn add(&mut self, rows: &CustomerRows) -> i64 {
        let (mut purchases, mut active_days, mut purchases_month, mut weekend) = (0i64, 0i64, 0i64, 0i64);
        let (mut revenue, mut revenue_month, mut revenue_before) = (0i64, 0i64, 0i64);
        let (mut units, mut largest) = (0f64, i64::MIN);
        let mut by_slot = [0i64; OTHER as usize + 1];
        let mut marked = NO_DAY;
        for row in 0..rows.len() {
            let (day, amount) = (rows.days[row], rows.amounts[row]);
            let age = self.as_of_day - i64::from(day);
            units += f64::from(rows.quantities[row]);
            revenue = revenue.wrapping_add(amount);
            largest = largest.max(amount);
            // Without branches, as the age of a row is as good as random to the processor.
            let is_recent = age < MONTH;
            revenue_month = revenue_month.wrapping_add(if is_recent { amount } else { 0 });
            revenue_before =
                revenue_before.wrapping_add(if !is_recent & (age < 2 * MONTH) { amount } else { 0 });
            if rows.purchases[row] {
                purchases += 1;
                purchases_month += i64::from(is_recent);
                // 1970-01-01 was a Thursday: Saturday is day 2 of 7, Sunday day 3.
                weekend += i64::from(matches!(day % 7, 2 | 3));
                active_days += i64::from(marked != day);
                marked = day;
                // The first slot is for rows without a channel.
                by_slot[self.slots[(rows.channels[row] + 1) as usize] as usize] += 1;
            }
        }
        let money = |minor: i64| minor as f64 / self.scale;
        let of_purchases = |count: i64| if purchases > 0 { count as f64 / purchases as f64 } else { 0.0 };
        self.purchases.push(purchases);
        self.active_days.push(active_days);
        self.units.push(units);
        self.revenue.push(money(revenue));
        self.average.push(if purchases > 0 { money(revenue) / purchases as f64 } else { 0.0 });
        self.largest.push(money(largest));
        self.purchases_month.push(purchases_month);
        self.revenue_month.push(money(revenue_month));
        self.revenue_month_share.push(if revenue > 0 {
            (revenue_month as f64 / revenue as f64).clamp(0.0, 1.0)
        } else {
            0.0
        });
        let turnover = revenue_month.abs() + revenue_before.abs();
        self.trend.push(if turnover > 0 {
            (revenue_month - revenue_before) as f64 / turnover as f64
        } else {
            0.0
        });
        // Rows come by time and a customer has one at least.
        let first = rows.seconds.first().copied().unwrap_or_default();
        let last = rows.seconds.last().copied().unwrap_or_default();
        let (first_day, last_day) = (i64::from(first) / DAY, i64::from(last) / DAY);
        self.first.push(micros(first));
        self.last.push(micros(last));
        self.recency.push(self.as_of_day - last_day);
        self.tenure.push(self.as_of_day - first_day);
        let gap = (active_days > 1).then(|| (last_day - first_day) as f64 / (active_days - 1) as f64);
        self.gap.push_option(gap);
        self.weekend.push(of_purchases(weekend));
        for ((slot, _), shares) in self.channels.iter().zip(&mut self.channel_shares) {
            shares.push(of_purchases(by_slot[*slot]));
        }
        purchases
    }

    /// The columns with their published names.
    pub fn columns(&mut self) -> Vec<Lent<'_>> {
        let mut all: Vec<Lent<'_>> = vec![
            ("purchases", &mut self.purchases),
            ("active_days", &mut self.active_days),
            ("units", &mut self.units),
            ("revenue", &mut self.revenue),
            ("average_purchase", &mut self.average),
            ("largest_purchase", &mut self.largest),
            ("purchases_30d", &mut self.purchases_month),
            ("revenue_30d", &mut self.revenue_month),
            ("revenue_30d_share", &mut self.revenue_month_share),
            ("revenue_trend", &mut self.trend),
            ("first_purchase", &mut self.first),
            ("last_purchase", &mut self.last),
            ("recency_days", &mut self.recency),
            ("tenure_days", &mut self.tenure),
            ("mean_gap_days", &mut self.gap),
            ("weekend_share", &mut self.weekend),
        ];
        for ((_, name), shares) in self.channels.iter().zip(&mut self.channel_shares) {
            all.push((name, shares));
        }
        all
    }
}
