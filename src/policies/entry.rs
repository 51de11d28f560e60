//! Keys of a TOML table read one by one, with the line of each. Nothing stops at the first problem.

use super::Problem;
use crate::spelling::nearest;
use chrono::NaiveDate;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Characters of a value that a message shows.
const SHOWN: usize = 120;

/// The problems of a file, and what is needed to say where they are.
pub(super) struct Report<'t> {
    text: &'t str,
    /// Byte at which each line starts.
    starts: Vec<usize>,
    pub(super) problems: Vec<Problem>,
}

/// A value with the line it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    pub value: T,
    /// From 1.
    pub line: usize,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts, problems: Vec::new() }
    }

    /// The line that holds a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    /// The text of the file in a range, on one line and not too long.
    pub(super) fn shown(&self, span: Range<usize>) -> String {
        shorten(self.text.get(span).unwrap_or_default())
    }

    pub(super) fn problem(
        &mut self,
        line: usize,
        rule: &str,
        key: &str,
        value: String,
        wanted: impl Into<String>,
    ) {
        let problem =
            Problem { line, rule: rule.to_owned(), key: key.to_owned(), value, wanted: wanted.into() };
        self.problems.push(problem);
    }
}

/// Text on one line of `SHOWN` characters at the most.
pub(super) fn shorten(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &flat[..at]),
        None => flat,
    }
}

/// One table of the file.
pub(super) struct Entry<'a> {
    /// As messages call it: `[[rule]] "name"`.
    pub(super) label: String,
    pub(super) line: usize,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(label: String, line: usize, table: &'a DeTable<'a>) -> Self {
        Self { label, line, table, asked: Vec::new() }
    }

    fn find(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// Whether a key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// A key that may be left out; a value that `convert` does not take is a problem.
    pub(super) fn optional<T>(
        &mut self,
        report: &mut Report,
        key: &'static str,
        wanted: &str,
        convert: impl FnOnce(&DeValue) -> Option<T>,
    ) -> Option<Located<T>> {
        let found = self.find(key)?;
        let line = report.line(found.span().start);
        match convert(found.get_ref()) {
            Some(value) => Some(Located { value, line }),
            None => {
                let shown = report.shown(found.span());
                report.problem(line, &self.label, key, shown, format!("must be {wanted}"));
                None
            }
        }
    }

    /// A key that is needed.
    pub(super) fn required<T>(
        &mut self,
        report: &mut Report,
        key: &'static str,
        wanted: &str,
        convert: impl FnOnce(&DeValue) -> Option<T>,
    ) -> Option<Located<T>> {
        if !self.has(key) {
            self.asked.push(key);
            report.problem(self.line, &self.label, key, String::new(), format!("is missing; add {wanted}"));
            return None;
        }
        self.optional(report, key, wanted, convert)
    }

    /// A list of texts, none empty and none twice; needed.
    pub(super) fn list(
        &mut self,
        report: &mut Report,
        key: &'static str,
        example: &str,
    ) -> Option<Vec<Located<String>>> {
        let wanted = format!("a list of package codes, such as {key} = {example}");
        let Some(found) = self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
        else {
            return self.required(report, key, &wanted, |_| None::<Vec<_>>).map(|list| list.value);
        };
        self.asked.push(key);
        let line = report.line(found.span().start);
        let Some(items) = found.get_ref().as_array().filter(|items| !items.is_empty()) else {
            let shown = report.shown(found.span());
            report.problem(line, &self.label, key, shown, format!("must be {wanted}"));
            return None;
        };
        let mut list: Vec<Located<String>> = Vec::with_capacity(items.len());
        for item in items {
            let line = report.line(item.span().start);
            let problem = match item.get_ref().as_str().map(str::trim) {
                Some(code) if list.iter().any(|other| other.value == code) => "is in the list twice",
                Some(code) if !code.is_empty() => {
                    list.push(Located { value: code.to_owned(), line });
                    continue;
                }
                _ => "must be a package code in quotation marks",
            };
            let shown = report.shown(item.span());
            report.problem(line, &self.label, key, shown, problem);
        }
        (!list.is_empty()).then_some(list)
    }

    /// A table of one text a key, each needed.
    pub(super) fn texts<const N: usize>(
        &mut self,
        report: &mut Report,
        key: &'static str,
        names: [&'static str; N],
        example: &str,
    ) -> Option<[String; N]> {
        let found = self.find(key);
        let Some(table) = found.and_then(|found| found.get_ref().as_table()) else {
            let line = found.map_or(self.line, |found| report.line(found.span().start));
            let shown = found.map(|found| report.shown(found.span())).unwrap_or_default();
            report.problem(line, &self.label, key, shown, format!("is needed, such as {example}"));
            return None;
        };
        let line = found.map_or(self.line, |found| report.line(found.span().start));
        let mut inner = Entry::new(format!("{}, {key}", self.label), line, table);
        let texts = names.map(|name| inner.required(report, name, "the name of a column", text));
        inner.finish(report);
        let mut all = [const { String::new() }; N];
        for (slot, text) in all.iter_mut().zip(texts) {
            *slot = text?.value;
        }
        Some(all)
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, report: &mut Report) {
        for (key, value) in self.table {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let wanted = match nearest(name, self.asked.iter().copied()) {
                Some(known) => format!("is not a key of this entry; did you mean `{known}`?"),
                None => format!("is not a key of this entry; it takes {}", self.asked.join(", ")),
            };
            let (line, shown) = (report.line(key.span().start), report.shown(value.span()));
            report.problem(line, &self.label, name, shown, wanted);
        }
    }
}

/// Text that says something.
pub(super) fn text(value: &DeValue) -> Option<String> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A number of either sort.
pub(super) fn number(value: &DeValue) -> Option<f64> {
    match value {
        DeValue::Integer(integer) => {
            Some(i64::from_str_radix(integer.as_str(), integer.radix()).ok()? as f64)
        }
        DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
        _ => None,
    }
}

/// A whole number not below `least`.
pub(super) fn whole<T: TryFrom<i64> + PartialOrd>(value: &DeValue, least: T) -> Option<T> {
    let integer = value.as_integer()?;
    let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    T::try_from(number).ok().filter(|number| *number >= least)
}

/// A day, as TOML writes it or as text.
pub(super) fn date(value: &DeValue) -> Option<NaiveDate> {
    match value {
        DeValue::Datetime(time) if time.time.is_none() && time.offset.is_none() => {
            let date = time.date?;
            NaiveDate::from_ymd_opt(i32::from(date.year), u32::from(date.month), u32::from(date.day))
        }
        DeValue::String(text) => NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").ok(),
        _ => None,
    }
}
