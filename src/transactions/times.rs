//! Purchase times as seconds since 1970, from dates, timestamps of any unit, and ISO 8601 text.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// Parses a date or a time as ISO 8601 writes it: `2026-05-31`, `20260531`, `2026-05-31 23:59:59`,
/// with `T`, fractions of a second (cut off), `Z` or an offset (taken to UTC). None otherwise.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let bytes = text.as_bytes();
    if let Some(days) = parse_date(bytes) {
        return Some(days * DAY);
    }
    // The common form first: chrono's general parser takes ten times as long.
    if bytes.len() == 19
        && matches!(bytes[10], b' ' | b'T')
        && bytes[13] == b':'
        && bytes[16] == b':'
        && let Some(days) = parse_date(&bytes[..10])
    {
        let (hour, minute, second) = (two(&bytes[11..])?, two(&bytes[14..])?, two(&bytes[17..])?);
        if hour < 24 && minute < 60 && second < 60 {
            return Some(days * DAY + hour * 3600 + minute * 60 + second);
        }
        return None;
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp());
    }
    for pattern in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, pattern) {
            return Some(time.and_utc().timestamp());
        }
    }
    ["%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.fZ"]
        .iter()
        .find_map(|pattern| DateTime::parse_from_str(text, pattern).ok())
        .map(|time| time.timestamp())
}

fn parse_date(bytes: &[u8]) -> Option<i64> {
    let (year, month, day) = match bytes.len() {
        10 if bytes[4] == b'-' && bytes[7] == b'-' => (&bytes[..4], &bytes[5..7], &bytes[8..10]),
        8 => (&bytes[..4], &bytes[4..6], &bytes[6..8]),
        _ => return None,
    };
    let year = two(year)? * 100 + two(&year[2..])?;
    let date = NaiveDate::from_ymd_opt(year as i32, two(month)? as u32, two(day)? as u32)?;
    Some(days_of(date))
}

/// The number that the first two bytes write.
fn two(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', ..] => Some(i64::from(a - b'0') * 10 + i64::from(b - b'0')),
        _ => None,
    }
}

/// Days since 1970 of a date.
pub fn days_of(date: NaiveDate) -> i64 {
    i64::from(date.to_epoch_days())
}

/// The date of a day since 1970.
pub fn date_of(day: i64) -> NaiveDate {
    i32::try_from(day).ok().and_then(NaiveDate::from_epoch_days).unwrap_or(NaiveDate::MAX)
}

/// Whether a column of this type can hold purchase times.
pub fn is_time(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Date32
            | DataType::Date64
            | DataType::Timestamp(_, _)
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
    )
}

/// Seconds since 1970 of a date or timestamp array's row (rounded down); None for other types. The
/// row must not be null.
pub fn seconds(array: &dyn Array, row: usize) -> Option<i64> {
    Some(match array.data_type() {
        DataType::Date32 => i64::from(array.as_primitive::<Date32Type>().value(row)) * DAY,
        DataType::Date64 => array.as_primitive::<Date64Type>().value(row).div_euclid(1000),
        DataType::Timestamp(TimeUnit::Second, _) => array.as_primitive::<TimestampSecondType>().value(row),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().value(row).div_euclid(1000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<TimestampMicrosecondType>().value(row).div_euclid(1_000_000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1_000_000_000)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_texts_in_their_common_forms() {
        let noon = 1_780_228_800; // 2026-05-31 12:00:00 UTC
        for text in [
            "2026-05-31 12:00:00",
            "2026-05-31T12:00:00",
            "2026-05-31T12:00:00Z",
            "2026-05-31T14:00:00+02:00",
            "2026-05-31 12:00:00.999",
            "2026-05-31 12:00",
            " 2026-05-31 12:00:00 ",
            "2026-05-31 14:00:00+02:00",
        ] {
            assert_eq!(parse(text), Some(noon), "{text}");
        }
        assert_eq!(parse("2026-05-31"), Some(noon - 43_200));
        assert_eq!(parse("20260531"), Some(noon - 43_200));
        for text in
            ["", "31.05.2026", "2026-13-01", "2026-02-30", "2026-05-31 25:00:00", "yesterday", "1780228800x"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn days_and_dates_are_inverse() {
        for day in [-1, 0, 11_017, 20_000] {
            assert_eq!(days_of(date_of(day)), day);
        }
    }
}
