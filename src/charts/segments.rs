//! Who the segments are, at a glance: how many customers and how much of the revenue each one has.

use plotters::style::{RGBColor, WHITE};

use super::canvas::{
    Align, Axis, BLUE, Canvas, Drawn, GRID, INK, LABEL, OCHRE, SUBTITLE, TITLE, Type, render, width, wrapped,
};
use crate::quantities::format_count;

/// One segment.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentBar {
    pub name: String,
    pub customers: u64,
    /// Share of all customers, 0 to 1.
    pub customers_share: f64,
    /// Share of all revenue, 0 to 1.
    pub revenue_share: f64,
    /// Revenue over customers, in the currency of the input.
    pub revenue_per_customer: f64,
}

const WIDTH: i32 = 980;
const MARGIN: i32 = 28;
/// The columns: names, bars, and the right edges of the two columns of numbers.
const NAMES_WIDTH: f64 = 256.0;
const BARS: (i32, i32) = (306, 676);
const CUSTOMERS: i32 = 804;
const REVENUE: i32 = WIDTH - MARGIN;
/// Where the rows start, how high each one is, and what is left below them for the axis.
const TOP: i32 = 136;
const ROW: i32 = 42;
const FOOT: i32 = 66;
const BAR: i32 = 11;

/// A row for each segment, in the order given: its name, its share of the customers and of the
/// revenue as a pair of bars, its customers and its revenue per customer. 980 pixels wide; the
/// height grows by 42 for each segment.
pub fn segments(segments: &[SegmentBar]) -> String {
    let rows = i32::try_from(segments.len()).unwrap_or(i32::MAX).clamp(1, 100_000);
    let bottom = TOP + rows * ROW;
    render((WIDTH as u32, (bottom + FOOT) as u32), |canvas| {
        canvas.text("Segments by size and revenue", (MARGIN, 34), TITLE)?;
        canvas.text(&summary(segments), (MARGIN, 60), SUBTITLE)?;
        if segments.is_empty() {
            return canvas.text("no segments", (WIDTH / 2, TOP + ROW / 2), SUBTITLE.align(Align::Middle));
        }
        let largest = segments.iter().flat_map(|segment| [segment.customers_share, segment.revenue_share]);
        let largest = largest.filter(|share| share.is_finite()).fold(0.01, f64::max);
        let axis = Axis::over(0.0, largest * 100.0, 4.0);

        headings(canvas)?;
        share_axis(canvas, &axis, bottom)?;
        for (segment, row) in segments.iter().zip(0..rows) {
            one_row(canvas, &axis, segment, TOP + row * ROW)?;
        }
        canvas.rectangle((MARGIN, bottom), (REVENUE, bottom + 1), GRID)
    })
}

fn summary(segments: &[SegmentBar]) -> String {
    let customers = segments.iter().fold(0_u64, |sum, segment| sum.saturating_add(segment.customers));
    let plural = if segments.len() == 1 { "" } else { "s" };
    format!("{} segment{plural}, {} customers", segments.len(), format_count(customers))
}

/// The legend over the bars and the names of the columns of numbers.
fn headings(canvas: &Canvas<'_>) -> Drawn {
    let y = TOP - 30;
    let mut x = BARS.0;
    for (name, color, advance) in [("share of customers", BLUE, 144), ("share of revenue", OCHRE, 0)] {
        canvas.rectangle((x, y - 5), (x + 11, y + 6), color)?;
        canvas.text(name, (x + 18, y), LABEL.color(INK))?;
        x += advance;
    }
    canvas.text("Segment", (MARGIN, y), LABEL.bold().color(INK))?;
    canvas.text("Customers", (CUSTOMERS, y), LABEL.bold().color(INK).align(Align::Right))?;
    canvas.text("Revenue per customer", (REVENUE, y - 8), LABEL.bold().color(INK).align(Align::Right))?;
    canvas.text("input's currency", (REVENUE, y + 8), LABEL.align(Align::Right))
}

fn share_axis(canvas: &Canvas<'_>, axis: &Axis, bottom: i32) -> Drawn {
    for (tick, label) in axis.ticks.iter().zip(axis.labels()) {
        let x = reach(axis, *tick);
        canvas.rectangle((x, TOP), (x + 1, bottom + 5), GRID)?;
        canvas.text(&label, (x, bottom + 17), LABEL.align(Align::Middle))?;
    }
    let middle = i32::midpoint(BARS.0, BARS.1);
    canvas.text(
        "share of all customers and of all revenue, %",
        (middle, bottom + 42),
        LABEL.align(Align::Middle),
    )
}

