//! What was read against the rules: a verdict for each rule, from facts alone.

use super::control::Control;
use super::{Action, Contract, ROLES};
use chrono::NaiveDate;
use serde::Serialize;
use std::collections::BTreeMap;

/// What the rules are held against.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Day of the run, UTC.
    pub today: NaiveDate,
    /// Last day of the data.
    pub as_of: NaiveDate,
    pub rows: u64,
    /// Rejected rows of any reason, and the share that is allowed.
    pub rejected: u64,
    pub max_rejected_share: f64,
    /// Rows of published runs, oldest first.
    pub rows_before: Vec<u64>,
    /// Rows without a value for each of [`ROLES`]; None: the role is not mapped.
    pub nulls: [Option<u64>; 6],
    /// Rows by channel, of those that were kept; None: not mapped.
    pub channels: Option<Vec<(String, u64)>>,
    /// Rows rejected for a channel that is not accepted.
    pub rejected_channels: u64,
    /// None: there is no catalogue.
    pub unknown_packages: Option<u64>,
    pub duplicates: u64,
    /// None: transaction ids are not mapped.
    pub repeated_ids: Option<u64>,
    /// Currency units by day, before duplicates are taken out; None: amounts are not known.
    pub revenue: Option<BTreeMap<NaiveDate, f64>>,
    pub control: Option<Control>,
}

/// How a rule came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Kept,
    /// Broken, and published with a warning.
    Warned,
    /// Broken, and nothing is published.
    Failed,
    /// Rows were rejected for it.
    Quarantined,
    /// There was nothing to hold against it.
    NotJudged,
}

/// One rule with what was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The key of the rule, such as `contract.nulls.channel`.
    pub rule: String,
    pub status: Status,
    pub found: Option<f64>,
    /// What it says, with value and limit.
    pub text: String,
}

/// A verdict for each rule that is on, in the order of [`Contract`], the share of rejected rows first.
pub fn judge(contract: &Contract, facts: &Facts) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let rejected = share(facts.rejected, facts.rows);
    verdicts.push(limit(
        "contract.max_rejected_share",
        Action::Fail,
        "share of rejected rows",
        rejected,
        facts.max_rejected_share,
    ));
    freshness(contract, facts, &mut verdicts);
    row_count(contract, facts, &mut verdicts);
    nulls(contract, facts, &mut verdicts);
    accepted(contract, facts, &mut verdicts);
    unknown_packages(contract, facts, &mut verdicts);
    uniqueness(contract, facts, &mut verdicts);
    reconciliation(contract, facts, &mut verdicts);
    verdicts
}

fn freshness(contract: &Contract, facts: &Facts, verdicts: &mut Vec<Verdict>) {
    let rule = contract.freshness;
    if rule.on_break == Action::Off {
        return;
    }
    let age = (facts.today - facts.as_of).num_days();
    let text = format!(
        "the data ends on {}, {age} days before the run, {} are allowed",
        facts.as_of, rule.max_age_days
    );
    let kept = age <= i64::from(rule.max_age_days);
    verdicts.push(verdict("contract.freshness", rule.on_break, kept, Some(age as f64), text));
}

fn row_count(contract: &Contract, facts: &Facts, verdicts: &mut Vec<Verdict>) {
    let (rule, name) = (contract.row_count, "contract.row_count");
    if rule.on_break == Action::Off {
        return;
    }
    let newest = facts.rows_before.len().saturating_sub(rule.runs);
    let Some(median) = median(&facts.rows_before[newest..]).filter(|median| *median > 0.0) else {
        verdicts.push(not_judged(name, "there is no published run to compare with"));
        return;
    };
    let ratio = facts.rows as f64 / median;
    let text = format!(
        "{} rows are {ratio:.3} times the median of the last {} runs, allowed are {} to {}",
        facts.rows,
        facts.rows_before.len() - newest,
        rule.min_ratio,
        rule.max_ratio
    );
    let kept = (rule.min_ratio..=rule.max_ratio).contains(&ratio);
    verdicts.push(verdict(name, rule.on_break, kept, Some(ratio), text));
}

fn nulls(contract: &Contract, facts: &Facts, verdicts: &mut Vec<Verdict>) {
    let rule = contract.nulls;
    if rule.on_break == Action::Off {
        return;
    }
    for ((role, most), found) in ROLES.iter().zip(rule.max_share).zip(facts.nulls) {
        let name = format!("contract.nulls.{role}");
        match (most, found) {
            (None, _) => {}
            (Some(_), None) => {
                verdicts.push(not_judged(&name, &format!("transactions.columns.{role} is not set")));
            }
            (Some(most), Some(rows)) => {
                let what = format!("share of rows without a {role}");
                verdicts.push(rows_or_limit(&name, rule.on_break, &what, rows, facts.rows, most));
            }
        }
    }
}

fn accepted(contract: &Contract, facts: &Facts, verdicts: &mut Vec<Verdict>) {
    let (rule, name) = (&contract.accepted, "contract.accepted");
    if rule.on_break == Action::Off {
        return;
    }
    let Some(channels) = &facts.channels else {
        verdicts.push(not_judged(name, "transactions.columns.channel is not set"));
        return;
    };
    let others: Vec<&(String, u64)> =
        channels.iter().filter(|(name, rows)| *rows > 0 && !rule.channels.contains(name)).collect();
    let rows = facts.rejected_channels + others.iter().map(|(_, rows)| rows).sum::<u64>();
    let what = "share of rows with a channel that is not accepted";
    let mut verdict = rows_or_limit(name, rule.on_break, what, rows, facts.rows, rule.max_share);
    if let Some((most, _)) = others.iter().max_by_key(|(name, rows)| (*rows, std::cmp::Reverse(name.clone())))
    {
        verdict.text.push_str(&format!("; most of them {most:?}"));
    }
    verdicts.push(verdict);
}

