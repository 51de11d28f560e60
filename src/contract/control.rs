//! Control totals: a small CSV file of day and revenue, or one number.

use super::{ContractError, Source};
use chrono::NaiveDate;
use std::collections::BTreeMap;

/// What revenue should be, in currency units.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    Total(f64),
    ByDay(BTreeMap<NaiveDate, f64>),
}

impl Control {
    /// Reads what the configuration names; None if it names nothing.
    pub fn read(source: &Source) -> Result<Option<Self>, ContractError> {
        match source {
            Source::None => Ok(None),
            Source::Total(total) => Ok(Some(Self::Total(*total))),
            Source::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| ContractError::Unreadable { path: path.clone(), source })?;
                parse(path, &text).map(|days| Some(Self::ByDay(days)))
            }
        }
    }
}

/// Lines of `day,total` below a header, such as `2026-05-31,125000.50`. Empty lines are passed over.
fn parse(path: &str, text: &str) -> Result<BTreeMap<NaiveDate, f64>, ContractError> {
    let mut days = BTreeMap::new();
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate().skip(1);
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let bad =
            || ContractError::BadLine { path: path.to_owned(), line: number + 1, text: line.to_owned() };
        let (day, total) = line.split_once(',').ok_or_else(bad)?;
        let day: NaiveDate = day.trim().trim_matches('"').parse().map_err(|_| bad())?;
        let total: f64 = total.trim().trim_matches('"').parse().map_err(|_| bad())?;
        if !total.is_finite() {
            return Err(bad());
        }
        if days.insert(day, total).is_some() {
            return Err(ContractError::TwiceADay { path: path.to_owned(), day: day.to_string() });
        }
    }
    match days.is_empty() {
        true => Err(ContractError::Empty { path: path.to_owned() }),
        false => Ok(days),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_totals_are_read_or_refused() {
        let days = parse("c.csv", "\u{feff}day,total\n2026-05-30,10.5\n\n\"2026-05-31\",\"-3\"\n").unwrap();
        assert_eq!(days.into_values().collect::<Vec<_>>(), [10.5, -3.0]);
        for bad in
            ["2026-05-31", "2026-05-31,", "31.05.2026,4", "2026-05-31,NaN", "2026-05-31,1e999", "x,1,2"]
        {
            let error = parse("c.csv", &format!("day,total\n{bad}\n")).unwrap_err();
            assert!(matches!(error, ContractError::BadLine { line: 2, .. }), "{bad}: {error}");
        }
        let twice = parse("c.csv", "day,total\n2026-05-31,1\n2026-05-31,1\n");
        assert!(matches!(twice, Err(ContractError::TwiceADay { .. })));
        for empty in ["", "day,total", "day,total\n \n"] {
            assert!(matches!(parse("c.csv", empty), Err(ContractError::Empty { .. })));
        }
        assert!(Control::read(&Source::File("no/such/file.csv".into())).is_err());
        assert_eq!(Control::read(&Source::Total(3.0)).unwrap(), Some(Control::Total(3.0)));
    }
}
