//! The sections of a policy file, entry by entry.

use super::entry::{Entry, Located, Report, date, number, text, whole};
use super::file::{Action, ContactSettings, Control, Limits, PolicyFile, Rule};
use super::predicate::{self, Speaks};
use super::{Kind, Stage, contradictions};
use crate::spelling::nearest;
use toml::de::{DeTable, DeValue};

/// More rules than this do not fit the numbers that verdicts are made of.
const MOST_RULES: usize = 10_000;
/// Longest window of contacts, days.
const MOST_DAYS: u32 = 3_650;
/// Lists of packages as messages show them.
const ONE: &str = "[\"DAT30-0001\"]";
const TWO: &str = "[\"DAT30-0001\", \"DAT30-0002\"]";
const SHARE: &str = "a share from 0 to 1, such as 0.1";

const STAGES: [(&str, Stage); 4] = [
    ("eligibility", Stage::Eligibility),
    ("applicability", Stage::Applicability),
    ("suitability", Stage::Suitability),
    ("contact", Stage::Contact),
];
const SECTIONS: [(&str, Kind); 10] = [
    ("rule", Kind::Rule),
    ("deny", Kind::Deny),
    ("allow", Kind::Allow),
    ("boost", Kind::Boost),
    ("pin", Kind::Pin),
    ("contact", Kind::Contact),
    ("cooldown", Kind::Cooldown),
    ("never_together", Kind::NeverTogether),
    ("cap", Kind::Cap),
    ("campaign", Kind::Campaign),
];

/// Fills `file` from the table of a whole file.
pub(super) fn sections(file: &mut PolicyFile, table: &DeTable, report: &mut Report) {
    let mut names = Vec::new();
    let mut has_history = false;
    for (key, value) in table {
        let (key_line, name) = (report.line(key.span().start), key.get_ref().as_ref());
        let line = report.line(value.span().start);
        has_history |= name == "contact_history";
        match (name, value.get_ref(), SECTIONS.iter().find(|(section, _)| *section == name)) {
            ("control", DeValue::Table(table), _) => {
                file.control = control(Entry::new("[control]".into(), line, table), report);
            }
            ("contact_history", DeValue::Table(table), _) => {
                let entry = Entry::new("[contact_history]".into(), line, table);
                file.contact_history = contact_history(entry, report);
            }
            ("control" | "contact_history", _, _) => {
                let wanted = format!("write [{name}], once and with one pair of brackets");
                report.problem(key_line, "", name, String::new(), wanted);
            }
            (_, DeValue::Array(items), Some((section, kind))) => {
                for item in items {
                    let line = report.line(item.span().start);
                    let Some(table) = item.get_ref().as_table() else {
                        let shown = report.shown(item.span());
                        report.problem(line, "", section, shown, format!("write [[{section}]] entries"));
                        continue;
                    };
                    let entry = Entry::new(format!("[[{section}]]"), line, table);
                    file.rules.extend(rule(entry, *kind, &mut names, report));
                }
            }
            (_, _, Some((section, _))) => {
                let wanted = format!("write [[{section}]], with two pairs of brackets");
                report.problem(key_line, "", section, String::new(), wanted);
            }
            (_, _, None) => {
                let known: Vec<&str> =
                    SECTIONS.iter().map(|(name, _)| *name).chain(["control", "contact_history"]).collect();
                let wanted = match nearest(name, known.iter().copied()) {
                    Some(known) => format!("is not a section; did you mean `{known}`?"),
                    None => format!("is not a section; there are {}", known.join(", ")),
                };
                report.problem(key_line, "", name, String::new(), wanted);
            }
        }
    }
    file.rules.sort_by_key(|rule| rule.line);
    contradictions::names(names, report);
    contradictions::pins(&file.rules, report);
    let looks_back = |rule: &&Rule| matches!(rule.action.kind(), Kind::Contact | Kind::Cooldown);
    for rule in file.rules.iter().filter(looks_back).filter(|_| !has_history) {
        let wanted = "counts past contacts; add [contact_history] with the file that records them";
        report.problem(rule.line, &rule.label(), "", String::new(), wanted);
    }
    if file.rules.len() > MOST_RULES {
        let wanted = format!("{} rules are too many; {MOST_RULES} are possible", file.rules.len());
        report.problem(0, "", "", String::new(), wanted);
    }
}

