//! Why an offer is made, in a sentence a salesperson can read.

use super::score::Candidate;
use super::signals::Factor;
use super::write::Row;

/// What speaks most for an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    OwnHabit,
    Neighbours,
    BoughtTogether,
    Popularity,
}

impl Source {
    /// In the order of their numbers.
    pub const ALL: [Self; 4] = [Self::OwnHabit, Self::Neighbours, Self::BoughtTogether, Self::Popularity];

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wording {
    /// They are of segments with more revenue per customer than others.
    HighRevenue,
    /// No money is known, or every segment's customers are examples.
    Similar,
}

/// Price differences are told in steps of so many per cent.
const PRICE_STEP: f64 = 5.0;

/// Everything that a reason says and no more, so that equal reasons are put into words once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason {
    /// How often and how long ago, if the customer has bought it.
    bought: Option<(u32, Ago)>,
    neighbours: u32,
    consulted: u32,
    wording: Wording,
    because_of: Option<u32>,
    segment: u32,
    price: Option<Price>,
}

/// How long ago something was, as exactly as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ago {
    LastDay,
    Days(u16),
    Weeks(u16),
    Months(u16),
}

/// How the price compares with what the customer usually pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Price {
    Usual,
    /// Three and more times as much.
    Times(u32),
    /// Per cent.
    More(u32),
    Less(u32),
}

impl Reason {
    /// The reason of an offer; `ln_price` is its price, NaN if unknown.
    pub fn of(row: &Row, ln_price: f32) -> Self {
        let Row { candidate, subject, .. } = row;
        let own = candidate.bought.and_then(|at| subject.bought.get(at as usize));
        let is_new = own.is_none();
        let price = || Price::of(f64::from(ln_price - subject.ln_usual).exp());
        Self {
            bought: own.map(|own| (own.times as u32, Ago::of(subject.today - own.last_day))),
            neighbours: candidate.neighbours,
            consulted: row.consulted as u32,
            wording: row.wording,
            because_of: row.because_of.filter(|_| is_new),
            segment: if is_new { subject.segment } else { 0 },
            price: is_new.then(price).flatten(),
        }
    }

    /// A reason of a new package that so many of 50 neighbours buy.
    #[cfg(test)]
    pub(super) fn of_test(segment: u32, neighbours: u32) -> Self {
        let wording = Wording::Similar;
        Self { bought: None, neighbours, consulted: 50, wording, because_of: None, segment, price: None }
    }

    /// The reason in one word that no other has, if its numbers are not unusually large: quicker to look up than a
    /// dozen fields, and nearer together.
    pub fn packed(&self) -> Option<u64> {
        let bits = Bits(u64::from(self.wording == Wording::HighRevenue));
        let bits = bits.put(self.neighbours, 10)?.put(self.consulted, 10)?;
        let bits = match self.bought {
            Some((times, ago)) => bits.put(1, 1)?.put(times, 16)?.put(ago.code(), 20)?,
            None => {
                let because_of = self.because_of.map_or(Some(0), |package| package.checked_add(1))?;
                let price = self.price.map_or(0, Price::code);
                bits.put(0, 1)?.put(because_of, 20)?.put(self.segment, 8)?.put(price, 12)?
            }
        };
        Some(bits.0)
    }

    /// In words, into `out` (cleared first). `name` gives a package's code.
    pub fn write<'a>(&self, out: &mut String, name: impl Fn(u32) -> &'a str) {
        out.clear();
        if let Some((times, ago)) = self.bought {
            match times {
                1 => out.push_str("Bought once, last "),
                2 => out.push_str("Bought twice, last "),
                n => put(out, &[&"Bought ", &n, &" times, last "]),
            }
            ago.write(out);
        }
        if self.neighbours > 0 {
            self.lead(out);
            self.near(out);
        } else if self.bought.is_none() && self.because_of.is_none() {
            put(out, &[&"Sells well in segment ", &(self.segment + 1)]);
        }
        if let Some(package) = self.because_of {
            let goes = if out.is_empty() { "Goes with " } else { "; goes with " };
            put(out, &[&goes, &name(package), &", which the customer buys"]);
        }
        if let Some(price) = self.price {
            self.lead(out);
            match price {
                Price::Usual => out.push_str("costs what the customer usually pays"),
                Price::Times(times) => {
                    put(out, &[&"costs ", &times, &" times what the customer usually pays"])
                }
                Price::More(share) => {
                    put(out, &[&"costs ", &share, &" % more than the customer usually pays"])
                }
                Price::Less(share) => {
                    put(out, &[&"costs ", &share, &" % less than the customer usually pays"])
                }
            }
        }
    }

    fn lead(&self, out: &mut String) {
        if !out.is_empty() {
            out.push_str("; ");
        }
    }

    fn near(&self, out: &mut String) {
        let verb = if self.neighbours == 1 { " buys it" } else { " buy it" };
        let who = match self.wording {
            Wording::HighRevenue => " most similar high-revenue customers",
            Wording::Similar => " most similar customers",
        };
        put(out, &[&self.neighbours, &" of the ", &self.consulted, &who, &verb]);
    }
}

