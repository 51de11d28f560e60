//! Quantities as people write them: "1,5GB", "512 kbps", "1 month", "2GiB".
//!
//! Upper and lower case, spaces and non-breaking spaces make no difference. A number may have a
//! decimal point or a decimal comma, and its thousands may be set apart by spaces, apostrophes, or
//! whichever of point and comma is not the decimal sign. A single comma before exactly three digits
//! ("1,500") could be either, so it is refused rather than guessed; a single point is a decimal point.
//! Zero is a quantity. Negative numbers, NaN, infinities and exponents are not.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// No quantity needs more characters; the limit also keeps every number far inside an f64.
const LONGEST: usize = 64;

/// A text that is not the quantity it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not {expected}: {problem}; write for example {example:?}")]
pub struct QuantityError {
    /// The text as it was given, cut when long.
    pub text: String,
    /// What should have been there: "a data volume".
    pub expected: &'static str,
    pub problem: QuantityProblem,
    /// A text that works.
    pub example: &'static str,
}

/// What is wrong with the text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuantityProblem {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {LONGEST} characters")]
    TooLong,
    #[error("it does not start with a number")]
    NoNumber,
    #[error("it is negative")]
    Negative,
    #[error("{number:?} is not a number")]
    Malformed { number: String },
    #[error("{number:?} may have a decimal comma or a separator of thousands")]
    Ambiguous { number: String },
    #[error("{unit:?} is not one of the units {known}")]
    UnknownUnit { unit: String, known: &'static str },
    #[error("{unit:?} may mean bits or bytes per second, write \"Mbit/s\" or \"Mbyte/s\"")]
    BitsOrBytes { unit: String },
    #[error("it is too large")]
    TooLarge,
    #[error("it is not an ISO 8601 duration of the form P1Y2M3W4DT5H6M7S")]
    Iso,
}

/// The unit of a data volume written without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeUnit {
    Kb,
    #[default]
    Mb,
    Gb,
    Tb,
}

/// How many MB a GB has (and KB an MB, GB a TB).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeStep {
    /// 1 GB = 1024 MB, as mobile operators bill. MiB and MB are the same.
    #[default]
    Binary,
    /// 1 GB = 1000 MB. 1 MiB is 1.048576 MB.
    Decimal,
}

/// A data allowance. "Unlimited" is a value of its own, not a very large number, so that no mean or
/// price per MB can swallow it unseen.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub enum Volume {
    Megabytes(f64),
    Unlimited,
}

impl Volume {
    /// The megabytes, or none when there is no limit.
    pub fn limit_mb(self) -> Option<f64> {
        match self {
            Self::Megabytes(megabytes) => Some(megabytes),
            Self::Unlimited => None,
        }
    }
}

/// The unit of a speed written without one. Always decimal: 1 Gbit/s = 1000 Mbit/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpeedUnit {
    Kbps,
    #[default]
    Mbps,
    Gbps,
}

/// The unit of a duration written without one. A month has 30 days and a year 365.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DurationUnit {
    Hours,
    #[default]
    Days,
    Weeks,
    Months,
    Years,
}

impl DurationUnit {
    fn days(self) -> f64 {
        match self {
            Self::Hours => 1.0 / 24.0,
            Self::Days => 1.0,
            Self::Weeks => 7.0,
            Self::Months => 30.0,
            Self::Years => 365.0,
        }
    }
}