/// One entry; None if something that it cannot do without is missing. All of its keys are looked at
/// either way.
fn rule(mut entry: Entry, kind: Kind, names: &mut Vec<Named>, report: &mut Report) -> Option<Rule> {
    let name = entry.required(report, "name", "a name for reports, in quotation marks", text);
    if let Some(name) = &name {
        entry.label = format!("{} \"{}\"", entry.label, name.value);
        names.push(Named { name: name.value.clone(), label: entry.label.clone(), line: name.line });
    }
    let owner = entry.required(report, "owner", "text that says who answers for the rule", text);
    let day = "a date such as 2026-01-31";
    let from = entry.optional(report, "from", day, date);
    let to = entry.optional(report, "to", day, date);
    if let (Some(from), Some(to)) = (&from, &to)
        && from.value > to.value
    {
        let wanted = format!("is after to = {}; swap the two", to.value);
        report.problem(from.line, &entry.label, "from", from.value.to_string(), wanted);
    }
    let action = action(&mut entry, kind, report);
    let line = entry.line;
    entry.finish(report);
    Some(Rule {
        name: name?.value,
        owner: owner?.value,
        line,
        from: from.map(|day| day.value),
        to: to.map(|day| day.value),
        action: action?,
    })
}

fn action(entry: &mut Entry, kind: Kind, report: &mut Report) -> Option<Action> {
    Some(match kind {
        Kind::Rule => {
            let wanted = "one of \"eligibility\", \"applicability\", \"suitability\", \"contact\"";
            let stage = entry.required(report, "stage", wanted, |value| {
                STAGES.iter().find(|(name, _)| value.as_str() == Some(name)).map(|(_, stage)| *stage)
            });
            let wanted = "a condition, such as \"package.price < 50\"; the offer stands where it is true";
            let keep = entry.required(report, "keep", wanted, text);
            let keep = keep.and_then(|keep| checked(entry, "keep", keep, Speaks::OfAll, report));
            Action::Keep { stage: stage?.value, keep: keep? }
        }
        Kind::Deny => Action::Deny { packages: entry.list(report, "packages", ONE)? },
        Kind::Allow => Action::Allow { packages: entry.list(report, "packages", ONE)? },
        Kind::Boost => {
            let packages = entry.list(report, "packages", ONE);
            let wanted = "a number above 0; 1.5 raises the odds by half";
            let factor = entry.required(report, "factor", wanted, |value| number(value).filter(positive));
            Action::Boost { packages: packages?, factor: factor?.value }
        }
        Kind::Pin => {
            let packages = entry.list(report, "packages", ONE);
            let wanted = "a condition on customers, such as \"customer.segment = 1\"";
            let written = entry.has("where");
            let condition = entry.optional(report, "where", wanted, text);
            let condition = condition
                .and_then(|condition| checked(entry, "where", condition, Speaks::OfCustomers, report));
            // A pin whose condition cannot be read must not become a pin for everybody.
            if written && condition.is_none() {
                return None;
            }
            Action::Pin { packages: packages?, condition }
        }
        Kind::Contact => {
            let wanted = "a whole number of 1 or more";
            let most = entry.required(report, "max_offers", wanted, |value| whole(value, 1));
            let days = days(entry, report);
            Action::Contact { max_offers: most?.value, days: days? }
        }
        Kind::Cooldown => {
            let offer = entry.list(report, "offer", ONE);
            let after = entry.list(report, "after", ONE);
            let days = days(entry, report);
            Action::Cooldown { offer: offer?, after: after?, days: days? }
        }
        Kind::NeverTogether => {
            let packages = entry.list(report, "packages", TWO)?;
            if let [only] = packages.as_slice() {
                let wanted = format!("names one package; name all that exclude each other, such as {TWO}");
                report.problem(only.line, &entry.label, "packages", format!("[\"{}\"]", only.value), wanted);
                return None;
            }
            Action::NeverTogether { packages }
        }
        Kind::Cap => {
            let packages = entry.list(report, "packages", ONE);
            let limits = limits(entry, report);
            Action::Cap { packages: packages?, limits: limits? }
        }
        Kind::Campaign => {
            let packages = entry.list(report, "packages", ONE);
            let share = entry.required(report, "control_share", SHARE, |value| number(value).filter(share));
            Action::Campaign { packages: packages?, control_share: share?.value }
        }
        Kind::Control => return None,
    })
}

/// A predicate that has the right form, else its problems are reported.
fn checked(
    entry: &Entry,
    key: &str,
    written: Located<String>,
    speaks: Speaks,
    report: &mut Report,
) -> Option<Located<String>> {
    let problems = predicate::check(&written.value, speaks);
    let fine = problems.is_empty();
    for problem in problems {
        report.problem(written.line, &entry.label, key, predicate::quoted(&written.value), problem);
    }
    fine.then_some(written)
}

fn days(entry: &mut Entry, report: &mut Report) -> Option<u32> {
    let wanted = format!("a whole number of days from 1 to {MOST_DAYS}");
    let days = entry
        .required(report, "days", &wanted, |value| whole(value, 1_u32).filter(|days| *days <= MOST_DAYS));
    days.map(|days| days.value)
}

