//! Whether a run may be published, by what the last backtest found and by the run's own offers.

use super::report::{Backtest, PACKWISE};
use chrono::NaiveDate;

/// What happens to a run that breaks a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Off,
    /// It is published with a warning.
    Warn,
    /// It is not published.
    Block,
}

/// Limits; None: not looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gate {
    pub mode: Mode,
    /// Recall of the score, 0 to 1.
    pub min_recall: Option<f64>,
    /// Recall of the score less that of the best other method; may be negative.
    pub min_lead: Option<f64>,
    /// Share of the packages that are offered to anybody.
    pub min_coverage: Option<f64>,
    /// Share of customers that get the same offers.
    pub max_same_for_all: Option<f64>,
    /// Days since the backtest.
    pub max_age_days: Option<u32>,
}

/// The limits that are broken, a sentence each with the value, the limit and its key, in the order of
/// [`Gate`]. A limit that cannot be held against anything, for want of a backtest, is broken. `coverage`
/// and `same_for_all` are of the offers to be published, 0 to 1; `today` is the day of the run.
pub fn judge(
    gate: &Gate,
    backtest: Option<&Backtest>,
    coverage: f64,
    same_for_all: f64,
    today: NaiveDate,
) -> Vec<String> {
    if gate.mode == Mode::Off {
        return Vec::new();
    }
    let mut broken = Vec::new();
    let mut check = |key: &str, limit: Option<f64>, found: Option<(f64, String)>, is_least: bool| {
        let Some(limit) = limit else { return };
        let (word, sign) = if is_least { ("below", 1.0) } else { ("above", -1.0) };
        match found {
            // A value that is no number keeps no limit.
            Some((value, _)) if sign * value >= sign * limit => {}
            Some((value, what)) => {
                broken.push(format!("{what} is {value:.4}, {word} {key} = {limit}"));
            }
            None => broken.push(format!("{key} = {limit} cannot be checked: {}", missing(backtest))),
        }
    };
    let at = backtest.map_or(String::new(), |found| format!("@{}", found.k));
    let recall = backtest.map(|found| (found.recall, format!("{PACKWISE}'s recall{at}")));
    check("gate.min_recall", gate.min_recall, recall, true);
    let lead = backtest.and_then(|found| {
        let (name, recall) = found.best_other.as_ref()?;
        Some((found.recall - recall, format!("{PACKWISE}'s lead in recall{at} over {name}")))
    });
    check("gate.min_lead", gate.min_lead, lead, true);
    let coverage = (coverage, "the share of packages that are offered".to_owned());
    check("gate.min_coverage", gate.min_coverage, Some(coverage), true);
    let same = (same_for_all, "the share of customers with the same offers".to_owned());
    check("gate.max_same_for_all", gate.max_same_for_all, Some(same), false);
    if let Some(limit) = gate.max_age_days {
        match backtest.map(|found| (found, day(&found.id))) {
            Some((found, Some(made))) => {
                let age = (today - made).num_days();
                if age > i64::from(limit) {
                    broken.push(format!(
                        "the last evaluation, {}, is {age} days old, above gate.max_age_days = {limit}",
                        found.id
                    ));
                }
            }
            Some((found, None)) => broken.push(format!(
                "gate.max_age_days = {limit} cannot be checked: the id {} begins with no day",
                found.id
            )),
            None => broken.push(format!("gate.max_age_days = {limit} cannot be checked: {}", missing(None))),
        }
    }
    broken
}

fn missing(backtest: Option<&Backtest>) -> &'static str {
    match backtest {
        None => "there is no evaluation, `packwise evaluate` makes one",
        Some(_) => "the last evaluation has no baselines",
    }
}

/// The day on which an evaluation began; ids begin with it.
fn day(id: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(id.get(..8)?, "%Y%m%d").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backtest() -> Backtest {
        Backtest {
            id: "20260601T020000Z-1a2b3c4d".to_owned(),
            protocol: "window".to_owned(),
            window_days: Some(28),
            cutoffs: vec!["2026-05-01".to_owned()],
            tested: 1_000,
            k: 10,
            recall: 0.25,
            ndcg: 0.2,
            repeat_recall: None,
            explore_recall: None,
            revenue_recall: None,
            best_other: Some(("TIFU-KNN".to_owned(), 0.22)),
        }
    }

    fn today() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 6, 11).unwrap()
    }

    fn strict() -> Gate {
        Gate {
            mode: Mode::Block,
            min_recall: Some(0.3),
            min_lead: Some(0.05),
            min_coverage: Some(0.5),
            max_same_for_all: Some(0.1),
            max_age_days: Some(7),
        }
    }

    #[test]
    fn every_broken_limit_is_named_with_value_limit_and_key() {
        let broken = judge(&strict(), Some(&backtest()), 0.4, 0.2, today());
        assert_eq!(
            broken,
            [
                "packwise's recall@10 is 0.2500, below gate.min_recall = 0.3",
                "packwise's lead in recall@10 over TIFU-KNN is 0.0300, below gate.min_lead = 0.05",
                "the share of packages that are offered is 0.4000, below gate.min_coverage = 0.5",
                "the share of customers with the same offers is 0.2000, above gate.max_same_for_all = 0.1",
                "the last evaluation, 20260601T020000Z-1a2b3c4d, is 10 days old, above gate.max_age_days = 7",
            ]
        );
    }

    #[test]
    fn a_limit_that_is_just_kept_is_kept() {
        let gate = Gate {
            mode: Mode::Warn,
            min_recall: Some(0.25),
            min_lead: Some(0.029),
            min_coverage: Some(0.4),
            max_same_for_all: Some(0.2),
            max_age_days: Some(10),
        };
        assert!(judge(&gate, Some(&backtest()), 0.4, 0.2, today()).is_empty());
        assert_eq!(judge(&gate, Some(&backtest()), f64::NAN, 0.2, today()).len(), 1);
    }

    #[test]
    fn without_a_backtest_only_limits_of_the_run_can_be_kept() {
        let broken = judge(&strict(), None, 0.5, 0.1, today());
        assert_eq!(broken.len(), 3);
        assert!(broken.iter().all(|text| text.contains("`packwise evaluate` makes one")), "{broken:?}");
        let alone = Backtest { best_other: None, ..backtest() };
        let gate = Gate { mode: Mode::Warn, min_lead: Some(0.0), ..Gate::default() };
        let broken = judge(&gate, Some(&alone), 0.5, 0.1, today());
        assert_eq!(broken, ["gate.min_lead = 0 cannot be checked: the last evaluation has no baselines"]);
        let odd = Backtest { id: "x".to_owned(), ..backtest() };
        assert_eq!(judge(&strict(), Some(&odd), 0.5, 0.1, today()).len(), 3);
    }

    #[test]
    fn a_gate_that_is_off_breaks_nothing() {
        assert!(judge(&Gate { mode: Mode::Off, ..strict() }, None, 0.0, 1.0, today()).is_empty());
        assert!(judge(&Gate { mode: Mode::Block, ..Gate::default() }, None, 0.0, 1.0, today()).is_empty());
    }
}
