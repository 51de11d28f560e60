//! Why an offer is made, in a sentence a salesperson can read.

use super::score::{Offer, Source};
use super::write::Row;
use std::fmt::Write;

/// How neighbours are spoken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    /// They are of segments with more revenue per customer than others.
    HighRevenue,
    /// No money is known, or every segment's customers are examples.
    Similar,
}

/// Writes the reason of an offer into `out` (cleared first). `times` and `days_ago` are of the
/// customer's own purchases of the package. Few different texts: they are stored as a dictionary.
pub fn write(out: &mut String, offer: &Offer, row: &Row, wording: Wording) {
    let Row { times, days_ago, consulted, segment, .. } = *row;
    out.clear();
    let own = |out: &mut String| {
        let often = match times {
            1 => "once".to_owned(),
            2 => "twice".to_owned(),
            n => format!("{n} times"),
        };
        let when = match days_ago {
            0 => "on the last day".to_owned(),
            1 => "1 day ago".to_owned(),
            2..=13 => format!("{days_ago} days ago"),
            14..=59 => format!("{} weeks ago", days_ago / 7),
            _ => format!("{} months ago", days_ago / 30),
        };
        let _ = write!(out, "bought {often}, last {when}");
    };
    let near = |out: &mut String| {
        let (count, verb) = (offer.neighbours, if offer.neighbours == 1 { "buys" } else { "buy" });
        let who = match wording {
            Wording::HighRevenue => "similar high-revenue customers",
            Wording::Similar => "similar customers",
        };
        let _ = write!(out, "{count} of {consulted} {who} {verb} it");
    };
    match offer.source {
        Source::OwnHabit => own(out),
        Source::Neighbours => near(out),
        Source::Both => {
            own(out);
            out.push_str("; ");
            near(out);
        }
        Source::Segment => {
            let _ = write!(out, "sells well in segment {}", segment + 1);
        }
    }
    if let Some(first) = out.get(..1) {
        let upper = first.to_uppercase();
        out.replace_range(..1, &upper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_sentences() {
        let offer = |source, neighbours| Offer { package: 0, score: 0.5, source, bought: None, neighbours };
        let text = |offer: &Offer, times, days| {
            let mut out = String::new();
            let row = Row { rank: 0, offer, times, days_ago: days, consulted: 20, segment: 2 };
            write(&mut out, offer, &row, Wording::HighRevenue);
            out
        };
        assert_eq!(text(&offer(Source::OwnHabit, 0), 1, 1), "Bought once, last 1 day ago");
        assert_eq!(text(&offer(Source::OwnHabit, 0), 2, 11), "Bought twice, last 11 days ago");
        assert_eq!(
            text(&offer(Source::Both, 7), 5, 15),
            "Bought 5 times, last 2 weeks ago; 7 of 20 similar high-revenue customers buy it"
        );
        assert_eq!(
            text(&offer(Source::Neighbours, 1), 0, 0),
            "1 of 20 similar high-revenue customers buys it"
        );
        assert_eq!(text(&offer(Source::Segment, 0), 0, 0), "Sells well in segment 3");
    }
}
