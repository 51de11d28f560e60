//! Lists of packages as numbers: boosts, packages that exclude each other, caps.

use super::PolicyError;
use super::file::{Limits, Rule};
use crate::spelling::nearest;
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use std::collections::HashMap;

/// The number of every package code. Memory: the codes.
#[derive(Debug, Clone)]
pub struct PackageCodes {
    codes: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl PackageCodes {
    /// From the `packages` table, row = package number.
    pub fn of(packages: &RecordBatch) -> Result<Self, PolicyError> {
        let column = packages.column_by_name("package_code").ok_or_else(|| PolicyError::MissingColumn {
            table: "packages",
            column: "package_code".to_owned(),
        })?;
        let texts = texts(column)?;
        let codes: Vec<String> = texts.iter().map(|code| code.unwrap_or_default().to_owned()).collect();
        let numbers = codes.iter().zip(0..).map(|(code, number)| (code.clone(), number)).collect();
        Ok(Self { codes, numbers })
    }

    pub fn len(&self) -> usize {
        self.codes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    pub fn number(&self, code: &str) -> Option<u32> {
        self.numbers.get(code).copied()
    }

    /// The code that is spelt most like one that is not there.
    pub fn nearest(&self, code: &str) -> Option<&str> {
        nearest(code, self.codes.iter().map(String::as_str))
    }
}

/// Integers or text of any layout as plain text.
pub(super) fn texts(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// A cap in force, for whoever allocates offers over all customers.
#[derive(Debug, Clone, PartialEq)]
pub struct Cap {
    /// Number of the rule.
    pub rule: u16,
    /// Package numbers, ascending; the cap is on all of them together.
    pub packages: Vec<u32>,
    pub limits: Limits,
}

/// Packages that may not be in one list.
#[derive(Debug, Clone, Default)]
pub(super) struct Exclusions {
    /// Rules by package, ascending; empty without any.
    rules: Vec<Vec<u16>>,
}

impl Exclusions {
    pub(super) fn new(packages: usize, groups: &[(u16, Vec<u32>)]) -> Self {
        let mut rules = vec![Vec::new(); if groups.is_empty() { 0 } else { packages }];
        for (rule, members) in groups {
            for member in members {
                if let Some(of_package) = rules.get_mut(*member as usize) {
                    of_package.push(*rule);
                }
            }
        }
        Self { rules }
    }

    /// The first rule that has both packages; a package does not exclude itself.
    pub(super) fn of(&self, a: u32, b: u32) -> Option<u16> {
        if a == b {
            return None;
        }
        let (a, b) = (self.rules.get(a as usize)?, self.rules.get(b as usize)?);
        a.iter().find(|rule| b.contains(rule)).copied()
    }
}

/// The sum of ln(factor) by package, in the order of rules; empty without any.
pub(super) fn boosts<'a>(packages: usize, rules: impl Iterator<Item = (&'a [u32], f64)>) -> Vec<f64> {
    let mut sums = Vec::new();
    for (members, factor) in rules {
        sums.resize(packages, 0.0);
        for member in members {
            if let Some(sum) = sums.get_mut(*member as usize) {
                *sum += factor.ln();
            }
        }
    }
    sums
}

/// The numbers of a list of codes, ascending; for each unknown code the problem and its line.
pub(super) fn numbers(
    rule: &Rule,
    key: &str,
    list: &super::file::Codes,
    codes: &PackageCodes,
    problems: &mut Vec<super::Problem>,
) -> Vec<u32> {
    let mut numbers = Vec::with_capacity(list.len());
    for code in list {
        match codes.number(&code.value) {
            Some(number) => numbers.push(number),
            None => problems.push(super::Problem {
                line: code.line,
                rule: rule.label(),
                key: key.to_owned(),
                value: format!("\"{}\"", code.value),
                wanted: match codes.nearest(&code.value) {
                    Some(known) => format!("is not a package of this run; did you mean \"{known}\"?"),
                    None => format!(
                        "is not a package of this run, which has {}; take it out of the list",
                        super::some_of(codes.codes.iter().map(String::as_str), 5)
                    ),
                },
            }),
        }
    }
    numbers
}