/// Reads a data volume in megabytes: "500 MB", "1,5GB", "2 TB", "0.5 GiB", "unlimited" (also
/// "unlim", "no limit", "∞"). "Gb" is read as "GB", because price lists write both.
pub fn parse_volume_mb(
    text: &str,
    default_unit: VolumeUnit,
    step: VolumeStep,
) -> Result<Volume, QuantityError> {
    let read = || {
        let written = Written::new(text)?;
        if matches!(written.text.as_str(), "unlimited" | "unlim" | "unlim." | "no limit" | "∞") {
            return Ok(Volume::Unlimited);
        }
        let (number, unit) = written.split()?;
        // Binary multiples are 1024-based whatever the step; only their distance from an MB differs.
        let (step, mebi): (f64, f64) = match step {
            VolumeStep::Binary => (1024.0, 1.0),
            VolumeStep::Decimal => (1000.0, 1.048_576),
        };
        let factor = match unit.as_str() {
            "" => step.powi(default_unit as i32 - VolumeUnit::Mb as i32),
            "b" | "byte" | "bytes" => step.powi(-2),
            "kb" => step.powi(-1),
            "mb" => 1.0,
            "gb" => step,
            "tb" => step.powi(2),
            "kib" => mebi / 1024.0,
            "mib" => mebi,
            "gib" => mebi * 1024.0,
            "tib" => mebi * 1024.0 * 1024.0,
            _ => return Err(unknown(unit, "B, KB, MB, GB, TB, KiB, MiB, GiB, TiB")),
        };
        finite(number * factor).map(Volume::Megabytes)
    };
    read().map_err(|problem| refusal(text, "a data volume", problem, "1.5 GB"))
}

/// Reads a speed in megabits per second: "100 Mbps", "512 kbit/s", "1 Gbit/s", "2 Mbyte/s" (16).
///
/// "b" is a bit, also in "MBPS" written all in capitals; `MB/s` and `MBps` are refused, because
/// half of those who write them mean bytes.
pub fn parse_speed_mbps(text: &str, default_unit: SpeedUnit) -> Result<f64, QuantityError> {
    let read = || {
        let written = Written::new(text)?;
        let (number, unit) = written.split()?;
        if unit.is_empty() {
            return finite(number * 1000.0_f64.powi(default_unit as i32 - SpeedUnit::Mbps as i32));
        }
        let (prefix, base) = match unit.as_bytes()[0] {
            b'k' => (1e-3, &unit[1..]),
            b'm' => (1.0, &unit[1..]),
            b'g' => (1e3, &unit[1..]),
            b't' => (1e6, &unit[1..]),
            _ => (1e-6, unit.as_str()),
        };
        let factor = match base {
            "bps" | "b/s" if written.capital_b_among_small_letters() => {
                return Err(QuantityProblem::BitsOrBytes { unit });
            }
            "bps" | "b/s" | "bit/s" | "bits/s" | "bit" | "bits" | "bitps" | "bit/sec" | "b/sec" => prefix,
            "byte/s" | "bytes/s" | "byte/sec" => prefix * 8.0,
            _ => return Err(unknown(unit, "bit/s, kbit/s, Mbit/s, Gbit/s (or kbps, Mbps, Gbps)")),
        };
        finite(number * factor)
    };
    read().map_err(|problem| refusal(text, "a speed", problem, "100 Mbps"))
}

/// Reads a duration in days: "30 days", "30-day", "1 month" (30), "2 weeks", "24 hours", "1 year"
/// (365), or in ISO 8601 "P30D", "P1M", "PT12H". A lone "m" is refused: minute or month.
pub fn parse_duration_days(text: &str, default_unit: DurationUnit) -> Result<f64, QuantityError> {
    let read = || {
        let written = Written::new(text)?;
        if let Some(iso) = written.text.strip_prefix('p') {
            return iso_days(iso);
        }
        let (number, unit) = written.split()?;
        let factor = match unit.as_str() {
            "" => default_unit.days(),
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0 / 86_400.0,
            "min" | "mins" | "minute" | "minutes" => 1.0 / 1_440.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => DurationUnit::Hours.days(),
            "d" | "day" | "days" => 1.0,
            "w" | "wk" | "wks" | "week" | "weeks" => DurationUnit::Weeks.days(),
            "mo" | "mon" | "mth" | "mths" | "month" | "months" => DurationUnit::Months.days(),
            "y" | "yr" | "yrs" | "year" | "years" => DurationUnit::Years.days(),
            _ => return Err(unknown(unit, "minutes, hours, days, weeks, months, years")),
        };
        finite(number * factor)
    };
    read().map_err(|problem| refusal(text, "a duration", problem, "30 days"))
}

