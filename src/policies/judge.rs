//! The hot path: which rule refuses each pair of a customer and a package, and how many offers a
//! customer may still get.

use super::PolicyError;
use super::compile::Policies;
use super::contacts::customer_hash;
use super::formula::{Formula, Input, Test, kept};
use super::pairs::{Gathered, Pairs};
use crate::engine::part::id_text;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::cast;
use datafusion::error::DataFusionError;

/// No rule refuses.
pub const STANDS: u16 = u16::MAX;

impl Policies {
    /// The first rule that refuses each pair, [`STANDS`] if none does, into `verdicts`. It has the rules
    /// of all stages up to contact, but for the number of offers, which is [`Policies::allowance`].
    ///
    /// `customers`: the columns that [`Policies::customer_columns`] names, one row a customer of the
    /// group; `ids`: their ids, Int64 or text. Memory: the columns that mixed rules use, once a pair.
    /// An error if a predicate fails on the data, or if lengths or numbers do not fit.
    pub fn judge(
        &self,
        customers: &RecordBatch,
        ids: &dyn Array,
        pairs: &Pairs,
        verdicts: &mut Vec<u16>,
    ) -> Result<(), PolicyError> {
        pairs.check(ids.len(), self.package_verdicts.len())?;
        verdicts.clear();
        verdicts.extend(pairs.packages.iter().map(|package| self.package_verdicts[*package as usize]));
        if !self.tests.is_empty() {
            let columns = self.columns_of(customers, ids.len())?;
            self.by_customer(&columns, ids.len(), pairs, verdicts)?;
            self.by_pair(&columns, ids.len(), pairs, verdicts)?;
        }
        if !self.cooldowns.is_empty() && !self.contacts.is_empty() {
            self.by_contacts(ids, pairs, verdicts);
        }
        Ok(())
    }

    /// How many offers a customer may still get, and the rule that allows fewest (the first of equals);
    /// None without such rules. A window of `days` days ends with the day that offers are for.
    pub fn allowance(&self, ids: &dyn Array, row: usize) -> Option<(u32, u16)> {
        let mut least: Option<(u32, u16)> = None;
        if self.limits.is_empty() {
            return least;
        }
        let customer = if self.contacts.is_empty() { 0 } else { customer_hash(&id_text(ids, row)) };
        for limit in &self.limits {
            let contacts = self.contacts.of(customer);
            let counted =
                contacts.filter(|(day, _)| (0..limit.days).contains(&(self.offer_day - i64::from(*day))));
            let left = limit.max_offers.saturating_sub(u32::try_from(counted.count()).unwrap_or(u32::MAX));
            if least.is_none_or(|(fewest, _)| left < fewest) {
                least = Some((left, limit.rule));
            }
        }
        least
    }

    /// The customer columns in the order of `used`, in the types that formulas were made for.
    pub(super) fn columns_of(
        &self,
        customers: &RecordBatch,
        count: usize,
    ) -> Result<Vec<ArrayRef>, PolicyError> {
        let mut columns = Vec::with_capacity(self.used.columns.len());
        for (name, data_type) in &self.used.columns {
            let column = customers
                .column_by_name(name)
                .ok_or_else(|| PolicyError::MissingColumn { table: "customers", column: name.clone() })?;
            if column.len() != count {
                return Err(PolicyError::Length { what: "customers", found: column.len(), wanted: count });
            }
            let same = column.data_type() == data_type;
            columns.push(if same { column.clone() } else { cast(column, data_type)? });
        }
        Ok(columns)
    }

