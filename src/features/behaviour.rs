//! Which features describe behaviour, for segments and for similarity, and how to speak of them.

use super::bucket::Context;
use super::slots::Slots;
use crate::numerics::describe::FeatureWords;
use crate::numerics::scaling::ColumnKind;

/// A feature that models see.
#[derive(Debug, Clone, PartialEq)]
pub struct BehaviourColumn {
    pub name: String,
    pub kind: ColumnKind,
    pub high: String,
    pub low: String,
}

impl BehaviourColumn {
    fn new(name: &str, kind: ColumnKind, high: &str, low: &str) -> Self {
        Self { name: name.into(), kind, high: high.into(), low: low.into() }
    }

    pub fn words(&self) -> FeatureWords<'_> {
        FeatureWords { name: &self.name, high: &self.high, low: &self.low }
    }
}

/// The behaviour columns of `customer_features`, in a fixed order. Columns that say the same
/// (active days beside purchases) are left out, so that nothing counts twice.
pub fn columns(context: &Context) -> Vec<BehaviourColumn> {
    use ColumnKind::{Amount, Count, Duration, Share};
    let mut columns = vec![
        BehaviourColumn::new("revenue", Amount, "spends {much} more", "spends {much} less"),
        BehaviourColumn::new("purchases", Count, "buys {much} more often", "buys {much} less often"),
        BehaviourColumn::new(
            "average_purchase",
            Amount,
            "buys {much} dearer packages",
            "buys {much} cheaper packages",
        ),
        BehaviourColumn::new(
            "distinct_packages",
            Count,
            "tries {many} more packages",
            "tries fewer packages",
        ),
        BehaviourColumn::new(
            "favourite_share",
            Share,
            "is {very} loyal to one package",
            "switches {much} between packages",
        ),
        BehaviourColumn::new(
            "recency_days",
            Duration,
            "has been away {much} longer",
            "bought {much} more recently",
        ),
        BehaviourColumn::new(
            "tenure_days",
            Duration,
            "has been a customer {much} longer",
            "is a {much} newer customer",
        ),
        BehaviourColumn::new(
            "revenue_30d_share",
            Share,
            "spent {much} more of it lately",
            "spent {much} less of it lately",
        ),
        BehaviourColumn::new("weekend_share", Share, "prefers weekends {much}", "prefers weekdays {much}"),
        BehaviourColumn::new(
            "mean_price_tier",
            Share,
            "picks from the {very} top of the price list",
            "picks from the {very} bottom of the price list",
        ),
        BehaviourColumn::new(
            "mean_validity_days",
            Duration,
            "buys {much} longer validity",
            "buys {much} shorter validity",
        ),
        BehaviourColumn::new(
            "mean_quota_mb_per_day",
            Count,
            "buys {much} more data a day",
            "buys {much} less data a day",
        ),
    ];
    let shares = |slots: &Slots, high: fn(&str) -> String, low: fn(&str) -> String| {
        slots
            .columns()
            .into_iter()
            .map(|(_, name, value)| BehaviourColumn {
                name,
                kind: Share,
                high: high(&value),
                low: low(&value),
            })
            .collect::<Vec<_>>()
    };
    // One value alone is a share of 1 everywhere, and the last of several follows from the others,
    // but which one is last means nothing, so all of them stay.
    for (slots, high, low) in [
        (
            &context.channels,
            (|v| format!("buys {{much}} more through {v}")) as fn(&str) -> String,
            (|v| format!("buys {{much}} less through {v}")) as fn(&str) -> String,
        ),
        (
            &context.services,
            |v| format!("spends {{much}} more of it on {v}"),
            |v| format!("spends {{much}} less of it on {v}"),
        ),
        (
            &context.charging,
            |v| format!("is {{much}} more often {v}"),
            |v| format!("is {{much}} less often {v}"),
        ),
    ] {
        let columns_of = shares(slots, high, low);
        if columns_of.len() > 1 {
            columns.extend(columns_of);
        }
    }
    columns
}