/// Reads a memory size in bytes, rounded to the nearest: "2GiB", "512 MiB" (binary), "8 GB"
/// (decimal), a bare number is bytes. Exact up to 2^53 bytes.
pub fn parse_bytes(text: &str) -> Result<u64, QuantityError> {
    let read = || {
        let (number, unit) = Written::new(text)?.split()?;
        let factor = match unit.as_str() {
            "" | "b" | "byte" | "bytes" => 1.0,
            "kib" => 1024.0,
            "mib" => 1024.0_f64.powi(2),
            "gib" => 1024.0_f64.powi(3),
            "tib" => 1024.0_f64.powi(4),
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            _ => return Err(unknown(unit, "B, KiB, MiB, GiB, TiB, KB, MB, GB, TB")),
        };
        let bytes = (number * factor).round();
        // 2^64 itself is the first that does not fit.
        if bytes < 2.0_f64.powi(64) { Ok(bytes as u64) } else { Err(QuantityProblem::TooLarge) }
    };
    read().map_err(|problem| refusal(text, "a memory size", problem, "2GiB"))
}

/// Bytes in the largest binary unit with at most two decimals: "2 GiB", "1.5 MiB", "17 B".
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut hundredths = bytes as f64 * 100.0;
    let mut unit = 0;
    // Rounded before it is compared, so that no "1024 MiB" appears.
    while unit + 1 < UNITS.len() && hundredths.round() >= 102_400.0 {
        hundredths /= 1024.0;
        unit += 1;
    }
    let number = format!("{:.2}", hundredths.round() / 100.0);
    format!("{} {}", number.trim_end_matches('0').trim_end_matches('.'), UNITS[unit])
}

/// A count with its thousands set apart: "12,345,678".
pub fn format_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Elapsed seconds for people: "120 ms", "12.3 s", "4 min 05 s", "1 h 02 min"; "n/a" for what is
/// not a duration (negative, NaN, infinite).
pub fn format_seconds(seconds: f64) -> String {
    if !(seconds.is_finite() && seconds >= 0.0) {
        return "n/a".to_owned();
    }
    // Each limit is where the smaller unit would round up to a whole larger one.
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1e3);
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    if seconds < 3_599.5 {
        let whole = seconds.round() as u64;
        return format!("{} min {:02} s", whole / 60, whole % 60);
    }
    let minutes = (seconds / 60.0).round() as u64;
    format!("{} h {:02} min", format_count(minutes / 60), minutes % 60)
}

/// A text made plain: trimmed, small letters, single ordinary spaces.
struct Written {
    text: String,
    /// As `text`, with its capitals.
    cased: String,
}

impl Written {
    fn new(text: &str) -> Result<Self, QuantityProblem> {
        if text.chars().nth(LONGEST).is_some() {
            return Err(QuantityProblem::TooLong);
        }
        // White space in Unicode includes the non-breaking and the narrow non-breaking space.
        let cased = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if cased.is_empty() {
            return Err(QuantityProblem::Empty);
        }
        Ok(Self { text: cased.to_lowercase(), cased })
    }

    /// The number and the unit after it, which may be empty.
    fn split(&self) -> Result<(f64, String), QuantityProblem> {
        let text = self.text.strip_prefix('+').unwrap_or(&self.text).trim_start();
        if text.starts_with(['-', '−']) {
            return Err(QuantityProblem::Negative);
        }
        let belongs = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | ' ' | '\'' | '’');
        let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number = number.trim_end();
        if number.is_empty() {
            return Err(QuantityProblem::NoNumber);
        }
        // "30-day" and "100-Mbps" are written in English.
        let unit = unit.strip_prefix('-').unwrap_or(unit);
        Ok((number_value(number)?, unit.replace(' ', "")))
    }

    /// `MBps` but not `MBPS`: where small letters are used, a capital B is one on purpose.
    fn capital_b_among_small_letters(&self) -> bool {
        self.cased.contains('B') && self.cased.chars().any(char::is_lowercase)
    }
}

