//! What people write, and what is refused.

use super::*;
use proptest::prelude::*;

fn megabytes(text: &str) -> Result<f64, String> {
    parse_volume_mb(text, VolumeUnit::Mb, VolumeStep::Binary)
        .map(|volume| volume.limit_mb().unwrap_or(f64::INFINITY))
        .map_err(|error| error.to_string())
}

#[test]
fn volumes_as_people_write_them() {
    for (text, expected) in [
        ("500 MB", 500.0),
        ("1.5 GB", 1_536.0),
        ("1,5GB", 1_536.0),
        ("2TB", 2.0 * 1024.0 * 1024.0),
        ("  10\u{a0}gb ", 10_240.0),
        ("512 Kb", 0.5),
        ("750", 750.0),
        ("0", 0.0),
        ("+.5 GiB", 512.0),
        ("1 500 MB", 1_500.0),
        ("12\u{202f}500,5 MB", 12_500.5),
        ("1,234.5 MB", 1_234.5),
        ("1.234,5 MB", 1_234.5),
        ("1'000'000 B", 1e6 / 1_048_576.0),
        ("1,234,567 MB", 1_234_567.0),
        ("0,500 GB", 512.0),
        ("Unlimited", f64::INFINITY),
        ("no  limit", f64::INFINITY),
    ] {
        assert_eq!(megabytes(text), Ok(expected), "{text}");
    }
}

#[test]
fn the_default_unit_and_the_step_are_the_callers() {
    let read = |text, unit, step| parse_volume_mb(text, unit, step).unwrap().limit_mb().unwrap();
    assert_eq!(read("3", VolumeUnit::Gb, VolumeStep::Binary), 3_072.0);
    assert_eq!(read("3", VolumeUnit::Tb, VolumeStep::Decimal), 3_000_000.0);
    assert_eq!(read("512", VolumeUnit::Kb, VolumeStep::Binary), 0.5);
    assert_eq!(read("3 GB", VolumeUnit::Mb, VolumeStep::Decimal), 3_000.0);
    assert_eq!(read("1 GiB", VolumeUnit::Mb, VolumeStep::Decimal), 1_073.741_824);
    assert!(Volume::Megabytes(1e300) < Volume::Unlimited);
}

#[test]
fn refusals_say_what_was_wrong_and_what_works() {
    for (text, problem) in [
        ("", "it is empty"),
        ("\u{a0}", "it is empty"),
        ("lots", "it does not start with a number"),
        ("NaN", "it does not start with a number"),
        ("inf", "it does not start with a number"),
        ("-5 MB", "it is negative"),
        ("−5 MB", "it is negative"),
        ("1,500 MB", "\"1,500\" may have a decimal comma or a separator of thousands"),
        ("1.2.3 MB", "\"1.2.3\" is not a number"),
        ("15 00 MB", "\"15 00\" is not a number"),
        ("5. MB", "\"5.\" is not a number"),
        (".", "\".\" is not a number"),
        ("1e3 MB", "\"e3mb\" is not one of the units B, KB, MB, GB, TB, KiB, MiB, GiB, TiB"),
    ] {
        let expected = format!("{text:?} is not a data volume: {problem}; write for example \"1.5 GB\"");
        assert_eq!(megabytes(text), Err(expected));
    }
    assert!(megabytes(&"9".repeat(400)).unwrap_err().contains("longer than 64"));
}

#[test]
fn speeds_as_people_write_them() {
    let read = |text: &str| parse_speed_mbps(text, SpeedUnit::Mbps);
    for (text, expected) in [
        ("100 Mbps", 100.0),
        ("512 kbps", 0.512),
        ("1 Gbit/s", 1_000.0),
        ("2.5 gbps", 2_500.0),
        ("20 MBPS", 20.0),
        ("20 Mb/s", 20.0),
        ("2 Mbyte/s", 16.0),
        ("1 Tbit", 1e6),
        ("64000 bit/s", 0.064),
        ("7,2", 7.2),
    ] {
        assert!((read(text).unwrap() / expected - 1.0).abs() < 1e-15, "{text}: {:?}", read(text));
    }
    assert_eq!(parse_speed_mbps("2", SpeedUnit::Gbps), Ok(2_000.0));
    for text in ["10 MB/s", "10 MBps"] {
        assert!(matches!(read(text).unwrap_err().problem, QuantityProblem::BitsOrBytes { .. }), "{text}");
    }
    assert!(matches!(read("10 mph").unwrap_err().problem, QuantityProblem::UnknownUnit { .. }));
    assert!(read("unlimited").is_err() && read("10 é").is_err());
}

