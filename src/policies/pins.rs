//! Packages that go to the top of the list of some customers.

use super::compile::Policies;
use super::formula::kept;
use super::judge::{once_a_customer, stands};
use super::{PolicyError, Stage};
use arrow::array::{BooleanArray, RecordBatch};

/// A package for the top of a customer's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    pub package: u32,
    pub rule: u16,
}

/// The pins of a group of customers.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    pins: Vec<Pin>,
    /// Where each customer's start, and the end of the last; empty if nothing is pinned for anybody.
    offsets: Vec<usize>,
}

impl Pins {
    /// A customer's pins in the order of the file, no package twice.
    pub fn of(&self, customer: usize) -> &[Pin] {
        match (self.offsets.get(customer), self.offsets.get(customer + 1)) {
            (Some(start), Some(end)) => &self.pins[*start..*end],
            _ => &[],
        }
    }
}

impl Policies {
    /// Whether a verdict also keeps a pinned package from the list: pins go above suitability and
    /// contact rules, but not above eligibility and applicability.
    pub fn refuses_pin(&self, verdict: u16) -> bool {
        self.rules.get(verdict as usize).is_some_and(|rule| rule.stage <= Stage::Applicability)
    }

    /// What is pinned for each customer of a group; `customers` as in [`Policies::judge`], with `count`
    /// rows.
    pub fn pins(&self, customers: &RecordBatch, count: usize) -> Result<Pins, PolicyError> {
        if self.pins.is_empty() {
            return Ok(Pins::default());
        }
        let columns = self.columns_of(customers, count)?;
        let mut applies: Vec<Option<BooleanArray>> = Vec::with_capacity(self.pins.len());
        for pin in &self.pins {
            let answer = pin.condition.as_ref().map(|condition| {
                let answers = once_a_customer(condition, &columns, count)?;
                kept(&answers).cloned()
            });
            applies.push(answer.transpose().map_err(|source| self.failed(pin.rule, source))?);
        }
        let mut pins = Pins { pins: Vec::new(), offsets: vec![0] };
        for customer in 0..count {
            let start = pins.pins.len();
            for (pin, applies) in self.pins.iter().zip(&applies) {
                if !applies.as_ref().is_none_or(|answers| stands(answers, customer)) {
                    continue;
                }
                for package in &pin.packages {
                    if !pins.pins[start..].iter().any(|other| other.package == *package) {
                        pins.pins.push(Pin { package: *package, rule: pin.rule });
                    }
                }
            }
            pins.offsets.push(pins.pins.len());
        }
        Ok(pins)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ContactHistory;
    use super::super::tests::{compiled, customers};

    fn pin(name: &str, packages: &[&str], rest: &str) -> String {
        format!("[[pin]]\nname = \"{name}\"\nowner = \"o\"\npackages = {packages:?}\n{rest}\n")
    }

    #[test]
    fn pins_keep_the_order_of_the_file_and_their_conditions() {
        let text = pin("few", &["ROA7-6", "SOC1-3"], "where = \"customer.mean_gap_days > 1\"")
            + &pin("later", &["DAT30-1"], "from = 2027-01-01")
            + &pin("all", &["SOC1-3", "DAT30-2"], "")
            + &pin("nobody", &["GAM3-5"], "where = \"false\"");
        let policies = compiled(&text, ContactHistory::empty());
        let group = customers(&[(1, 0.0, Some(2.0)), (1, 0.0, None)]);
        let pins = policies.pins(&group, 2).unwrap();
        let of = |customer| pins.of(customer).iter().map(|pin| (pin.package, pin.rule)).collect::<Vec<_>>();
        assert_eq!(of(0), [(5, 0), (2, 0), (1, 2)]);
        assert_eq!(of(1), [(2, 2), (1, 2)]);
        assert_eq!(pins.of(2), []);
    }

    #[test]
    fn without_pins_nobody_has_any() {
        let policies = compiled("", ContactHistory::empty());
        assert!(policies.pins(&customers(&[(1, 0.0, None)]), 1).unwrap().of(0).is_empty());
    }
}
