//! What the charts share: the look, text that fits, and ticks at round numbers.

use std::fmt::Write as _;

use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;
use plotters::style::FontStyle;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Titles and names.
pub(super) const INK: RGBColor = RGBColor(0x1f, 0x29, 0x33);
/// Labels and second lines.
pub(super) const GREY: RGBColor = RGBColor(0x61, 0x6e, 0x7c);
pub(super) const GRID: RGBColor = RGBColor(0xe6, 0xea, 0xee);
pub(super) const BLUE: RGBColor = RGBColor(0x3f, 0x6f, 0xa3);
pub(super) const OCHRE: RGBColor = RGBColor(0xd9, 0x9a, 0x4e);
pub(super) const RED: RGBColor = RGBColor(0xb9, 0x4a, 0x48);

/// Named from the particular to the general: whatever draws the file has one of them.
const FONTS: &str = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif";
/// Plotters divides a font size by this before it writes it.
const PLOTTERS_EM: f64 = 1.24;

/// The backend writes into memory, so this error has no instance that can occur.
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

pub(super) type Point = (i32, i32);

/// A white page in pixels, origin at the top left.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

#[derive(Clone, Copy)]
pub(super) enum Align {
    Left,
    Middle,
    Right,
}

/// How a piece of text looks; its anchor is on the middle of the line.
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub size: f64,
    pub bold: bool,
    pub color: RGBColor,
    pub align: Align,
}

pub(super) const TITLE: Type = Type { size: 19.0, bold: true, color: INK, align: Align::Left };
pub(super) const SUBTITLE: Type = Type { size: 13.0, bold: false, color: GREY, align: Align::Left };
pub(super) const LABEL: Type = Type { size: 12.0, bold: false, color: GREY, align: Align::Left };

impl Type {
    pub(super) fn align(self, align: Align) -> Self {
        Self { align, ..self }
    }

    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(super) fn color(self, color: RGBColor) -> Self {
        Self { color, ..self }
    }
}

/// The SVG text of what `draw` puts on a page of that size.
pub(super) fn render(size: (u32, u32), draw: impl FnOnce(&Canvas<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    let drawn = {
        let canvas = Canvas { area: SVGBackend::with_string(&mut svg, size).into_drawing_area() };
        canvas.area.fill(&WHITE).and_then(|()| draw(&canvas)).and_then(|()| canvas.area.present())
    };
    drawn.expect("the SVG backend fails only on files, and this one writes into a String");
    svg
}

impl Canvas<'_> {
    pub(super) fn text(&self, text: &str, at: Point, look: Type) -> Drawn {
        let horizontal = match look.align {
            Align::Left => HPos::Left,
            Align::Middle => HPos::Center,
            Align::Right => HPos::Right,
        };
        let weight = if look.bold { FontStyle::Bold } else { FontStyle::Normal };
        let style = (FONTS, look.size * PLOTTERS_EM)
            .into_font()
            .style(weight)
            .color(&look.color)
            .pos(Pos::new(horizontal, VPos::Center));
        // Control characters are not allowed in XML, and names come from the user's data.
        let clean = text.replace(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'), " ");
        self.area.draw_text(&clean, &style, at)
    }

    /// A filled rectangle, also used for straight lines, which stay sharp this way.
    pub(super) fn rectangle(&self, from: Point, to: Point, color: impl Color) -> Drawn {
        self.area.draw(&Rectangle::new([from, to], color.filled()))
    }

    pub(super) fn curve(&self, points: Vec<Point>, color: RGBColor) -> Drawn {
        self.area.draw(&PathElement::new(points, color.stroke_width(2)))
    }

    /// A dot with a white rim, which keeps it apart from the curve it lies on; a small one without,
    /// or a row of them would cut the curve to pieces.
    pub(super) fn dot(&self, at: Point, radius: i32, color: RGBColor) -> Drawn {
        if radius > 2 {
            self.area.draw(&Circle::new(at, radius + 1, WHITE.filled()))?;
        }
        self.area.draw(&Circle::new(at, radius, color.filled()))
    }
}

/// Ticks at round numbers (1, 2 or 5 times a power of ten) that enclose the values.
pub(super) struct Axis {
    pub ticks: Vec<f64>,
    decimals: usize,
}

impl Axis {
    /// About `wanted` steps over `low..=high`; both must be finite.
    pub(super) fn over(low: f64, high: f64, wanted: f64) -> Self {
        // A flat or enormous range still needs an axis: one unit of its own size.
        let (low, high) = (low.clamp(-1e300, 1e300), high.clamp(-1e300, 1e300));
        let width = high - low;
        let spread = if width > 1e-12 * low.abs().max(high.abs()) { width } else { low.abs().max(1e-6) };
        let rough = (spread / wanted).max(f64::MIN_POSITIVE);
        let power = 10.0_f64.powi(rough.log10().floor() as i32);
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&step| step >= rough * 0.999);
        let step = step.unwrap_or(10.0 * power);
        let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
        let steps = (last - first).clamp(1.0, 50.0) as u32;
        let ticks = (0..=steps).map(|i| (first + f64::from(i)) * step).collect();
        let decimals = (-(step * 1.001).log10().floor()).clamp(0.0, 9.0) as usize;
        Self { ticks, decimals }
    }

    pub(super) fn low(&self) -> f64 {
        self.ticks.first().copied().unwrap_or(0.0)
    }

    pub(super) fn high(&self) -> f64 {
        self.ticks.last().copied().unwrap_or(1.0)
    }

    /// Where a value lies between the first tick (0) and the last (1).
    pub(super) fn share(&self, value: f64) -> f64 {
        ((value - self.low()) / (self.high() - self.low())).clamp(0.0, 1.0)
    }

    /// The labels of all ticks: as many decimals as the step needs, thousands as k, M, G or T when all
    /// the axis is large.
    pub(super) fn labels(&self) -> Vec<String> {
        let largest = self.ticks.iter().fold(0.0_f64, |largest, tick| largest.max(tick.abs()));
        let (unit, suffix) = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")]
            .into_iter()
            .find(|&(limit, _)| largest >= limit)
            .map_or((1.0, ""), |(limit, suffix)| (if suffix == "k" { 1e3 } else { limit }, suffix));
        let whole = |tick: &f64| (tick / unit * 100.0).round() % 100.0 == 0.0;
        let decimals = match suffix {
            "" => self.decimals,
            _ if self.ticks.iter().all(whole) => 0,
            _ if self.ticks.iter().all(|tick| (tick / unit * 100.0).round() % 10.0 == 0.0) => 1,
            _ => 2,
        };
        let label = |&tick: &f64| match tick {
            // No "-0.00", no "0.0k".
            tick if tick.abs() < 1e-300 || (tick / unit).abs() < 1e-9 => "0".to_owned(),
            tick if largest >= 1e15 => format!("{tick:.1e}"),
            tick => format!("{:.decimals$}{suffix}", tick / unit).replace('-', "−"),
        };
        self.ticks.iter().map(label).collect()
    }
}

