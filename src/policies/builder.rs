//! Turns the rules of a file, one by one, into what the hot path asks.

use super::compile::{ContactLimit, Cooldown, PinRule, Policies};
use super::control::Groups;
use super::entry::Located;
use super::file::{Action, Codes, Control, GLOBAL, Rule};
use super::formula::{Compiler, Test};
use super::lists::{self, Cap, Exclusions, PackageCodes};
use super::{Kind, Problem, RuleInfo, STANDS, Stage, predicate};
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;

/// What has been compiled so far.
pub(super) struct Builder<'a> {
    codes: &'a PackageCodes,
    compiler: Compiler<'a>,
    problems: Vec<Problem>,
    /// Rules in force with their package numbers.
    allows: Vec<(u16, Vec<u32>)>,
    boosts: Vec<(Vec<u32>, f64)>,
    groups: Vec<(u16, Vec<u32>)>,
    campaigns: Vec<(String, f64, Vec<u32>)>,
    global: Option<Control>,
    policies: Policies,
}

impl<'a> Builder<'a> {
    pub(super) fn new(policies: Policies, codes: &'a PackageCodes, compiler: Compiler<'a>) -> Self {
        Self {
            codes,
            compiler,
            problems: Vec::new(),
            allows: Vec::new(),
            boosts: Vec::new(),
            groups: Vec::new(),
            campaigns: Vec::new(),
            global: None,
            policies,
        }
    }

    /// The global control group, as a rule of its own.
    pub(super) fn add_control(&mut self, control: &Control) {
        self.policies.predicates.push(String::new());
        self.policies.rules.push(RuleInfo {
            name: GLOBAL.to_owned(),
            kind: Kind::Control,
            stage: Stage::Control,
            owner: String::new(),
            line: control.line,
            in_force: true,
            note: None,
        });
        self.global = Some(control.clone());
    }

    /// A rule; rules are added in the order of application, allow-lists first of all.
    pub(super) fn add(&mut self, rule: &Rule, offer_day: NaiveDate) {
        let number = self.policies.rules.len() as u16;
        let in_force = rule.in_force(offer_day);
        let columns = self.compiler.used.columns.len();
        let (note, predicate) = self.action(rule, number, in_force);
        if !in_force {
            // Nobody needs to read what only a rule out of force would ask.
            self.compiler.used.columns.truncate(columns);
        }
        self.policies.predicates.push(predicate);
        self.policies.rules.push(RuleInfo {
            name: rule.name.clone(),
            kind: rule.action.kind(),
            stage: rule.action.stage(),
            owner: rule.owner.clone(),
            line: rule.line,
            in_force,
            note,
        });
    }

    /// A rule that is not in force is checked all the same. Returns its note and its predicate.
    fn action(&mut self, rule: &Rule, number: u16, in_force: bool) -> (Option<String>, String) {
        let mut predicate = String::new();
        let mut note = None;
        match &rule.action {
            Action::Keep { keep, .. } => {
                predicate = keep.value.clone();
                let test = self.predicate(rule, "keep", keep, Compiler::test);
                note = test.as_ref().and_then(says_little);
                match test.filter(|_| in_force) {
                    Some(Test::Packages(stands)) => self.refuse(number, |package| !stands[package]),
                    Some(test) => self.policies.tests.push((number, test)),
                    None => {}
                }
            }
            Action::Deny { packages } => {
                let packages = self.numbers(rule, "packages", packages);
                if in_force {
                    self.refuse(number, |package| packages.binary_search(&(package as u32)).is_ok());
                }
            }
            Action::Allow { packages } => {
                let packages = self.numbers(rule, "packages", packages);
                self.allows.extend(in_force.then_some((number, packages)));
            }
            Action::Boost { packages, factor } => {
                let packages = self.numbers(rule, "packages", packages);
                self.boosts.extend(in_force.then_some((packages, *factor)));
            }
            Action::Pin { packages, condition } => {
                // In the order of the file, which is the order of the list.
                let packages = lists::numbers(rule, "packages", packages, self.codes, &mut self.problems);
                let written = condition.as_ref();
                predicate = written.map(|condition| condition.value.clone()).unwrap_or_default();
                let compiled = written.map(|w| self.predicate(rule, "where", w, Compiler::over_customers));
                if in_force && let Some(condition) = compiled.map_or(Some(None), |formula| formula.map(Some))
                {
                    self.policies.pins.push(PinRule { rule: number, packages, condition });
                }
            }
            Action::Contact { max_offers, days } => {
                let limit = ContactLimit { rule: number, max_offers: *max_offers, days: i64::from(*days) };
                self.policies.limits.extend(in_force.then_some(limit));
            }
            Action::Cooldown { offer, after, days } => {
                let mut mask = vec![false; self.codes.len()];
                for package in self.numbers(rule, "offer", offer) {
                    mask[package as usize] = true;
                }
                let after = self.numbers(rule, "after", after);
                let cooldown = Cooldown { rule: number, offer: mask, after, days: i64::from(*days) };
                self.policies.cooldowns.extend(in_force.then_some(cooldown));
            }
            Action::NeverTogether { packages } => {
                let packages = self.numbers(rule, "packages", packages);
                self.groups.extend(in_force.then_some((number, packages)));
            }
            Action::Cap { packages, limits } => {
                let packages = self.numbers(rule, "packages", packages);
                let cap = Cap { rule: number, packages, limits: *limits };
                self.policies.caps.extend(in_force.then_some(cap));
            }
            Action::Campaign { packages, control_share } => {
                let packages = self.numbers(rule, "packages", packages);
                self.campaigns.extend(in_force.then_some((rule.name.clone(), *control_share, packages)));
            }
        }
        (note, predicate)
    }