#[test]
fn durations_as_people_write_them() {
    let read = |text: &str| parse_duration_days(text, DurationUnit::Days);
    for (text, expected) in [
        ("30 days", 30.0),
        ("30-day", 30.0),
        ("1 Month", 30.0),
        ("1 week", 7.0),
        ("24 hours", 1.0),
        ("1 day", 1.0),
        ("90 min", 0.0625),
        ("2yrs", 730.0),
        ("7", 7.0),
        ("P30D", 30.0),
        ("p1m", 30.0),
        ("P1Y2M3W4D", 365.0 + 60.0 + 21.0 + 4.0),
        ("PT12H", 0.5),
        ("P1DT1,5H", 1.0625),
    ] {
        assert_eq!(read(text), Ok(expected), "{text}");
    }
    assert_eq!(parse_duration_days("2", DurationUnit::Months), Ok(60.0));
    for text in ["P", "PT", "P30", "PD", "P1D1M", "P-1D", "P1.D", "P1e3D", "PinfD", "P1.2.3D"] {
        assert_eq!(read(text).unwrap_err().problem, QuantityProblem::Iso, "{text}");
    }
    let minute_or_month = read("1 m").unwrap_err().to_string();
    assert!(minute_or_month.contains("\"m\" is not one of the units minutes,"), "{minute_or_month}");
}

#[test]
fn memory_sizes_there_and_back() {
    for (text, bytes, back) in [
        ("2GiB", 2 << 30, "2 GiB"),
        ("1.5 MiB", 3 << 19, "1.5 MiB"),
        ("8 GB", 8_000_000_000, "7.45 GiB"),
        ("4096", 4_096, "4 KiB"),
        ("17 B", 17, "17 B"),
        ("1 TiB", 1 << 40, "1 TiB"),
        ("0", 0, "0 B"),
    ] {
        assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        assert_eq!(format_bytes(bytes), back);
    }
    assert_eq!(format_bytes((1 << 20) - 1), "1 MiB");
    assert_eq!(format_bytes(u64::MAX), "16777216 TiB");
    assert_eq!(parse_bytes("16777216 TiB").unwrap_err().problem, QuantityProblem::TooLarge);
    assert!(parse_bytes("2G").unwrap_err().to_string().ends_with("write for example \"2GiB\""));
}

#[test]
fn counts_and_seconds_for_people() {
    let counts = [0, 999, 1_000, 12_345_678].map(format_count);
    assert_eq!(counts, ["0", "999", "1,000", "12,345,678"]);
    for (seconds, text) in [
        (0.0, "0 ms"),
        (0.12, "120 ms"),
        (0.9996, "1.0 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (245.0, "4 min 05 s"),
        (3_599.7, "1 h 00 min"),
        (3_725.0, "1 h 02 min"),
        (f64::NAN, "n/a"),
        (-1.0, "n/a"),
    ] {
        assert_eq!(format_seconds(seconds), text, "{seconds}");
    }
}

fn check_any(text: &str) -> Result<(), TestCaseError> {
    let volume = parse_volume_mb(text, VolumeUnit::Tb, VolumeStep::Decimal).ok().and_then(Volume::limit_mb);
    let speed = parse_speed_mbps(text, SpeedUnit::Gbps).ok();
    let days = parse_duration_days(text, DurationUnit::Years).ok();
    let _ = parse_bytes(text);
    for value in [volume, speed, days].into_iter().flatten() {
        prop_assert!(value.is_finite() && value >= 0.0, "{text:?} gave {value}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_panics_or_gives_a_bad_number(text in any::<String>()) {
        check_any(&text)?;
    }

    #[test]
    fn nothing_near_a_quantity_panics(
        sign in "[-+−]?",
        number in "[0-9]{0,60}([.,' \u{a0}’][0-9]{1,3}){0,3}",
        unit in "[ \u{a0}-]?(kb|MB|gB|TiB|bps|Mbit/s|MB/s|days|h|w|month|y|[^0-9]{0,3})",
    ) {
        check_any(&format!("{sign}{number}{unit}"))?;
    }

    #[test]
    fn nothing_near_an_iso_duration_panics(text in "[pP]([0-9]{0,20}[.,]?[0-9]{0,2}[yYmMwWdDtThHsS]){0,5}") {
        check_any(&text)?;
    }

    #[test]
    fn formatted_sizes_read_back_within_rounding(bytes in 0_u64..1 << 50) {
        let back = parse_bytes(&format_bytes(bytes)).unwrap() as f64;
        prop_assert!((back - bytes as f64).abs() <= 0.006 * bytes as f64);
    }

    #[test]
    fn formatted_seconds_never_panic(seconds in prop::num::f64::ANY) {
        prop_assert!(!format_seconds(seconds).is_empty());
    }
}