fn limits(entry: &mut Entry, report: &mut Report) -> Option<Limits> {
    let before = report.problems.len();
    let count = "a whole number of customers, 1 or more";
    let money = "an amount above 0 in currency units";
    let most = entry.optional(report, "max_customers", count, |value| whole(value, 1_u64));
    let least = entry.optional(report, "min_customers", count, |value| whole(value, 1_u64));
    let budget = entry.optional(report, "budget", money, |value| number(value).filter(positive));
    let cost = entry.optional(report, "cost", money, |value| number(value).filter(positive));
    let limits = Limits {
        max_customers: most.map(|most| most.value),
        min_customers: least.as_ref().map(|least| least.value),
        budget: budget.as_ref().map(|budget| budget.value),
        cost: cost.as_ref().map(|cost| cost.value),
    };
    if report.problems.len() > before {
        return None;
    }
    let label = entry.label.clone();
    match (budget, cost) {
        (Some(budget), None) => {
            let wanted = "needs cost as well: what one offer costs, in currency units";
            report.problem(budget.line, &label, "budget", budget.value.to_string(), wanted);
        }
        (None, Some(cost)) => {
            let wanted = "needs budget as well: what all offers may cost, in currency units";
            report.problem(cost.line, &label, "cost", cost.value.to_string(), wanted);
        }
        _ if limits == Limits::default() => {
            let wanted = "limits nothing; add max_customers, min_customers, or budget with cost";
            report.problem(entry.line, &label, "", String::new(), wanted);
        }
        _ => {}
    }
    if let (Some(least), Some(most)) = (least, limits.most())
        && least.value > most
    {
        let wanted = format!("is more than max_customers and budget allow, which is {most}");
        report.problem(least.line, &label, "min_customers", least.value.to_string(), wanted);
    }
    (report.problems.len() == before).then_some(limits)
}

fn control(mut entry: Entry, report: &mut Report) -> Option<Control> {
    let line = entry.line;
    let share = entry.required(report, "share", SHARE, |value| number(value).filter(share));
    let wanted = "any text in quotation marks (another text draws another group)";
    let key = entry.required(report, "key", wanted, text);
    entry.finish(report);
    Some(Control { line, share: share?.value, key: key?.value })
}

fn contact_history(mut entry: Entry, report: &mut Report) -> Option<ContactSettings> {
    let path = entry.required(report, "path", "a file, folder, glob or URL in quotation marks", text);
    let example =
        "columns = { customer = \"MSISDN\", package = \"PACKAGE_CODE\", time = \"SENT_AT\" }, by your names";
    let columns = entry.texts(report, "columns", ["customer", "package", "time"], example);
    entry.finish(report);
    let [customer, package, time] = columns?;
    Some(ContactSettings { path: path?.value, customer, package, time })
}

/// Written so that NaN fails it.
fn positive(value: &f64) -> bool {
    *value > 0.0 && value.is_finite()
}

fn share(value: &f64) -> bool {
    (0.0..=1.0).contains(value)
}

/// A name with the entry that has it.
pub(super) struct Named {
    pub(super) name: String,
    /// As messages call the entry.
    pub(super) label: String,
    pub(super) line: usize,
}

#[cfg(test)]
mod tests {
    use super::super::tests::{complaint, problems};
    use super::*;
    use proptest::prelude::*;