    fn by_customer(
        &self,
        columns: &[ArrayRef],
        count: usize,
        pairs: &Pairs,
        verdicts: &mut [u16],
    ) -> Result<(), PolicyError> {
        let mut refused: Vec<u16> = Vec::new();
        for (rule, test) in &self.tests {
            let Test::Customers(formula) = test else { continue };
            let answers =
                once_a_customer(formula, columns, count).map_err(|source| self.failed(*rule, source))?;
            let answers = kept(&answers).map_err(|source| self.failed(*rule, source))?;
            refused.resize(count, STANDS);
            for (customer, verdict) in refused.iter_mut().enumerate() {
                if *verdict == STANDS && !stands(answers, customer) {
                    *verdict = *rule;
                }
            }
        }
        if !refused.is_empty() {
            for (verdict, customer) in verdicts.iter_mut().zip(pairs.customers) {
                *verdict = (*verdict).min(refused[*customer as usize]);
            }
        }
        Ok(())
    }

    fn by_pair(
        &self,
        columns: &[ArrayRef],
        count: usize,
        pairs: &Pairs,
        verdicts: &mut [u16],
    ) -> Result<(), PolicyError> {
        let gathered = Gathered::new(pairs);
        for (rule, test) in &self.tests {
            let Test::Pairs { terms, formula } = test else { continue };
            let answers = terms
                .iter()
                .map(|term| once_a_customer(term, columns, count))
                .collect::<Result<Vec<_>, _>>()
                .and_then(|terms| {
                    let arrays = formula.inputs.iter().map(|input| gathered.values(input, columns, &terms));
                    formula.evaluate(arrays.collect::<Result<_, _>>()?, pairs.len())
                })
                .map_err(|source| self.failed(*rule, source))?;
            let answers = kept(&answers).map_err(|source| self.failed(*rule, source))?;
            for (at, verdict) in verdicts.iter_mut().enumerate() {
                if *verdict > *rule && !stands(answers, at) {
                    *verdict = *rule;
                }
            }
        }
        Ok(())
    }

    fn by_contacts(&self, ids: &dyn Array, pairs: &Pairs, verdicts: &mut [u16]) {
        // Few customers have a contact that matters; the others cost one look at an empty range.
        let mut active: Vec<u32> = Vec::new();
        let mut offsets = vec![0];
        for row in 0..ids.len() {
            let contacts = self.contacts.of(customer_hash(&id_text(ids, row)));
            if contacts.len() > 0 {
                let contacts: Vec<(i32, u32)> = contacts.collect();
                active.extend((0..).zip(&self.cooldowns).filter_map(|(number, cooldown)| {
                    let matters = contacts.iter().any(|(day, package)| {
                        let ago = self.offer_day - i64::from(*day);
                        (0..=cooldown.days).contains(&ago) && cooldown.after.binary_search(package).is_ok()
                    });
                    matters.then_some(number)
                }));
            }
            offsets.push(active.len());
        }
        if active.is_empty() {
            return;
        }
        for ((verdict, customer), package) in verdicts.iter_mut().zip(pairs.customers).zip(pairs.packages) {
            let customer = *customer as usize;
            for number in &active[offsets[customer]..offsets[customer + 1]] {
                let cooldown = &self.cooldowns[*number as usize];
                if cooldown.offer[*package as usize] {
                    *verdict = (*verdict).min(cooldown.rule);
                }
            }
        }
    }

    pub(super) fn failed(&self, rule: u16, source: DataFusionError) -> PolicyError {
        let (name, line) = self
            .rules
            .get(rule as usize)
            .map_or_else(Default::default, |rule| (rule.name.clone(), rule.line));
        let predicate = self.predicates.get(rule as usize).cloned().unwrap_or_default();
        PolicyError::Evaluation { rule: name, line, predicate, source: Box::new(source) }
    }
}

pub(super) fn once_a_customer(
    formula: &Formula,
    columns: &[ArrayRef],
    count: usize,
) -> Result<ArrayRef, DataFusionError> {
    let arrays = formula.inputs.iter().filter_map(|input| match input {
        Input::Customer(number) => columns.get(*number).cloned(),
        _ => None,
    });
    formula.evaluate(arrays.collect(), count)
}

