//! Why an offer is made, in a sentence a salesperson can read.

use super::score::Candidate;
use super::signals::Factor;
use super::write::Row;
use std::fmt::Write;

/// What speaks most for an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    OwnHabit,
    Neighbours,
    BoughtTogether,
    Popularity,
}

impl Source {
    /// Own habit for what was bought before; else the strongest of the factors that speak for it.
    pub fn of(candidate: &Candidate, factors: &[f64; Factor::ALL.len()]) -> Self {
        let near = factors[Factor::Neighbours as usize];
        let together = factors[Factor::BoughtTogether as usize];
        if candidate.bought.is_some() {
            Self::OwnHabit
        } else if near > 0.0 && near >= together {
            Self::Neighbours
        } else if together > 0.0 {
            Self::BoughtTogether
        } else {
            Self::Popularity
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::OwnHabit => "own habit",
            Self::Neighbours => "neighbours",
            Self::BoughtTogether => "bought together",
            Self::Popularity => "popularity",
        }
    }
}

/// How neighbours are spoken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    /// They are of segments with more revenue per customer than others.
    HighRevenue,
    /// No money is known, or every segment's customers are examples.
    Similar,
}

/// Price differences are told in steps of so many per cent.
const PRICE_STEP: f64 = 5.0;

/// Writes the reason of an offer into `out` (cleared first). `name` gives a package's code, `ln_price`
/// is of the offer, NaN if unknown. Few different texts: they are stored as a dictionary.
pub fn write<'a>(out: &mut String, row: &Row, ln_price: f32, name: impl Fn(u32) -> &'a str) {
    out.clear();
    let Row { candidate, subject, .. } = row;
    if let Some(bought) = candidate.bought.and_then(|at| subject.bought.get(at as usize)) {
        let often = match bought.times as u32 {
            1 => "once".to_owned(),
            2 => "twice".to_owned(),
            n => format!("{n} times"),
        };
        let _ = write!(out, "bought {often}, last {}", ago(subject.today - bought.last_day));
        if candidate.neighbours > 0 {
            out.push_str("; ");
            near(out, row);
        }
    } else {
        if candidate.neighbours > 0 {
            near(out, row);
        } else if row.because_of.is_none() {
            let _ = write!(out, "sells well in segment {}", subject.segment + 1);
        }
        if let Some(package) = row.because_of {
            let lead = if out.is_empty() { "" } else { "; " };
            let _ = write!(out, "{lead}goes with {}, which the customer buys", name(package));
        }
        price(out, f64::from(ln_price - subject.ln_usual).exp());
    }
    if let Some(first) = out.get(..1) {
        let upper = first.to_uppercase();
        out.replace_range(..1, &upper);
    }
}

fn ago(days: i32) -> String {
    match days {
        i32::MIN..=0 => "on the last day".to_owned(),
        1 => "1 day ago".to_owned(),
        2..=13 => format!("{days} days ago"),
        14..=59 => format!("{} weeks ago", days / 7),
        _ => format!("{} months ago", days / 30),
    }
}

fn near(out: &mut String, row: &Row) {
    let (count, verb) =
        (row.candidate.neighbours, if row.candidate.neighbours == 1 { "buys" } else { "buy" });
    let who = match row.wording {
        Wording::HighRevenue => "most similar high-revenue customers",
        Wording::Similar => "most similar customers",
    };
    let _ = write!(out, "{count} of the {} {who} {verb} it", row.consulted);
}

/// How the price compares with what the customer usually pays; nothing if that is not known.
fn price(out: &mut String, ratio: f64) {
    if !ratio.is_finite() {
        return;
    }
    let steps = ((ratio - 1.0) * 100.0 / PRICE_STEP).round() * PRICE_STEP;
    let _ = match steps {
        0.0 => write!(out, "; costs what the customer usually pays"),
        s if ratio >= 3.0 && s > 0.0 => {
            write!(out, "; costs {:.0} times what the customer usually pays", ratio.round())
        }
        s if s > 0.0 => write!(out, "; costs {s:.0} % more than the customer usually pays"),
        s => write!(out, "; costs {:.0} % less than the customer usually pays", -s),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommendations::signals::{Bought, Subject};

    fn text(candidate: &Candidate, because_of: Option<u32>, bought: &[Bought], ratio: f32) -> String {
        let subject =
            Subject { bought, active_days: 3.0, last_day: 99, today: 100, ln_usual: 0.0, segment: 2 };
        let row = Row {
            rank: 0,
            candidate,
            factors: [0.0; Factor::ALL.len()],
            boost: 0.0,
            source: Source::OwnHabit,
            subject: &subject,
            because_of,
            consulted: 20,
            wording: Wording::HighRevenue,
            held_out: None,
        };
        let mut out = String::new();
        write(&mut out, &row, ratio.ln(), |package| ["A", "B", "C"][package as usize]);
        out
    }

    fn candidate(bought: bool, neighbours: u32) -> Candidate {
        Candidate { neighbours, ..Candidate::of_test(1, 0.0, bought) }
    }

    #[test]
    fn reasons_read_as_sentences() {
        let own = |times, last_day| [Bought { package: 1, times, days: times, weight: 1.0, last_day }];
        assert_eq!(text(&candidate(true, 0), None, &own(1.0, 99), 1.0), "Bought once, last 1 day ago");
        assert_eq!(text(&candidate(true, 0), None, &own(2.0, 89), 1.0), "Bought twice, last 11 days ago");
        assert_eq!(
            text(&candidate(true, 7), None, &own(5.0, 85), 1.0),
            "Bought 5 times, last 2 weeks ago; 7 of the 20 most similar high-revenue customers buy it"
        );
        assert_eq!(
            text(&candidate(false, 1), Some(2), &[], 1.12),
            "1 of the 20 most similar high-revenue customers buys it; goes with C, which the customer buys; \
             costs 10 % more than the customer usually pays"
        );
        assert_eq!(
            text(&candidate(false, 0), None, &[], 0.5),
            "Sells well in segment 3; costs 50 % less than the customer usually pays"
        );
        assert_eq!(
            text(&candidate(false, 0), Some(0), &[], 4.1),
            "Goes with A, which the customer buys; costs 4 times what the customer usually pays"
        );
        assert_eq!(text(&candidate(false, 0), None, &[], f32::NAN), "Sells well in segment 3");
    }
}
