//! How many offers pass each rule, in the order of application.
//!
//! Revenue is summed as integers of a 65,536th of a currency unit, so that the sum is the same however
//! customers are divided between threads.

use super::RuleInfo;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
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
    pub offers_in: u64,
    pub offers_out: u64,
    pub removed: u64,
    /// Expected revenue of what was removed, currency units.
    pub revenue_removed: f64,
    /// Customers who lost an offer to the rule.
    pub customers: u64,
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
                offers_in,
                offers_out: left,
                removed: count.removed,
                revenue_removed: count.revenue as f64 / STEPS,
                customers: count.customers,
            }
        });
        rows.collect()
    }

    /// The rows as the published table `policy_funnel`.
    pub fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let rows = self.rows();
        let text = |of: fn(&FunnelRow) -> &str| {
            Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>()) as ArrayRef
        };
        let integer = |of: fn(&FunnelRow) -> u64| {
            let values = rows.iter().map(|row| i64::try_from(of(row)).unwrap_or(i64::MAX));
            Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
        };
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("position", Arc::new((1..=rows.len() as i64).map(Some).collect::<Int64Array>())),
            ("rule", text(|row| &row.rule)),
            ("stage", text(|row| &row.stage)),
            ("owner", text(|row| &row.owner)),
            ("offers_in", integer(|row| row.offers_in)),
            ("offers_out", integer(|row| row.offers_out)),
            ("removed", integer(|row| row.removed)),
            (
                "revenue_removed",
                Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.revenue_removed))),
            ),
            ("customers", integer(|row| row.customers)),
        ];
        let fields =
            columns.iter().map(|(name, values)| Field::new(*name, values.data_type().clone(), false));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        RecordBatch::try_new(schema, columns.into_iter().map(|(_, values)| values).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Stage};
    use super::*;
    use arrow::datatypes::DataType;
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
        let of = |row: &FunnelRow| {
            (row.offers_in, row.offers_out, row.removed, row.revenue_removed, row.customers)
        };
        assert_eq!(of(&rows[0]), (8, 5, 3, 2.25, 2));
        assert_eq!(of(&rows[1]), (5, 4, 1, 2.5, 1));
        let batch = funnel.batch().unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (2, 9));
        assert_eq!(batch.schema().field(7).data_type(), &DataType::Float64);
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
        assert_eq!((rows.len(), rows[0].rule.as_str(), rows[0].removed), (1, "now", 1));
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
