//! Checks of single values. All problems are collected, so that one look tells a user all of them.

use super::Problem;
use std::fmt::Display;

/// Collects problems, so that one look tells a user all of them. Range checks are written so that
/// NaN fails them.
pub(super) struct Check {
    pub problems: Vec<Problem>,
}

impl Check {
    pub fn problem(&mut self, key: &str, value: impl Display, wanted: impl Into<String>) {
        self.problems.push(Problem { key: key.into(), value: value.to_string(), wanted: wanted.into() });
    }

    /// A problem that says by itself what is wrong and what to do.
    pub fn said(&mut self, key: &str, problem: impl Display) {
        self.problem(key, "as given", problem.to_string());
    }

    pub fn text(&mut self, key: &str, value: &str) -> String {
        if value.trim().is_empty() {
            self.problem(key, "\"\"", "is needed; set it in the configuration file or with --set");
        }
        value.to_owned()
    }

    pub fn integer(&mut self, key: &str, value: i64, low: i64, high: i64) -> usize {
        if (low..=high).contains(&value) {
            value as usize
        } else {
            self.problem(key, value, format!("must be a whole number from {low} to {high}"));
            low.max(0) as usize
        }
    }

    pub fn share(&mut self, key: &str, value: f64) -> f64 {
        if !(0.0..=1.0).contains(&value) {
            self.problem(key, value, "must be a share from 0 to 1");
        }
        value
    }

    pub fn positive(&mut self, key: &str, value: f64) -> f64 {
        if !(value > 0.0 && value.is_finite()) {
            self.problem(key, value, "must be a number above 0");
        }
        value
    }

    pub fn at_least(&mut self, key: &str, value: f64, low: f64) -> f64 {
        if !(value >= low && value.is_finite()) {
            self.problem(key, value, format!("must be a number not below {low}"));
        }
        value
    }

    pub fn slots(&mut self, key: &str, values: &[String]) -> Vec<String> {
        if values.len() > 8 {
            self.problem(key, values.len(), "takes 8 values at the most; the rest is summed as \"other\"");
        }
        let mut seen = values.to_vec();
        seen.sort();
        seen.dedup();
        if seen.len() != values.len() {
            self.problem(key, format!("{values:?}"), "names a value twice");
        }
        values.to_vec()
    }

    pub fn choice<T: Copy>(&mut self, key: &str, value: &str, choices: &[(&str, T)]) -> T {
        match choices.iter().find(|(name, _)| *name == value) {
            Some((_, choice)) => *choice,
            None => {
                let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                self.problem(key, format!("\"{value}\""), format!("must be one of {}", names.join(", ")));
                choices[0].1
            }
        }
    }
}