fn one_row(canvas: &Canvas<'_>, axis: &Axis, segment: &SegmentBar, top: i32) -> Drawn {
    let middle = top + ROW / 2;
    canvas.rectangle((MARGIN, top), (REVENUE, top + 1), GRID)?;
    let name = LABEL.color(INK);
    let lines = wrapped(&segment.name, name.size, NAMES_WIDTH, 2);
    let first = if lines.len() == 2 { middle - 8 } else { middle };
    for (line, y) in lines.iter().zip([first, first + 16]) {
        canvas.text(line, (MARGIN, y), name)?;
    }
    bar(canvas, axis, segment.customers_share, middle - BAR - 1, BLUE)?;
    bar(canvas, axis, segment.revenue_share, middle + 2, OCHRE)?;
    let number = name.align(Align::Right);
    canvas.text(&format_count(segment.customers), (CUSTOMERS, middle), number)?;
    canvas.text(&money(segment.revenue_per_customer), (REVENUE, middle), number)
}

/// A bar with its percentage behind it.
fn bar(canvas: &Canvas<'_>, axis: &Axis, share: f64, top: i32, color: RGBColor) -> Drawn {
    let (end, label) = if share.is_finite() {
        (reach(axis, share * 100.0), format!("{:.1} %", share * 100.0).replace('-', "−"))
    } else {
        (BARS.0, "n/a".to_owned())
    };
    // A share too small to see still has a bar.
    let end = if share > 0.0 { end.max(BARS.0 + 2) } else { end };
    if end > BARS.0 {
        canvas.rectangle((BARS.0, top), (end, top + BAR), color)?;
    }
    let small = Type { size: 11.0, ..LABEL };
    // Paper behind the number, so that no line of the grid runs through it.
    let paper = (end + 5, end + 9 + width(&label, small.size) as i32);
    canvas.rectangle((paper.0, top), (paper.1, top + BAR), WHITE)?;
    canvas.text(&label, (end + 7, top + BAR / 2), small)
}

/// The pixel of a percentage.
fn reach(axis: &Axis, percent: f64) -> i32 {
    BARS.0 + (axis.share(percent) * f64::from(BARS.1 - BARS.0)).round() as i32
}

/// Two decimals below a thousand, whole units and thousands set apart above.
fn money(value: f64) -> String {
    let size = value.abs();
    let sign = if value < 0.0 { "−" } else { "" };
    match size {
        size if !size.is_finite() => "n/a".to_owned(),
        size if size < 999.995 => format!("{sign}{size:.2}"),
        size if size < 1e15 => format!("{sign}{}", format_count(size.round() as u64)),
        size => format!("{sign}{size:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(count: usize) -> Vec<SegmentBar> {
        let total = (1..=count).map(|i| 1.0 / i as f64).sum::<f64>();
        let one = |i: usize| SegmentBar {
            name: format!("Segment {i}: buys <b> & \"more\""),
            customers: 1_234_567 / i as u64,
            customers_share: 1.0 / i as f64 / total,
            revenue_share: (if i.is_multiple_of(3) { 1.6 } else { 0.7 }) / i as f64 / total,
            revenue_per_customer: 17.5 * i as f64,
        };
        (1..=count).map(one).collect()
    }

    #[test]
    fn it_shows_names_shares_counts_and_units() {
        let svg = segments(&base(3));
        for text in [
            "Segments by size and revenue",
            "3 segments, 2,263,372 customers",
            "Segment 1: buys &lt;b&gt; &amp; &quot;more&quot;",
            "54.5 %",
            "38.2 %",
            "411,522",
            "52.50",
            "share of all customers and of all revenue, %",
        ] {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
    }

    #[test]
    fn the_height_grows_with_the_segments_and_the_bytes_repeat() {
        let svg = segments(&base(100));
        assert_eq!(svg, segments(&base(100)));
        let height = TOP + 100 * ROW + FOOT;
        assert!(svg.starts_with(&format!("<svg width=\"{WIDTH}\" height=\"{height}\"")), "{}", &svg[..80]);
        // Two for each segment and one in the name of the axis.
        assert_eq!(svg.matches(" %\n").count(), 2 * 100 + 1);
    }

    #[test]
    fn missing_numbers_and_control_characters_do_not_break_the_page() {
        let mut bars = base(2);
        bars[0].revenue_share = f64::NAN;
        bars[0].revenue_per_customer = f64::INFINITY;
        bars[1].name = "one\u{0}two\u{1b}".to_owned();
        bars[1].revenue_share = -0.02;
        let svg = segments(&bars);
        assert!(svg.contains("n/a") && svg.contains("−2.0 %"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.chars().any(|c| c.is_control() && c != '\n'), "{svg}");
        assert!(segments(&[]).contains("no segments"));
    }

    #[test]
    fn money_is_readable_at_every_size() {
        let texts = [0.0, 12.345, -3.5, 999.996, 1_234_567.4, f64::NAN].map(money);
        assert_eq!(texts, ["0.00", "12.35", "−3.50", "1,000", "1,234,567", "n/a"]);
    }
}
