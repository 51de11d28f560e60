//! A policy file checked against one run: package codes become numbers, predicates are made ready, and
//! rules are put in the order in which they apply.

use super::builder::Builder;
use super::columns::{Columns, UsableColumn};
use super::contacts::ContactHistory;
use super::control::Groups;
use super::file::{GLOBAL, PolicyFile, Rule};
use super::formula::{Compiler, CustomerColumns, Formula, Test};
use super::lists::{Cap, Exclusions, PackageCodes};
use super::{PolicyError, Problem, RuleInfo, STANDS, Stage, predicate};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use chrono::NaiveDate;

/// The policies of one run, ready to be asked. Memory: a few bytes for each package and rule, and the
/// contact history.
#[derive(Debug, Default)]
pub struct Policies {
    pub(super) rules: Vec<RuleInfo>,
    /// Predicates by rule, for messages; empty where a rule has none.
    pub(super) predicates: Vec<String>,
    /// Since 1970.
    pub(super) offer_day: i64,
    /// The first rule over packages alone that refuses each package.
    pub(super) package_verdicts: Vec<u16>,
    pub(super) used: CustomerColumns,
    /// Rules over customers or pairs, in order.
    pub(super) tests: Vec<(u16, Test)>,
    pub(super) cooldowns: Vec<Cooldown>,
    pub(super) limits: Vec<ContactLimit>,
    pub(super) pins: Vec<PinRule>,
    pub(super) contacts: ContactHistory,
    pub(super) boosts: Vec<f64>,
    pub(super) exclusions: Exclusions,
    pub(super) caps: Vec<Cap>,
    pub(super) groups: Groups,
    columns: Vec<UsableColumn>,
}

/// `offer` is not made within `days` days after a contact with `after`.
#[derive(Debug)]
pub(super) struct Cooldown {
    pub(super) rule: u16,
    /// By package number.
    pub(super) offer: Vec<bool>,
    /// Package numbers, ascending.
    pub(super) after: Vec<u32>,
    pub(super) days: i64,
}

/// At most so many offers in so many days.
#[derive(Debug)]
pub(super) struct ContactLimit {
    pub(super) rule: u16,
    pub(super) max_offers: u32,
    pub(super) days: i64,
}

/// Packages for the top of the list of some customers.
#[derive(Debug)]
pub(super) struct PinRule {
    pub(super) rule: u16,
    pub(super) packages: Vec<u32>,
    /// None: everybody.
    pub(super) condition: Option<Formula>,
}

impl Policies {
    /// Checks a file against a run and makes it ready. `packages` is the published table of that name,
    /// row = package number; `customers` has the columns of `customer_features` and `segment`;
    /// `offer_day` is the day that offers are for, which the dates of rules are compared with.
    /// The error has every package that is not known and every predicate that cannot be used.
    pub fn compile(
        file: &PolicyFile,
        packages: &RecordBatch,
        customers: &Schema,
        offer_day: NaiveDate,
        contacts: ContactHistory,
    ) -> Result<Self, PolicyError> {
        let (policies, problems) = Self::attempt(file, packages, customers, offer_day, contacts)?;
        if problems.is_empty() {
            Ok(policies)
        } else {
            Err(PolicyError::Invalid { path: file.name.clone(), problems })
        }
    }

    /// Compiles what can be compiled, with the problems of the rest in the order of lines.
    fn attempt(
        file: &PolicyFile,
        packages: &RecordBatch,
        customers: &Schema,
        offer_day: NaiveDate,
        contacts: ContactHistory,
    ) -> Result<(Self, Vec<Problem>), PolicyError> {
        let codes = PackageCodes::of(packages)?;
        let columns = Columns::new(&packages.schema(), customers);
        let planner = predicate::planner();
        let policies = Self {
            offer_day: i64::from(offer_day.to_epoch_days()),
            package_verdicts: vec![STANDS; codes.len()],
            contacts,
            columns: columns.usable(),
            ..Self::default()
        };
        let compiler =
            Compiler { planner: &planner, columns: &columns, packages, used: CustomerColumns::default() };
        let mut builder = Builder::new(policies, &codes, compiler);
        let mut order: Vec<&Rule> = file.rules.iter().collect();
        order.sort_by_key(|rule| (rule.action.stage(), rule.action.kind(), rule.line));
        let first_campaign = order.partition_point(|rule| rule.action.stage() < Stage::Control);
        let (earlier, campaigns) = order.split_at(first_campaign);
        earlier.iter().for_each(|rule| builder.add(rule, offer_day));
        if let Some(control) = &file.control {
            builder.add_control(control);
        }
        campaigns.iter().for_each(|rule| builder.add(rule, offer_day));
        Ok(builder.finish())
    }

