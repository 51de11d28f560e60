//! Values of the data that get a share column of their own: channels, service and charging types.
//!
//! The SQL speaks of slots 1 to 8 and 9 for the rest; which value has which slot, and what its
//! published column is called, is decided here.

use std::collections::HashMap;

/// Values with a column of their own.
pub const SLOTS: usize = 8;
/// The slot of values without a column of their own.
pub const OTHER: i32 = 9;

/// The slots of one property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// As in the SQL: `channel`, `service` or `charging`.
    property: &'static str,
    values: Vec<String>,
    /// Some values have no slot of their own.
    has_other: bool,
}

impl Slots {
    /// The values asked for, else the `SLOTS` most frequent (ties by name), in the order of their
    /// names, so that columns do not change places when frequencies do.
    pub fn choose(property: &'static str, asked: &[String], frequencies: &[(String, u64)]) -> Self {
        let mut values = asked.to_vec();
        if values.is_empty() {
            let mut ranked: Vec<&(String, u64)> =
                frequencies.iter().filter(|(_, count)| *count > 0).collect();
            ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            values = ranked.into_iter().take(SLOTS).map(|(value, _)| value.clone()).collect();
        }
        values.sort();
        let has_other = frequencies.iter().any(|(value, count)| *count > 0 && !values.contains(value));
        Self { property, values, has_other }
    }

    /// The slot of every one of `names`; 0 for None.
    pub fn of<'a>(&self, names: impl Iterator<Item = Option<&'a str>>) -> Vec<i32> {
        let slots: HashMap<&str, i32> =
            self.values.iter().enumerate().map(|(slot, value)| (value.as_str(), slot as i32 + 1)).collect();
        names.map(|name| name.map_or(0, |name| slots.get(name).copied().unwrap_or(OTHER))).collect()
    }

    /// For every used slot: its number, and its published column.
    pub fn used(&self) -> Vec<(usize, String)> {
        let numbers = (1..=self.values.len()).chain(self.has_other.then_some(OTHER as usize));
        numbers.zip(self.columns()).map(|(slot, (_, name, _))| (slot, name)).collect()
    }

    /// For every used slot: its column in the SQL, its published column, and the value.
    pub fn columns(&self) -> Vec<(String, String, String)> {
        let mut used: HashMap<String, usize> = HashMap::new();
        let mut columns: Vec<(String, String, String)> = Vec::new();
        for (slot, value) in self.values.iter().enumerate() {
            let mut name = slug(value);
            // Two values may differ only in what a column name cannot show.
            let count = used.entry(name.clone()).or_default();
            *count += 1;
            if *count > 1 {
                name = format!("{name}_{count}");
            }
            columns.push((
                format!("{}_{}", self.property, slot + 1),
                format!("{}_{name}_share", self.property),
                value.clone(),
            ));
        }
        if self.has_other {
            let name = if used.contains_key("other") { "all_other" } else { "other" };
            columns.push((
                format!("{}_{OTHER}", self.property),
                format!("{}_{name}_share", self.property),
                "other".into(),
            ));
        }
        columns
    }
}

/// A value as part of a column name.
pub(crate) fn slug(value: &str) -> String {
    let mut name = String::new();
    for character in value.to_lowercase().chars() {
        if character.is_alphanumeric() {
            name.push(character);
        } else if !name.ends_with('_') && !name.is_empty() {
            name.push('_');
        }
    }
    let name = name.trim_end_matches('_');
    if name.is_empty() { "unnamed".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_get_slots_and_the_rest_is_other() {
        let frequencies: Vec<(String, u64)> =
            (0..10).map(|n| (format!("Ch {n}"), if n == 3 { 0 } else { 100 - n })).collect();
        let slots = Slots::choose("channel", &[], &frequencies);
        let names: Vec<String> = slots.columns().into_iter().map(|(_, name, _)| name).collect();
        assert_eq!(names.first().map(String::as_str), Some("channel_ch_0_share"));
        assert_eq!(names.last().map(String::as_str), Some("channel_other_share"));
        assert_eq!(names.len(), 9);
        assert_eq!(slots.of([Some("Ch 0"), Some("Ch 9"), None].into_iter()), vec![1, 9, 0]);
    }

    #[test]
    fn columns_never_share_a_name() {
        let slots =
            Slots::choose("service", &["A-B".into(), "a b".into(), "Other".into()], &[("x".into(), 1)]);
        let mut names: Vec<String> = slots.columns().into_iter().map(|(_, name, _)| name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