/// The value of digits with an optional decimal sign and optional separators of thousands.
fn number_value(number: &str) -> Result<f64, QuantityProblem> {
    let malformed = || QuantityProblem::Malformed { number: number.to_owned() };
    let signs = number.matches(['.', ',']).collect::<Vec<_>>();
    // The last sign is the decimal one when it occurs once; a sign that repeats separates thousands.
    let decimal = signs.last().filter(|last| signs.iter().filter(|sign| sign == last).count() == 1);
    let (whole, fraction) = match decimal.and_then(|sign| number.rsplit_once(sign)) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.is_some_and(|fraction| !digits(fraction)) {
        return Err(malformed());
    }
    if decimal == Some(&",")
        && fraction.is_some_and(|fraction| fraction.len() == 3)
        && digits(whole)
        && whole.len() <= 3
        && !whole.starts_with('0')
    {
        return Err(QuantityProblem::Ambiguous { number: number.to_owned() });
    }

    let separator = whole.chars().find(|c| !c.is_ascii_digit());
    let groups = separator.map_or_else(|| vec![whole], |separator| whole.split(separator).collect());
    let (first, others) = groups.split_first().ok_or_else(malformed)?;
    let grouped = others.iter().all(|group| group.len() == 3 && digits(group))
        && (digits(first) && (others.is_empty() || first.len() <= 3)
            || whole.is_empty() && fraction.is_some());
    if !grouped {
        return Err(malformed());
    }
    let plain = format!("{}.{}", groups.concat(), fraction.unwrap_or("0"));
    plain.parse().map_err(|_| malformed())
}

/// Days of what follows the P of an ISO 8601 duration, in small letters.
fn iso_days(text: &str) -> Result<f64, QuantityProblem> {
    const DATE: [(char, f64); 4] = [('y', 365.0), ('m', 30.0), ('w', 7.0), ('d', 1.0)];
    const TIME: [(char, f64); 3] = [('h', 1.0 / 24.0), ('m', 1.0 / 1_440.0), ('s', 1.0 / 86_400.0)];
    let (date, time) = text.split_once('t').map_or((text, None), |(date, time)| (date, Some(time)));
    if date.is_empty() && time.is_none() || time == Some("") {
        return Err(QuantityProblem::Iso);
    }
    finite(designated(date, &DATE)? + designated(time.unwrap_or(""), &TIME)?)
}

/// The sum of numbers each followed by its letter; every letter at most once, in order.
fn designated(mut text: &str, letters: &[(char, f64)]) -> Result<f64, QuantityProblem> {
    let mut days = 0.0;
    for &(letter, factor) in letters {
        if let Some((number, rest)) = text.split_once(letter) {
            let plain = number.replace(',', ".");
            let allowed = plain.starts_with(|c: char| c.is_ascii_digit())
                && plain.ends_with(|c: char| c.is_ascii_digit())
                && plain.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let value = plain.parse::<f64>().ok().filter(|_| allowed).ok_or(QuantityProblem::Iso)?;
            days += value * factor;
            text = rest;
        }
    }
    if text.is_empty() { Ok(days) } else { Err(QuantityProblem::Iso) }
}

fn finite(value: f64) -> Result<f64, QuantityProblem> {
    if value.is_finite() { Ok(value) } else { Err(QuantityProblem::TooLarge) }
}

fn unknown(unit: String, known: &'static str) -> QuantityProblem {
    QuantityProblem::UnknownUnit { unit, known }
}

fn refusal(
    text: &str,
    expected: &'static str,
    problem: QuantityProblem,
    example: &'static str,
) -> QuantityError {
    let mut shown = text.chars().take(LONGEST).collect::<String>();
    if shown.len() < text.len() {
        shown.push('…');
    }
    QuantityError { text: shown, expected, problem, example }
}

#[cfg(test)]
mod tests;