/// Null counts as false.
pub(super) fn stands(answers: &BooleanArray, at: usize) -> bool {
    answers.is_valid(at) && answers.value(at)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compiled, customers, rule};
    use super::*;
    use crate::policies::ContactHistory;
    use arrow::array::{Int64Array, StringArray};
    use proptest::prelude::*;

    const COOLDOWN: &str = "[contact_history]\npath = \"x\"\n\
        columns = { customer = \"a\", package = \"b\", time = \"c\" }\n\
        [[cooldown]]\nname = \"rest\"\nowner = \"o\"\noffer = [\"SOC1-3\"]\n\
        after = [\"VID14-4\", \"GAM3-5\"]\ndays = 14\n";
    const RULES: [(&str, &str, &str); 5] = [
        ("a", "eligibility", "package.price < 15 OR package.price IS NULL"),
        (
            "b",
            "applicability",
            "customer.segment <> 3 AND (customer.mean_gap_days < 8 OR customer.mean_gap_days IS NULL)",
        ),
        ("c", "suitability", "package.service_type <> 'SOCIAL' OR customer.weekend_share > 0.3"),
        ("d", "suitability", "offer.price / customer.segment < 9 OR offer.is_new"),
        ("e", "contact", "CASE WHEN offer.times > 1 THEN customer.mean_gap_days > 4 ELSE offer.rank < 6 END"),
    ];
    const LIMITS: &str = "[[contact]]\nname = \"week\"\nowner = \"o\"\nmax_offers = 3\ndays = 7\n\
        [[contact]]\nname = \"month\"\nowner = \"o\"\nmax_offers = 4\ndays = 30\n";

    /// 2026-06-01, the day of the tests.
    fn today() -> i32 {
        super::super::tests::day().to_epoch_days()
    }

    /// A pair of row, package and purchases; the rest follows from them.
    fn judge(
        policies: &Policies,
        customers: &RecordBatch,
        ids: &dyn Array,
        pairs: &[(u32, u32, i64)],
    ) -> Vec<u16> {
        let column = |of: fn(&(u32, u32, i64)) -> f64| pairs.iter().map(of).collect::<Vec<f64>>();
        let price = column(|pair| if pair.1 == 5 { f64::NAN } else { f64::from(pair.1) * 4.0 });
        let mut verdicts = vec![7; 3];
        let scored = Pairs {
            customers: &pairs.iter().map(|pair| pair.0).collect::<Vec<_>>(),
            packages: &pairs.iter().map(|pair| pair.1).collect::<Vec<_>>(),
            probability: &column(|pair| 1.0 / (1.0 + f64::from(pair.1))),
            price: &price,
            times: &pairs.iter().map(|pair| pair.2).collect::<Vec<_>>(),
            days_since_last: &pairs.iter().map(|pair| pair.2 * 10 - 1).collect::<Vec<_>>(),
            rank: &pairs.iter().map(|pair| i64::from(pair.1) + 1).collect::<Vec<_>>(),
        };
        policies.judge(customers, ids, &scored, &mut verdicts).unwrap();
        verdicts
    }

    fn numbered(count: usize) -> Int64Array {
        Int64Array::from_iter_values(1..=count as i64)
    }

    #[test]
    fn the_first_rule_that_refuses_is_named_whatever_it_depends_on() {
        let text = rule("pair", "eligibility", "offer.price < 12")
            + &rule("customer", "applicability", "customer.segment = 1")
            + &rule("package", "suitability", "package.price < 10")
            + &rule(
                "mixed",
                "suitability",
                "package.service_type = 'SOCIAL' OR customer.weekend_share > 0.5",
            );
        let policies = compiled(&text, ContactHistory::empty());
        let group = customers(&[(1, 0.0, None), (2, 0.9, None), (1, 0.9, None)]);
        let all: Vec<(u32, u32, i64)> = (0..3).flat_map(|c| (0..6).map(move |p| (c, p, 0))).collect();
        let verdicts = judge(&policies, &group, &numbered(3), &all);
        // Prices of offers: 0, 4, 8, 12, 16, unknown.
        assert_eq!(verdicts[..6], [2, 2, STANDS, 0, 0, 0]);
        assert_eq!(verdicts[6..12], [1, 1, 1, 0, 0, 0]);
        assert_eq!(verdicts[12..], [2, 2, STANDS, 0, 0, 0]);
        assert_eq!(policies.customer_columns(), ["segment", "weekend_share"]);
        assert!(policies.refuses_pin(0) && policies.refuses_pin(1));
        assert!(!policies.refuses_pin(2) && !policies.refuses_pin(STANDS));
    }

    #[test]
    fn null_counts_as_false_in_every_kind_of_rule() {
        let group = customers(&[(1, 0.0, None), (1, 0.0, Some(2.0))]);
        let verdicts = |keep: &str, pairs: &[(u32, u32, i64)]| {
            judge(
                &compiled(&rule("r", "contact", keep), ContactHistory::empty()),
                &group,
                &numbered(2),
                pairs,
            )
        };
        assert_eq!(verdicts("customer.mean_gap_days < 5", &[(0, 0, 0), (1, 0, 0)]), [0, STANDS]);
        assert_eq!(verdicts("NOT customer.mean_gap_days < 5", &[(0, 0, 0), (1, 0, 0)]), [0, 0]);
        assert_eq!(verdicts("offer.price > 1", &[(0, 1, 0), (0, 5, 0)]), [STANDS, 0]);
        assert_eq!(verdicts("offer.expected_revenue IS NULL", &[(0, 1, 0), (0, 5, 0)]), [0, STANDS]);
        assert_eq!(
            verdicts("offer.days_since_last IS NULL AND offer.is_new", &[(0, 1, 0), (0, 1, 2)]),
            [STANDS, 0]
        );
        assert_eq!(
            verdicts("offer.days_since_last = 19 AND offer.times = 2 AND offer.rank = 2", &[(0, 1, 2)]),
            [STANDS]
        );
        assert_eq!(
            verdicts("package.price > customer.mean_gap_days", &[(0, 0, 0), (1, 0, 0), (1, 5, 0)]),
            [0, STANDS, 0]
        );
        assert_eq!(
            verdicts(
                "customer.mean_gap_days IS NULL OR package.price IS NULL",
                &[(0, 0, 0), (1, 0, 0), (1, 5, 0)]
            ),
            [STANDS, 0, STANDS]
        );
    }

    #[test]
    fn a_cooldown_lasts_its_days_and_knows_ids_as_integers_or_text() {
        let history = ContactHistory::from_rows(&[
            ("1", 3, today() - 14),
            ("2", 3, today() - 15),
            ("3", 0, today() - 1),
            ("4", 4, today()),
        ]);
        let policies = compiled(COOLDOWN, history);
        let pairs = [(0, 2, 0), (0, 1, 0), (1, 2, 0), (2, 2, 0), (3, 2, 0)];
        let expected = [0, STANDS, STANDS, STANDS, 0];
        let none = RecordBatch::new_empty(std::sync::Arc::new(arrow::datatypes::Schema::empty()));
        assert_eq!(judge(&policies, &none, &numbered(4), &pairs), expected);
        assert_eq!(judge(&policies, &none, &StringArray::from(vec!["1", "2", "3", "4"]), &pairs), expected);
    }

    #[test]
    fn the_tightest_limit_of_contacts_counts() {
        let history = ContactHistory::from_rows(&[
            ("1", 0, today() - 6),
            ("1", 1, today() - 7),
            ("1", 1, today() - 8),
            ("1", u32::MAX, today() - 29),
            ("2", 0, today() + 1),
            ("3", 0, today()),
            ("3", 0, today()),
            ("3", 0, today() - 1),
            ("3", 0, today() - 1),
        ]);
        let policies = compiled(&format!("{COOLDOWN}{LIMITS}"), history);
        let ids = numbered(4);
        // Number 0 is the cooldown.
        let left: Vec<_> = (0..4).map(|row| policies.allowance(&ids, row)).collect();
        assert_eq!(left, [Some((0, 2)), Some((3, 1)), Some((0, 1)), Some((3, 1))]);
        assert_eq!(compiled(COOLDOWN, ContactHistory::empty()).allowance(&ids, 0), None);
    }

    #[test]
    fn numbers_and_lengths_that_do_not_fit_are_errors() {
        let policies = compiled(&rule("r", "contact", "customer.segment = 1"), ContactHistory::empty());
        let group = customers(&[(1, 0.0, None)]);
        let pairs = |customers: &'static [u32], packages: &'static [u32], rank: &'static [i64]| Pairs {
            customers,
            packages,
            probability: &[0.5],
            price: &[1.0],
            times: &[0],
            days_since_last: &[0],
            rank,
        };
        let told = |pairs: &Pairs, group: &RecordBatch, count: usize| {
            policies.judge(group, &numbered(count), pairs, &mut Vec::new()).unwrap_err().to_string()
        };
        assert_eq!(
            told(&pairs(&[1], &[0], &[1]), &group, 1),
            "a pair names customer 1, but there are only 1"
        );
        assert_eq!(told(&pairs(&[0], &[6], &[1]), &group, 1), "a pair names package 6, but there are only 6");
        assert_eq!(told(&pairs(&[0], &[0], &[]), &group, 1), "rank has 0 entries, 1 were expected");
        assert_eq!(told(&pairs(&[0], &[0], &[1]), &group, 2), "customers has 1 entries, 2 were expected");
        let other = group.project(&[0]).unwrap();
        assert!(told(&pairs(&[0], &[0], &[1]), &other, 1).contains("no column `segment`"));
    }

    /// `RULES` and the cooldown by hand.
    fn expected(customer: (i64, f64, Option<f64>), row: u32, package: u32, times: i64) -> u16 {
        let (segment, weekend, gap) = customer;
        let cheap = package != 5 && segment != 0 && f64::from(package) * 4.0 / (segment as f64) < 9.0;
        let stands = [
            package != 1,
            segment != 3 && gap.is_none_or(|gap| gap < 8.0),
            // The service type of the last package is null.
            (package != 2 && package != 5) || weekend > 0.3,
            cheap || times == 0,
            if times > 1 { gap.is_some_and(|gap| gap > 4.0) } else { package < 5 },
            row != 0 || package != 2,
        ];
        stands.iter().position(|stands| !stands).map_or(STANDS, |rule| rule as u16)
    }

    proptest! {
        #[test]
        fn a_batch_is_judged_as_its_pairs_one_by_one(
            group in prop::collection::vec((0_i64..4, 0.0..1.0_f64, prop::option::of(0.0..9.0_f64)), 1..6),
            pairs in prop::collection::vec((0_u32..6, 0_u32..6, 0_i64..3), 0..40),
        ) {
            let rules: String = RULES.iter().map(|(name, stage, keep)| rule(name, stage, keep)).collect();
            let history = ContactHistory::from_rows(&[("1", 3, today() - 3), ("2", 4, today() - 30)]);
            let policies = compiled(&(rules + COOLDOWN), history);
            let batch = customers(&group);
            let pairs: Vec<_> =
                pairs.into_iter().map(|(c, p, times)| (c % group.len() as u32, p, times)).collect();
            let ids = numbered(group.len());
            let together = judge(&policies, &batch, &ids, &pairs);
            for (verdict, (customer, package, times)) in together.iter().zip(&pairs) {
                let (row, id) = (batch.slice(*customer as usize, 1), ids.slice(*customer as usize, 1));
                prop_assert_eq!(judge(&policies, &row, &id, &[(0, *package, *times)]), vec![*verdict]);
                prop_assert_eq!(expected(group[*customer as usize], *customer, *package, *times), *verdict);
            }
        }
    }
}
