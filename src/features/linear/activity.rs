//! The features of a customer that come from its rows: how much, how often, when, and through which
//! channels. `WITH activity` of `sql/customer_features.sql` says the same.

use super::columns::{Maybe, Named, floats, integers, micros, times};
use super::customer::CustomerRows;
use crate::features::slots::{OTHER, Slots};
use crate::transactions::times::DAY;

/// Days of a month as features take it.
const MONTH: i64 = 30;

/// Columns of the customers so far.
pub struct Activity<'a> {
    channel_slots: &'a [i32],
    as_of_day: i64,
    scale: f64,
    /// Slot and published name of every channel share.
    channels: Vec<(usize, String)>,
    purchases: Vec<i64>,
    active_days: Vec<i64>,
    units: Vec<f64>,
    revenue: Vec<f64>,
    average: Vec<f64>,
    largest: Vec<f64>,
    purchases_month: Vec<i64>,
    revenue_month: Vec<f64>,
    revenue_month_share: Vec<f64>,
    trend: Vec<f64>,
    first: Vec<i64>,
    last: Vec<i64>,
    recency: Vec<i64>,
    tenure: Vec<i64>,
    gap: Maybe,
    weekend: Vec<f64>,
    channel_shares: Vec<Vec<f64>>,
}

impl<'a> Activity<'a> {
    /// `channel_slots`: the slot of every channel by rank.
    pub fn new(channels: &Slots, channel_slots: &'a [i32], as_of_day: i64, scale: f64) -> Self {
        let channels = channels.used();
        Self {
            channel_slots,
            as_of_day,
            scale,
            channel_shares: vec![Vec::new(); channels.len()],
            channels,
            purchases: Vec::new(),
            active_days: Vec::new(),
            units: Vec::new(),
            revenue: Vec::new(),
            average: Vec::new(),
            largest: Vec::new(),
            purchases_month: Vec::new(),
            revenue_month: Vec::new(),
            revenue_month_share: Vec::new(),
            trend: Vec::new(),
            first: Vec::new(),
            last: Vec::new(),
            recency: Vec::new(),
            tenure: Vec::new(),
            gap: Maybe::default(),
            weekend: Vec::new(),
        }
    }

    /// Takes in the next customer; returns its purchases.
    pub fn add(&mut self, rows: &CustomerRows) -> i64 {
        let (mut purchases, mut active_days, mut purchases_month, mut weekend) = (0i64, 0i64, 0i64, 0i64);
        let (mut revenue, mut revenue_month, mut revenue_before) = (0i64, 0i64, 0i64);
        let (mut units, mut largest) = (0f64, i64::MIN);
        let mut by_slot = [0i64; OTHER as usize + 1];
        let mut marked = None;
        for row in 0..rows.len() {
            let (day, amount) = (rows.days[row], rows.amounts[row]);
            let age = self.as_of_day - i64::from(day);
            units += f64::from(rows.quantities[row]);
            revenue = revenue.wrapping_add(amount);
            largest = largest.max(amount);
            if age < MONTH {
                revenue_month = revenue_month.wrapping_add(amount);
            } else if age < 2 * MONTH {
                revenue_before = revenue_before.wrapping_add(amount);
            }
            if rows.purchases[row] {
                purchases += 1;
                purchases_month += i64::from(age < MONTH);
                // 1970-01-01 was a Thursday: Saturday is day 2 of 7, Sunday day 3.
                weekend += i64::from(matches!(day % 7, 2 | 3));
                active_days += i64::from(marked != Some(day));
                marked = Some(day);
                let slot = match rows.channels[row] {
                    -1 => 0,
                    channel => self.channel_slots[channel as usize],
                };
                by_slot[slot as usize] += 1;
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
        self.gap.push(active_days > 1, || (last_day - first_day) as f64 / (active_days - 1) as f64);
        self.weekend.push(of_purchases(weekend));
        for ((slot, _), shares) in self.channels.iter().zip(&mut self.channel_shares) {
            shares.push(of_purchases(by_slot[*slot]));
        }
        purchases
    }

    /// The columns of the customers so far; starts over.
    pub fn finish(&mut self, columns: &mut Vec<Named>) {
        let mut add = |name: &str, column| columns.push((name.to_owned(), column));
        add("purchases", integers(&mut self.purchases));
        add("active_days", integers(&mut self.active_days));
        add("units", floats(&mut self.units));
        add("revenue", floats(&mut self.revenue));
        add("average_purchase", floats(&mut self.average));
        add("largest_purchase", floats(&mut self.largest));
        add("purchases_30d", integers(&mut self.purchases_month));
        add("revenue_30d", floats(&mut self.revenue_month));
        add("revenue_30d_share", floats(&mut self.revenue_month_share));
        add("revenue_trend", floats(&mut self.trend));
        add("first_purchase", times(&mut self.first));
        add("last_purchase", times(&mut self.last));
        add("recency_days", integers(&mut self.recency));
        add("tenure_days", integers(&mut self.tenure));
        add("mean_gap_days", self.gap.take());
        add("weekend_share", floats(&mut self.weekend));
        for ((_, name), shares) in self.channels.iter().zip(&mut self.channel_shares) {
            add(name, floats(shares));
        }
    }
}