/// Numbers side by side.
#[derive(Clone, Copy)]
struct Bits(u64);

impl Bits {
    /// Adds a number, if it has no more than so many bits.
    fn put(self, number: u32, bits: u32) -> Option<Self> {
        (number >> bits == 0).then_some(Self(self.0 << bits | u64::from(number)))
    }
}

/// A piece of a sentence. `format!` would take as long as all the rest of an offer.
trait Piece {
    fn put(&self, out: &mut String);
}

impl Piece for &str {
    fn put(&self, out: &mut String) {
        out.push_str(self);
    }
}

impl Piece for u32 {
    fn put(&self, out: &mut String) {
        if *self >= 10 {
            (self / 10).put(out);
        }
        out.push(char::from(b'0' + (self % 10) as u8));
    }
}

fn put(out: &mut String, pieces: &[&dyn Piece]) {
    pieces.iter().for_each(|piece| piece.put(out));
}

impl Price {
    /// From 1, other prices others.
    fn code(self) -> u32 {
        match self {
            Self::Usual => 1,
            Self::Times(times) => times.saturating_mul(4) | 1,
            Self::More(share) => share.saturating_mul(4) | 2,
            Self::Less(share) => share.saturating_mul(4) | 3,
        }
    }

    /// None where the ratio is not known.
    fn of(ratio: f64) -> Option<Self> {
        if !ratio.is_finite() {
            return None;
        }
        let steps = (((ratio - 1.0) * 100.0 / PRICE_STEP).round() * PRICE_STEP) as i64;
        Some(match steps {
            0 => Self::Usual,
            1.. if ratio >= 3.0 => Self::Times(ratio.round() as u32),
            1.. => Self::More(steps as u32),
            _ => Self::Less(steps.unsigned_abs() as u32),
        })
    }
}

impl Ago {
    fn of(days: i32) -> Self {
        match days {
            i32::MIN..=0 => Self::LastDay,
            1..=13 => Self::Days(days as u16),
            14..=59 => Self::Weeks((days / 7) as u16),
            _ => Self::Months(u16::try_from(days / 30).unwrap_or(u16::MAX)),
        }
    }

    fn code(self) -> u32 {
        match self {
            Self::LastDay => 0,
            Self::Days(days) => u32::from(days) << 2 | 1,
            Self::Weeks(weeks) => u32::from(weeks) << 2 | 2,
            Self::Months(months) => u32::from(months) << 2 | 3,
        }
    }

    fn write(self, out: &mut String) {
        match self {
            Self::LastDay => out.push_str("on the last day"),
            Self::Days(1) => out.push_str("1 day ago"),
            Self::Days(days) => put(out, &[&u32::from(days), &" days ago"]),
            Self::Weeks(weeks) => put(out, &[&u32::from(weeks), &" weeks ago"]),
            Self::Months(months) => put(out, &[&u32::from(months), &" months ago"]),
        }
    }
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
            score: 0.0,
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
        Reason::of(&row, ratio.ln()).write(&mut out, |package| ["A", "B", "C"][package as usize]);
        out
    }

    fn candidate(bought: bool, neighbours: u32) -> Candidate {
        Candidate { neighbours, ..Candidate::of_test(1, 0.0, bought) }
    }

    #[test]
    fn reasons_are_one_word_each_or_none() {
        let plain = Reason {
            bought: None,
            neighbours: 0,
            consulted: 50,
            wording: Wording::Similar,
            because_of: None,
            segment: 0,
            price: None,
        };
        let mut all = vec![plain, Reason { wording: Wording::HighRevenue, ..plain }];
        let ago =
            [Ago::LastDay, Ago::Days(1), Ago::Days(13), Ago::Weeks(1), Ago::Months(1), Ago::Months(u16::MAX)];
        let prices = [
            Price::Usual,
            Price::Times(1),
            Price::Times(3),
            Price::More(5),
            Price::Less(5),
            Price::More(195),
        ];
        for number in [1, 2, 3, 255] {
            all.extend(ago.map(|ago| Reason { bought: Some((number, ago)), ..plain }));
            all.extend(prices.map(|price| Reason { price: Some(price), segment: number, ..plain }));
            all.push(Reason { neighbours: number, ..plain });
            all.push(Reason { consulted: number, ..plain });
            all.push(Reason { because_of: Some(number - 1), ..plain });
        }
        let mut words: Vec<u64> = all.iter().filter_map(Reason::packed).collect();
        assert_eq!(words.len(), all.len());
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all.len());
        let large = [
            Reason { neighbours: 1 << 10, ..plain },
            Reason { because_of: Some(u32::MAX), ..plain },
            Reason { bought: Some((1 << 16, Ago::LastDay)), ..plain },
            Reason { price: Some(Price::Times(u32::MAX)), ..plain },
        ];
        assert!(large.iter().all(|reason| reason.packed().is_none()));
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