    /// Whether there is no rule at all, so that nobody needs to be asked.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Every rule in the order of application; its position is its number.
    pub fn rules(&self) -> &[RuleInfo] {
        &self.rules
    }

    /// The customer columns that [`Policies::judge`] and [`Policies::pins`] need.
    pub fn customer_columns(&self) -> Vec<&str> {
        self.used.columns.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Every column that predicates can use in this run.
    pub fn schema_columns(&self) -> &[UsableColumn] {
        &self.columns
    }

    /// What is added to the ln odds of a package: the sum of ln(factor) of the boosts in force.
    pub fn boost(&self, package: u32) -> f64 {
        self.boosts.get(package as usize).copied().unwrap_or(0.0)
    }

    /// The first rule that forbids both packages in one list.
    pub fn together(&self, a: u32, b: u32) -> Option<u16> {
        self.exclusions.of(a, b)
    }

    /// The caps in force, in the order of rules.
    pub fn caps(&self) -> &[Cap] {
        &self.caps
    }

    /// Whether a customer (by the text of the id) is in the global control group.
    pub fn control(&self, id: &[u8]) -> bool {
        self.groups.control(id)
    }

    /// Which control group keeps a package from a customer: `global`, or the name of a campaign in
    /// force.
    pub fn held_out(&self, id: &[u8], package: u32) -> Option<&str> {
        if self.control(id) { Some(GLOBAL) } else { self.groups.campaign(id, package) }
    }

    /// The number of the rule of that name.
    pub fn number(&self, name: &str) -> Option<u16> {
        let position = self.rules.iter().position(|rule| rule.name == name)?;
        u16::try_from(position).ok()
    }
}

/// Reads and compiles a file for a report, with the problems of both in one error, by line.
pub fn check(
    text: &str,
    name: &str,
    packages: &RecordBatch,
    customers: &Schema,
    offer_day: NaiveDate,
) -> Result<(PolicyFile, Policies), PolicyError> {
    let (file, mut problems) = PolicyFile::read(text, name);
    let (policies, more) = Policies::attempt(&file, packages, customers, offer_day, ContactHistory::empty())?;
    problems.extend(more);
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() {
        Ok((file, policies))
    } else {
        Err(PolicyError::Invalid { path: name.to_owned(), problems })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compiled, customer_schema, day, packages, problems, rule};
    use super::super::{Cap, ContactHistory, STANDS};
    use super::*;

    fn entry(section: &str, name: &str, packages: &[&str], rest: &str) -> String {
        format!("[[{section}]]\nname = \"{name}\"\nowner = \"o\"\npackages = {packages:?}\n{rest}\n")
    }

    #[test]
    fn rules_are_in_the_order_of_application() {
        let text = [
            entry("campaign", "campaign", &["SOC1-3"], "control_share = 0.1"),
            entry("cap", "cap", &["SOC1-3"], "max_customers = 5"),
            entry("never_together", "apart", &["SOC1-3", "GAM3-5"], ""),
            entry("boost", "boost", &["SOC1-3"], "factor = 2"),
            rule("contact", "contact", "true"),
            rule("suitable", "suitability", "true"),
            rule("applicable", "applicability", "true"),
            rule("eligible", "eligibility", "true"),
            entry("deny", "deny", &["GAM3-5"], ""),
            entry("allow", "allow", &["SOC1-3"], ""),
            "[control]\nshare = 0.1\nkey = \"k\"\n".to_owned(),
        ];
        let policies = compiled(&text.concat(), ContactHistory::empty());
        let names: Vec<&str> = policies.rules().iter().map(|rule| rule.name.as_str()).collect();
        let expected = [
            "allow",
            "deny",
            "eligible",
            "applicable",
            "suitable",
            "contact",
            "boost",
            "apart",
            "cap",
            "global",
            "campaign",
        ];
        assert_eq!(names, expected);
        assert_eq!(policies.number("apart"), Some(7));
        assert_eq!(policies.rules()[1].line, 41);
        assert_eq!(policies.rules()[2].note.as_deref(), Some("refuses none of the 6 packages"));
    }

    #[test]
    fn dates_decide_what_is_in_force_and_all_is_checked() {
        let with =
            |dates: &str| compiled(&entry("deny", "gone", &["SOC1-3"], dates), ContactHistory::empty());
        for (dates, in_force) in [
            ("", true),
            ("from = 2026-06-01", true),
            ("to = 2026-06-01", true),
            ("from = 2026-06-02", false),
            ("to = 2026-05-31", false),
        ] {
            let policies = with(dates);
            assert_eq!(policies.rules()[0].in_force, in_force, "{dates}");
            assert_eq!(policies.package_verdicts[2] == 0, in_force, "{dates}");
        }
        let later = rule("r", "suitability", "customer.segment > 0") + "from = 2027-01-01\n";
        assert!(compiled(&later, ContactHistory::empty()).customer_columns().is_empty());
        assert_eq!(
            problems(&(rule("r", "suitability", "customer.segmen > 0") + "from = 2027-01-01\n")).len(),
            1
        );
    }

    #[test]
    fn allow_lists_are_united_and_come_before_deny() {
        let text = [
            entry("deny", "deny", &["DAT30-1", "GAM3-5"], ""),
            entry("allow", "a", &["DAT30-1", "SOC1-3"], ""),
            entry("allow", "b", &["VID14-4"], ""),
            entry("allow", "later", &["ROA7-6"], "from = 2027-01-01"),
        ];
        let policies = compiled(&text.concat(), ContactHistory::empty());
        // a, b, later, deny.
        assert_eq!(policies.package_verdicts, [3, 0, STANDS, STANDS, 0, 0]);
    }

    #[test]
    fn boosts_multiply_caps_are_resolved_and_lists_exclude() {
        let text = [
            entry("boost", "a", &["SOC1-3", "GAM3-5"], "factor = 2"),
            entry("boost", "b", &["SOC1-3"], "factor = 0.25"),
            entry("boost", "later", &["SOC1-3"], "factor = 9\nfrom = 2027-01-01"),
            entry("cap", "c", &["GAM3-5", "SOC1-3"], "max_customers = 5\nbudget = 0.3\ncost = 0.1"),
            entry("never_together", "d", &["SOC1-3", "GAM3-5"], ""),
            entry("never_together", "e", &["GAM3-5", "ROA7-6", "SOC1-3"], ""),
        ];
        let policies = compiled(&text.concat(), ContactHistory::empty());
        assert!((policies.boost(2) - 0.5_f64.ln()).abs() < 1e-12);
        assert_eq!((policies.boost(4), policies.boost(0)), (2.0_f64.ln(), 0.0));
        let limits = policies.caps()[0].limits;
        assert_eq!(policies.caps(), [Cap { rule: 5, packages: vec![2, 4], limits }]);
        assert_eq!(limits.most(), Some(3));
        let apart = |a, b| policies.together(a, b);
        assert_eq!(
            (apart(2, 4), apart(4, 2), apart(4, 5), apart(5, 4)),
            (Some(3), Some(3), Some(4), Some(4))
        );
        assert_eq!((apart(2, 2), apart(2, 0), apart(0, 99)), (None, None, None));
    }

    #[test]
    fn held_out_customers_are_named_by_their_group() {
        let text = entry("campaign", "all", &["SOC1-3"], "control_share = 1")
            + &entry("campaign", "none", &["GAM3-5"], "control_share = 0")
            + &entry("campaign", "later", &["GAM3-5"], "control_share = 1\nfrom = 2027-01-01");
        let policies = compiled(&text, ContactHistory::empty());
        assert_eq!(policies.held_out(b"7", 2), Some("all"));
        assert_eq!((policies.held_out(b"7", 4), policies.held_out(b"7", 0)), (None, None));
        assert!(!policies.control(b"7"));
        let policies = compiled(&(text + "[control]\nshare = 1.0\nkey = \"k\"\n"), ContactHistory::empty());
        assert_eq!((policies.held_out(b"7", 2), policies.control(b"7")), (Some("global"), true));
    }

    #[test]
    fn problems_of_file_and_run_are_in_one_list_by_line() {
        let text = rule("a", "suitability", "customer.x = 1") + &rule("b", "nowhere", "true");
        let told = problems(&text);
        assert!(told[0].starts_with("line 5, ") && told[1].starts_with("line 8, "), "{told:?}");
        let file = PolicyFile::parse(&rule("a", "suitability", "customer.x = 1"), "p.toml").unwrap();
        let error = Policies::compile(&file, &packages(), &customer_schema(), day(), ContactHistory::empty());
        let text = error.unwrap_err().to_string();
        assert!(
            text.starts_with("the policy file p.toml has 1 problem:\n  line 5, [[rule]] \"a\", keep"),
            "{text}"
        );
    }
}
