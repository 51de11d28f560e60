//! How many offers pass each rule, in the order of application.
//!
//! Revenue is summed as integers of a 65,536th of a currency unit, so that the sum is the same however
//! customers are divided between threads.

use super::RuleInfo;
use crate::privacy::suppression::hidden_groups;
use crate::tables::{CustomerType, POLICY_FUNNEL};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Steps of a currency unit.
const STEPS: f64 = 65_536.0;

/// What passed each rule.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Funnel {
    /// Offers that the first rule was asked about.
    pub considered: u64,
    counts: Vec<Count>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Count {
    rule: String,
    stage: String,
    owner: String,
    /// Can take no offer.
    hidden: bool,
    removed: u64,
    customers: u64,
    /// In `STEPS` of a currency unit.
    revenue: i128,
}

/// One rule's row, in the table `policy_funnel` and in the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelRow {
    pub rule: String,
    pub stage: String,
    pub owner: String,
    /// None, as what follows: left out, because too few customers lost an offer, or because of such a rule.
    pub offers_in: Option<u64>,
    pub offers_out: Option<u64>,
    pub removed: Option<u64>,
    /// Expected revenue of what was removed, currency units.
    pub revenue_removed: Option<f64>,
    /// Customers who lost an offer to the rule.
    pub customers: Option<u64>,
}

impl Funnel {
    /// An empty funnel over rules of the names, stages and owners given, in the order of application.
    pub fn new<'a>(rules: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Self {
        let counts = rules.into_iter().map(|(rule, stage, owner)| Count {
            rule: rule.to_owned(),
            stage: stage.to_owned(),
            owner: owner.to_owned(),
            ..Count::default()
        });
        Self { considered: 0, counts: counts.collect() }
    }

    /// An empty funnel over all rules of a run, by their numbers. Those that are not in force, and
    /// boosts and pins, have no row.
    pub fn of(rules: &[RuleInfo]) -> Self {
        let names = rules.iter().map(|rule| (rule.name.as_str(), rule.stage.text(), rule.owner.as_str()));
        let mut funnel = Self::new(names);
        for (count, rule) in funnel.counts.iter_mut().zip(rules) {
            count.hidden = !(rule.in_force && rule.kind.removes());
        }
        funnel
    }

    /// Counts one offer that a rule took; `revenue` in currency units counts as 0 if it is not finite.
    pub fn remove(&mut self, rule: u16, revenue: f64) {
        if let Some(count) = self.counts.get_mut(rule as usize) {
            count.removed += 1;
            // A cast of NaN gives 0; infinite revenue says nothing.
            count.revenue += if revenue.is_finite() { (revenue * STEPS).round() as i128 } else { 0 };
        }
    }

    /// Counts a customer who lost one offer or more to a rule; to be called once for each of them.
    pub fn customer(&mut self, rule: u16) {
        if let Some(count) = self.counts.get_mut(rule as usize) {
            count.customers += 1;
        }
    }

    /// Counts one customer's walk: `considered` offers, and what was taken as (rule, expected revenue),
    /// in any order. `seen` is scratch space.
    pub fn walk(
        &mut self,
        considered: u64,
        taken: impl IntoIterator<Item = (u16, f64)>,
        seen: &mut Vec<u16>,
    ) {
        self.considered += considered;
        seen.clear();
        for (rule, revenue) in taken {
            self.remove(rule, revenue);
            if !seen.contains(&rule) {
                seen.push(rule);
                self.customer(rule);
            }
        }
    }

    /// Adds what another thread counted over the same rules.
    pub fn merge(&mut self, other: &Self) {
        self.considered += other.considered;
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            mine.removed += theirs.removed;
            mine.customers += theirs.customers;
            mine.revenue += theirs.revenue;
        }
    }

    /// The rows; each rule gets what the one before it let through.
    pub fn rows(&self) -> Vec<FunnelRow> {
        let mut left = self.considered;
        let rows = self.counts.iter().filter(|count| !count.hidden).map(|count| {
            let offers_in = left;
            left = left.saturating_sub(count.removed);
            FunnelRow {
                rule: count.rule.clone(),
                stage: count.stage.clone(),
                owner: count.owner.clone(),
                offers_in: Some(offers_in),
                offers_out: Some(left),
                removed: Some(count.removed),
                revenue_removed: Some(count.revenue as f64 / STEPS),
                customers: Some(count.customers),
            }
        });
        rows.collect()
    }
}

/// Leaves out what rules took from fewer than `k` customers. What the rules before and after let through would give it
/// away, so if there is such a rule only the first number and the last stay.
pub fn leave_out_small_groups(rows: &mut [FunnelRow], k: u64) {
    let customers: Vec<u64> = rows.iter().map(|row| row.customers.unwrap_or(0)).collect();
    let hidden = hidden_groups(&customers, k);
    if !hidden.contains(&true) {
        return;
    }
    let last = rows.len() - 1;
    for (number, (row, hidden)) in rows.iter_mut().zip(hidden).enumerate() {
        row.offers_in = row.offers_in.filter(|_| number == 0);
        row.offers_out = row.offers_out.filter(|_| number == last);
        if hidden {
            (row.removed, row.revenue_removed, row.customers) = (None, None, None);
        }
    }
}