    /// A file of one entry with two lines that every entry has.
    fn entry(section: &str, rest: &str) -> String {
        format!("[[{section}]]\nname = \"n\"\nowner = \"o\"\n{rest}")
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_line() {
        let text = "[[rule]]\nname = \"a\"\nstage = \"suitabilty\"\nkep = \"true\"\n\n\
                    [[deny]]\nname = \"a\"\nowner = \"X\"\npackages = [\"DAT30-9\",\n \"SOC1-3\"]\n\
                    from = 2026-12-31\nto = 2026-01-01\n\n[rules]\n";
        let expected = [
            "line 1, [[rule]] \"a\", owner: is missing",
            "line 1, [[rule]] \"a\", keep: is missing",
            "line 3, [[rule]] \"a\", stage = \"suitabilty\": must be one of \"eligibility\"",
            "line 4, [[rule]] \"a\", kep = \"true\": is not a key of this entry; did you mean `keep`?",
            "line 7, [[deny]] \"a\", name = \"a\": is the name of [[rule]] \"a\" (line 2) as well",
            "line 9, [[deny]] \"a\", packages = \"DAT30-9\": is not a package of this run; did you mean",
            "line 11, [[deny]] \"a\", from = 2026-12-31: is after to = 2026-01-01",
            "line 14, rules: is not a section; did you mean `rule`?",
        ];
        let found = problems(text);
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\n{expected}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let one = "packages = [\"SOC1-3\"]\n";
        for (section, rest, wanted) in [
            (
                "boost",
                format!("{one}factor = 0"),
                "line 5, [[boost]] \"n\", factor = 0: must be a number above 0",
            ),
            ("boost", format!("{one}factor = nan"), "must be a number above 0"),
            ("boost", format!("{one}factor = \"2\""), "factor = \"2\": must be a number above 0"),
            ("boost", format!("{one}factor = 1e999"), "must be a number above 0"),
            ("campaign", format!("{one}control_share = 1.5"), "must be a share from 0 to 1"),
            ("campaign", format!("{one}control_share = nan"), "must be a share from 0 to 1"),
            ("cap", one.to_owned(), "line 1, [[cap]] \"n\": limits nothing"),
            ("cap", format!("{one}max_customers = 0"), "must be a whole number of customers, 1 or more"),
            ("cap", format!("{one}min_customers = 9\nmax_customers = 5"), "is more than max_customers"),
            ("cap", format!("{one}min_customers = 9\nbudget = 20\ncost = 2.5"), "allow, which is 8"),
            ("cap", format!("{one}budget = 20"), "needs cost as well"),
            ("cap", format!("{one}cost = 20"), "needs budget as well"),
            ("never_together", one.to_owned(), "names one package"),
            ("deny", "packages = []".to_owned(), "packages = []: must be a list of package codes"),
            ("deny", "packages = [\"SOC1-3\", \"SOC1-3\"]".to_owned(), "is in the list twice"),
            ("deny", "packages = [3]".to_owned(), "packages = 3: must be a package code in quotation marks"),
            ("deny", format!("{one}from = 2026-01-01T10:00:00"), "must be a date such as 2026-01-31"),
            ("deny", format!("{one}from = \"1.2.2026\""), "must be a date such as 2026-01-31"),
            (
                "contact",
                "max_offers = 3\ndays = 7".to_owned(),
                "line 1, [[contact]] \"n\": counts past contacts",
            ),
            ("contact", "max_offers = 0\ndays = 7".to_owned(), "must be a whole number of 1 or more"),
            ("contact", "max_offers = 3.5\ndays = 7".to_owned(), "must be a whole number of 1 or more"),
            ("cooldown", "offer = [\"SOC1-3\"]\ndays = 9999".to_owned(), "after: is missing"),
            (
                "cooldown",
                "offer = [\"SOC1-3\"]\ndays = 9999".to_owned(),
                "a whole number of days from 1 to 3650",
            ),
            ("pin", format!("{one}where = 5"), "where = 5: must be a condition on customers"),
        ] {
            let told = complaint(&entry(section, &rest));
            assert!(told.contains(wanted), "{section} {rest}: {told}");
        }
    }

    #[test]
    fn sections_of_the_wrong_form_are_explained() {
        for (text, wanted) in [
            ("[rule]\nname = \"x\"", "line 1, rule: write [[rule]], with two pairs of brackets"),
            ("rule = [1]", "line 1, rule = 1: write [[rule]] entries"),
            ("[[control]]\nshare = 0.1", "line 1, control: write [control], once"),
            ("[control]\nshare = 2\nkey = \"k\"", "line 2, [control], share = 2: must be a share"),
            ("[control]\nshare = 0.1", "line 1, [control], key: is missing"),
            ("[contact_history]\npath = \"x\"", "columns: is needed, such as columns = {"),
            (
                "[contact_history]\npath = \"x\"\ncolumns = { customer = \"a\", time = \"b\" }",
                "package: is missing",
            ),
            ("[zzz]", "is not a section; there are rule, deny"),
            ("\n[[rule]\nname = 3", "line 2: not valid TOML"),
            ("a = \n\nb = ", "line 3: not valid TOML"),
        ] {
            let told = complaint(text);
            assert!(told.contains(wanted), "{text}: {told}");
        }
        let global = entry("deny", "packages = [\"SOC1-3\"]").replace("\"n\"", "\"global\"");
        assert!(complaint(&global).contains("is what the control group of [control] is called"));
    }

    #[test]
    fn dates_may_be_written_as_text_and_an_empty_file_is_fine() {
        let text = entry("deny", "packages = [\"SOC1-3\"]\nfrom = \"2026-01-05\"\nto = 2026-01-05");
        let file = PolicyFile::parse(&text, "p").unwrap();
        assert_eq!(file.rules[0].from, file.rules[0].to);
        assert_eq!(PolicyFile::parse("", "p").unwrap().rules, vec![]);
        assert_eq!(file.contact_days(), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(
            head in "(\\[\\[(rule|cap|pin|contact)\\]\\]\n)?",
            lines in "([a-z_]{1,8} = [-\"'\\[\\]{}a-z0-9.,]{0,12}\n){0,6}",
        ) {
            let text = head + &lines;
            let _ = PolicyFile::parse(&text, "p");
        }
    }
}