/// About how many pixels wide a text is, on the generous side: fonts differ.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ';' | ':' | '\'' | '|' | '!' => 0.28,
        'f' | 't' | 'r' | ' ' | '(' | ')' | '-' | '/' => 0.36,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.90,
        'A'..='Z' => 0.70,
        c if c < '\u{1100}' => 0.57,
        _ => 1.0,
    };
    text.chars().map(em).sum::<f64>() * size * 1.04
}

/// The text on at most `lines` lines of that many pixels, broken between words, with "…" where it
/// does not fit.
pub(super) fn wrapped(text: &str, size: f64, pixels: f64, lines: usize) -> Vec<String> {
    let mut done = Vec::new();
    let mut line = String::new();
    let mut words = text.split_whitespace().peekable();
    while let Some(&word) = words.peek() {
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        let last = done.len() + 1 == lines;
        if width(&longer, size) <= pixels {
            line = longer;
            words.next();
        } else if !last && !line.is_empty() {
            done.push(std::mem::take(&mut line));
        } else {
            done.push(cut(&longer, size, pixels));
            words.next();
            if last {
                return done;
            }
        }
    }
    if !line.is_empty() {
        done.push(line);
    }
    done
}

/// The text cut so that it fits with its "…"; as it is when it fits.
fn cut(text: &str, size: f64, pixels: f64) -> String {
    let mut kept = text.to_owned();
    while width(&kept, size) + size > pixels && kept.pop().is_some() {}
    let mut kept = kept.trim_end_matches([' ', ',', '.', ';']).to_owned();
    let _ = write!(kept, "…");
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        let axis = Axis::over(0.213, 0.347, 4.0);
        assert_eq!(axis.labels(), ["0.20", "0.25", "0.30", "0.35"]);
        assert_eq!(Axis::over(0.0, 2_350_000.0, 4.0).labels(), ["0", "1M", "2M", "3M"]);
        assert_eq!(Axis::over(0.0, 47_000.0, 5.0).labels(), ["0", "10k", "20k", "30k", "40k", "50k"]);
        assert_eq!(Axis::over(-0.04, 0.05, 4.0).labels(), ["−0.05", "0", "0.05"]);
        for (low, high) in
            [(0.0, 0.0), (5.0, 5.0), (-3.0, -3.0), (0.0, f64::MAX), (-f64::MAX, f64::MAX), (0.0, 1e-320)]
        {
            let axis = Axis::over(low, high, 4.0);
            assert!(axis.high() > axis.low() && axis.labels().len() == axis.ticks.len(), "{low} {high}");
            assert!(!axis.share(high).is_nan(), "{low} {high}");
        }
    }

    #[test]
    fn long_texts_are_broken_and_then_cut() {
        assert_eq!(wrapped("short", 12.0, 100.0, 2), ["short"]);
        assert!(wrapped("  ", 12.0, 100.0, 2).is_empty());
        let lines =
            wrapped("spends much more, buys more often, prefers weekends, and a lot besides", 12.0, 150.0, 2);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("spends much more") && lines[1].ends_with('…'), "{lines:?}");
        assert!(lines.iter().all(|line| width(line, 12.0) <= 150.0), "{lines:?}");
        let one_word = wrapped(&"x".repeat(200), 12.0, 80.0, 2);
        assert!(one_word.len() == 1 && one_word[0].ends_with('…') && width(&one_word[0], 12.0) <= 80.0);
    }
}