/// Rows as the published table `policy_funnel`.
pub fn table(rows: &[FunnelRow]) -> Result<RecordBatch, ArrowError> {
    let text = |of: fn(&FunnelRow) -> &str| {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>()) as ArrayRef
    };
    let integer = |of: fn(&FunnelRow) -> Option<u64>| {
        let values = rows.iter().map(|row| of(row).map(|value| i64::try_from(value).unwrap_or(i64::MAX)));
        Arc::new(values.collect::<Int64Array>()) as ArrayRef
    };
    RecordBatch::try_new(
        POLICY_FUNNEL.schema(CustomerType::Text),
        vec![
            Arc::new(Int64Array::from_iter_values(1..=rows.len() as i64)),
            text(|row| &row.rule),
            text(|row| &row.stage),
            text(|row| &row.owner),
            integer(|row| row.offers_in),
            integer(|row| row.offers_out),
            integer(|row| row.removed),
            Arc::new(rows.iter().map(|row| row.revenue_removed).collect::<Float64Array>()),
            integer(|row| row.customers),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Stage};
    use super::*;
    use arrow::array::Array;
    use proptest::prelude::*;

    fn funnel() -> Funnel {
        Funnel::new([("a", "eligibility", "X"), ("b", "contact", "Y")])
    }

    #[test]
    fn each_rule_gets_what_the_one_before_let_through() {
        let (mut funnel, mut seen) = (funnel(), Vec::new());
        funnel.walk(5, [(1, 2.5), (0, 1.25), (0, f64::NAN)], &mut seen);
        funnel.walk(3, [(0, 1.0)], &mut seen);
        let rows = funnel.rows();
        assert_eq!(rows[0], row("a", "eligibility", "X", [8, 5, 3, 2], 2.25));
        assert_eq!(rows[1], row("b", "contact", "Y", [5, 4, 1, 1], 2.5));
        let batch = table(&rows).unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (2, 9));
    }

    fn row(rule: &str, stage: &str, owner: &str, counts: [u64; 4], revenue: f64) -> FunnelRow {
        let [offers_in, offers_out, removed, customers] = counts.map(Some);
        FunnelRow {
            rule: rule.to_owned(),
            stage: stage.to_owned(),
            owner: owner.to_owned(),
            offers_in,
            offers_out,
            removed,
            revenue_removed: Some(revenue),
            customers,
        }
    }

    #[test]
    fn a_rule_that_took_from_few_is_hidden_with_another_and_the_steps_between() {
        let rule = |name, offers_in, removed, customers| {
            row(name, "contact", "X", [offers_in, offers_in - removed, removed, customers], 1.0)
        };
        let mut rows = [rule("many", 100, 50, 40), rule("few", 50, 3, 2), rule("some", 47, 20, 12)];
        let before = rows.clone();
        leave_out_small_groups(&mut rows, 2);
        assert_eq!(rows, before);
        leave_out_small_groups(&mut rows, 10);
        let removed: Vec<_> =
            rows.iter().map(|row| (row.removed, row.customers, row.revenue_removed)).collect();
        assert_eq!(removed, [(Some(50), Some(40), Some(1.0)), (None, None, None), (None, None, None)]);
        let steps: Vec<_> = rows.iter().map(|row| (row.offers_in, row.offers_out)).collect();
        assert_eq!(steps, [(Some(100), None), (None, None), (None, Some(27))]);
        assert_eq!(table(&rows).unwrap().column(6).null_count(), 2);
    }

    #[test]
    fn rules_that_can_take_nothing_have_no_row() {
        let rule = |name: &str, kind, in_force| RuleInfo {
            name: name.to_owned(),
            kind,
            stage: Stage::Suitability,
            owner: String::new(),
            line: 1,
            in_force,
            note: None,
        };
        let rules = [
            rule("boost", Kind::Boost, true),
            rule("later", Kind::Rule, false),
            rule("now", Kind::Rule, true),
        ];
        let mut funnel = Funnel::of(&rules);
        funnel.walk(2, [(2, 1.0)], &mut Vec::new());
        let rows = funnel.rows();
        assert_eq!((rows.len(), rows[0].rule.as_str(), rows[0].removed), (1, "now", Some(1)));
    }

    proptest! {
        #[test]
        fn any_division_between_threads_gives_the_same_sums(
            walks in prop::collection::vec(prop::collection::vec((0_u16..2, 0.0..100.0_f64), 0..5), 0..30),
            parts in 1_usize..5,
        ) {
            let mut whole = funnel();
            let mut divided = vec![funnel(); parts];
            let mut seen = Vec::new();
            for (number, walk) in walks.iter().enumerate() {
                whole.walk(walk.len() as u64, walk.iter().copied(), &mut seen);
                divided[number % parts].walk(walk.len() as u64, walk.iter().copied(), &mut seen);
            }
            let mut merged = funnel();
            divided.iter().rev().for_each(|part| merged.merge(part));
            prop_assert_eq!(merged, whole);
        }
    }
}
