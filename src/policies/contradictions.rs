//! Entries of one file that cannot hold together.

use super::entry::Report;
use super::file::{Action, Codes, GLOBAL, Rule};
use super::read::Named;
use chrono::NaiveDate;
use std::collections::BTreeMap;

/// Every entry needs a name of its own: reports know rules by it.
pub(super) fn names(mut names: Vec<Named>, report: &mut Report) {
    names.sort_by_key(|named| named.line);
    let mut first: BTreeMap<&str, &Named> = BTreeMap::new();
    for named in &names {
        if named.name == GLOBAL {
            let wanted = "is what the control group of [control] is called; take another name";
            report.problem(named.line, &named.label, "name", format!("\"{GLOBAL}\""), wanted);
        }
        match first.get(named.name.as_str()) {
            Some(other) => {
                let wanted =
                    format!("is the name of {} (line {}) as well; take another", other.label, other.line);
                report.problem(named.line, &named.label, "name", format!("\"{}\"", named.name), wanted);
            }
            None => {
                first.insert(&named.name, named);
            }
        }
    }
}

/// A pinned package that another entry keeps from being offered on some day that both are in force.
pub(super) fn pins(rules: &[Rule], report: &mut Report) {
    let allows: Vec<(&Rule, &Codes)> = rules
        .iter()
        .filter_map(|rule| match &rule.action {
            Action::Allow { packages } => Some((rule, packages)),
            _ => None,
        })
        .collect();
    for pin in rules {
        let Action::Pin { packages, .. } = &pin.action else { continue };
        for package in packages {
            let shown = format!("\"{}\"", package.value);
            for rule in rules.iter().filter(|rule| overlap(pin, rule)) {
                if let Action::Deny { packages } = &rule.action
                    && has(packages, &package.value)
                {
                    let wanted = format!(
                        "is denied by {} (line {}) on the same days; take it out of one of the two, \
                         or give them dates that do not meet",
                        rule.label(),
                        rule.line
                    );
                    report.problem(package.line, &pin.label(), "packages", shown.clone(), wanted);
                }
            }
            if let Some((day, rule)) = left_out(pin, &package.value, &allows) {
                let when = if day == NaiveDate::MIN { String::new() } else { format!(" on {day}") };
                let wanted = format!(
                    "is not among the packages that {} (line {}) allows{when}; \
                     add it there, or take it out here",
                    rule.label(),
                    rule.line
                );
                report.problem(package.line, &pin.label(), "packages", shown, wanted);
            }
        }
    }
}

fn has(packages: &Codes, code: &str) -> bool {
    packages.iter().any(|package| package.value == code)
}

fn overlap(a: &Rule, b: &Rule) -> bool {
    let before = |end: Option<NaiveDate>, start: Option<NaiveDate>| {
        end.zip(start).is_some_and(|(end, start)| end < start)
    };
    !before(a.to, b.from) && !before(b.to, a.from)
}

/// The first day on which a pin is in force and allow-lists are, but none of them has the package; with
/// the first such list.
fn left_out<'a>(pin: &Rule, code: &str, allows: &[(&'a Rule, &Codes)]) -> Option<(NaiveDate, &'a Rule)> {
    let first = pin.from.unwrap_or(NaiveDate::MIN);
    // Which lists are in force changes only where one starts and on the day after one ends.
    let mut days: Vec<NaiveDate> = allows
        .iter()
        .flat_map(|(rule, _)| [rule.from, rule.to.and_then(|to| to.succ_opt())])
        .flatten()
        .filter(|day| *day > first && pin.in_force(*day))
        .chain([first])
        .collect();
    days.sort_unstable();
    days.into_iter().find_map(|day| {
        let mut in_force = allows.iter().filter(|(rule, _)| rule.in_force(day)).peekable();
        let rule = in_force.peek()?.0;
        (!in_force.any(|(_, packages)| has(packages, code))).then_some((day, rule))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::problems;

    fn entry(section: &str, name: &str, dates: &str) -> String {
        let code = if name == "other" { "SOC1-3" } else { "DAT30-1" };
        format!("[[{section}]]\nname = \"{name}\"\nowner = \"o\"\npackages = [\"{code}\"]\n{dates}\n")
    }

    #[test]
    fn a_pin_and_a_deny_of_one_package_name_each_other() {
        let told = problems(&format!("{}{}", entry("pin", "top", ""), entry("deny", "gone", "")));
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with(
                "line 4, [[pin]] \"top\", packages = \"DAT30-1\": is denied by [[deny]] \"gone\" (line 6)"
            ),
            "{told:?}"
        );
    }

    #[test]
    fn they_may_follow_each_other() {
        let pin = entry("pin", "top", "from = 2026-02-01\nto = 2026-02-28");
        let with = |dates| problems(&format!("{pin}{}", entry("deny", "gone", dates)));
        assert!(with("to = 2026-01-31").is_empty());
        assert!(with("from = 2026-03-01").is_empty());
        assert_eq!(with("to = 2026-02-01").len(), 1);
        assert_eq!(with("from = 2026-02-28").len(), 1);
    }

    #[test]
    fn a_pin_must_be_allowed_on_every_day_on_which_something_is() {
        let pin = entry("pin", "top", "from = 2026-02-01\nto = 2026-02-28");
        let with = |allows: &str| problems(&format!("{pin}{allows}"));
        let other = |dates| entry("allow", "other", dates);
        let own = |dates| entry("allow", "own", dates);
        assert!(with(&own("")).is_empty());
        assert!(with(&other("from = 2026-03-01")).is_empty());
        let told = with(&other("from = 2026-02-10"));
        assert!(told[0].contains("[[allow]] \"other\" (line 7) allows on 2026-02-10"), "{told:?}");
        // Together they cover the days up to the 14th only.
        let told = with(&format!("{}{}", other(""), own("to = 2026-02-14")));
        assert!(told[0].contains("allows on 2026-02-15"), "{told:?}");
        assert!(with(&format!("{}{}", other(""), own("to = 2026-02-28"))).is_empty());
    }
}