fn unknown_packages(contract: &Contract, facts: &Facts, verdicts: &mut Vec<Verdict>) {
    let (rule, name) = (contract.unknown_packages, "contract.unknown_packages");
    if rule.on_break == Action::Off {
        return;
    }
    verdicts.push(match facts.unknown_packages {
        None => not_judged(name, "there is no catalogue"),
        Some(rows) => {
            let what = "share of rows with a package that is not in the catalogue";
            limit(name, rule.on_break, what, share(rows, facts.rows), rule.max_share)
        }
    });
}

fn uniqueness(contract: &Contract, facts: &Facts, verdicts: &mut Vec<Verdict>) {
    let rule = contract.uniqueness;
    if rule.on_break == Action::Off {
        return;
    }
    let name = "contract.uniqueness.duplicates";
    let what = "share of exact duplicates";
    verdicts.push(limit(name, rule.on_break, what, share(facts.duplicates, facts.rows), rule.max_duplicates));
    let name = "contract.uniqueness.repeated_ids";
    verdicts.push(match facts.repeated_ids {
        None => not_judged(name, "transactions.columns.transaction is not set"),
        Some(rows) => {
            let what = "share of repeated transaction ids";
            limit(name, rule.on_break, what, share(rows, facts.rows), rule.max_repeated_ids)
        }
    });
}

fn reconciliation(contract: &Contract, facts: &Facts, verdicts: &mut Vec<Verdict>) {
    let (rule, name) = (&contract.reconciliation, "contract.reconciliation");
    if rule.on_break == Action::Off {
        return;
    }
    let Some(revenue) = &facts.revenue else {
        verdicts.push(not_judged(name, "neither amounts nor prices are known"));
        return;
    };
    let (compared, what) = match &facts.control {
        None => {
            verdicts.push(not_judged(name, "there is no control total"));
            return;
        }
        Some(Control::Total(total)) => (vec![(revenue.values().sum(), *total)], Vec::new()),
        Some(Control::ByDay(days)) => (
            days.iter().map(|(day, total)| (revenue.get(day).copied().unwrap_or(0.0), *total)).collect(),
            days.keys().copied().collect(),
        ),
    };
    let worst = compared
        .iter()
        .enumerate()
        .map(|(number, (read, total))| (difference(*read, *total), number))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let Some((worst, number)) = worst else {
        verdicts.push(not_judged(name, "there is no control total"));
        return;
    };
    let (read, total) = compared[number];
    let of = what.get(number).map_or_else(String::new, |day: &NaiveDate| format!(" of {day}"));
    let text = format!(
        "revenue{of} is {read:.2}, the control total {total:.2}: a difference of {worst:.4}, {} is allowed",
        rule.tolerance
    );
    verdicts.push(verdict(name, rule.on_break, worst <= rule.tolerance, Some(worst), text));
}

/// As a share of the control total; without one anything is too much.
fn difference(read: f64, total: f64) -> f64 {
    match (read - total).abs() {
        0.0 => 0.0,
        difference => difference / total.abs(),
    }
}

/// A rule about rows: they are rejected, or their share is held against the limit.
fn rows_or_limit(rule: &str, action: Action, what: &str, rows: u64, of: u64, most: f64) -> Verdict {
    let found = share(rows, of);
    if action != Action::Quarantine {
        return limit(rule, action, what, found, most);
    }
    let status = if rows == 0 { Status::Kept } else { Status::Quarantined };
    let text = format!("the {what} is {found:.6}: {rows} rows in quarantine");
    Verdict { rule: rule.to_owned(), status, found: Some(found), text }
}

fn limit(rule: &str, action: Action, what: &str, found: f64, most: f64) -> Verdict {
    let text = format!("the {what} is {found:.6}, {most} is allowed");
    verdict(rule, action, found <= most, Some(found), text)
}

fn verdict(rule: &str, action: Action, kept: bool, found: Option<f64>, text: String) -> Verdict {
    let status = match (kept, action) {
        (true, _) => Status::Kept,
        (false, Action::Fail) => Status::Failed,
        (false, _) => Status::Warned,
    };
    Verdict { rule: rule.to_owned(), status, found, text }
}

fn not_judged(rule: &str, why: &str) -> Verdict {
    Verdict { rule: rule.to_owned(), status: Status::NotJudged, found: None, text: why.to_owned() }
}

fn share(rows: u64, of: u64) -> f64 {
    rows as f64 / of.max(1) as f64
}

/// The middle value, of an even number the mean of the two.
fn median(values: &[u64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle] as f64),
        _ => Some((sorted[middle - 1] as f64 + sorted[middle] as f64) / 2.0),
    }
}

/// What broken rules with this outcome say, each with its key.
pub fn sentences(verdicts: &[Verdict], status: Status) -> Vec<String> {
    let broken = verdicts.iter().filter(|verdict| verdict.status == status);
    broken.map(|verdict| format!("{}: {}", verdict.rule, verdict.text)).collect()
}

#[cfg(test)]
mod tests;