    fn numbers(&mut self, rule: &Rule, key: &str, list: &Codes) -> Vec<u32> {
        let mut numbers = lists::numbers(rule, key, list, self.codes, &mut self.problems);
        numbers.sort_unstable();
        numbers
    }

    fn predicate<T>(
        &mut self,
        rule: &Rule,
        key: &str,
        written: &Located<String>,
        compile: impl FnOnce(&mut Compiler<'a>, Expr) -> Result<T, DataFusionError>,
    ) -> Option<T> {
        let compiler = &mut self.compiler;
        let resolved = predicate::resolve(&written.value, compiler.columns, compiler.planner);
        let compiled = resolved.and_then(|expression| {
            compile(compiler, expression).map_err(|error| vec![predicate::words(&error)])
        });
        match compiled {
            Ok(compiled) => Some(compiled),
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(|wanted| Problem {
                    line: written.line,
                    rule: rule.label(),
                    key: key.to_owned(),
                    value: predicate::quoted(&written.value),
                    wanted,
                }));
                None
            }
        }
    }

    fn refuse(&mut self, rule: u16, refuses: impl Fn(usize) -> bool) {
        for (package, verdict) in self.policies.package_verdicts.iter_mut().enumerate() {
            // The first rule that refuses a package keeps it. Allow-lists are added up at the end.
            if *verdict == STANDS && refuses(package) {
                *verdict = rule;
            }
        }
    }

    /// The policies, and the problems in the order of lines.
    pub(super) fn finish(self) -> (Policies, Vec<Problem>) {
        let Self { codes, compiler, mut problems, allows, boosts, groups, campaigns, global, mut policies } =
            self;
        if let Some((first, _)) = allows.first() {
            for (package, verdict) in (0..).zip(&mut policies.package_verdicts) {
                if !allows.iter().any(|(_, allowed)| allowed.binary_search(&package).is_ok()) {
                    *verdict = *first;
                }
            }
        }
        policies.used = compiler.used;
        policies.boosts =
            lists::boosts(codes.len(), boosts.iter().map(|(packages, factor)| (&packages[..], *factor)));
        policies.exclusions = Exclusions::new(codes.len(), &groups);
        let global = global.as_ref().map(|control| (control.share, control.key.as_str()));
        policies.groups = Groups::new(codes.len(), global, &campaigns);
        problems.sort_by_key(|problem| problem.line);
        (policies, problems)
    }
}

/// A rule over packages that refuses all or none of them may hold a slip of the pen.
fn says_little(test: &Test) -> Option<String> {
    let Test::Packages(stands) = test else { return None };
    match stands.iter().filter(|stands| !**stands).count() {
        0 => Some(format!("refuses none of the {} packages", stands.len())),
        refused if refused == stands.len() => Some(format!("refuses all of the {refused} packages")),
        _ => None,
    }
}
