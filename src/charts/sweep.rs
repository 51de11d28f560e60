//! How the quality of a segmentation changes with the number of segments.

use super::canvas::{
    Align, Axis, BLUE, Canvas, Drawn, GRID, INK, LABEL, Point, RED, SUBTITLE, TITLE, render,
};
use plotters::style::{Color, RGBColor};

/// One number of segments that was tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SweepPoint {
    /// The number of segments.
    pub k: usize,
    /// Mean silhouette, -1 to 1.
    pub silhouette: f64,
    /// Standard error of the silhouette; NaN or 0 draws no bar.
    pub standard_error: f64,
    /// Sum of squared distances of customers to the centre of their segment, in scaled units.
    pub inertia: f64,
}

const WIDTH: i32 = 860;
const HEIGHT: i32 = 640;
const LEFT: i32 = 76;
const RIGHT: i32 = WIDTH - 36;
/// Top and bottom of the two plots.
const UPPER: (i32, i32) = (146, 352);
const LOWER: (i32, i32) = (430, 572);

/// Two panels over the number of segments: the silhouette with its standard errors and the inertia;
/// the chosen number is marked in both. 860 × 640 pixels.
pub fn sweep(points: &[SweepPoint], chosen_k: usize) -> String {
    let mut points = points.to_vec();
    points.sort_by_key(|point| point.k);
    render((WIDTH as u32, HEIGHT as u32), |canvas| {
        canvas.text("Number of segments", (28, 34), TITLE)?;
        canvas.text(&summary(&points, chosen_k), (28, 60), SUBTITLE)?;
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return canvas.text(
                "no number of segments was tried",
                (WIDTH / 2, HEIGHT / 2),
                SUBTITLE.align(Align::Middle),
            );
        };
        let across = Across::new(first.k, last.k);
        mark_chosen(canvas, &points, &across, chosen_k)?;
        silhouette(canvas, &points, &across, chosen_k)?;
        inertia(canvas, &points, &across, chosen_k)?;
        numbers_of_segments(canvas, &points, &across, chosen_k)
    })
}

fn summary(points: &[SweepPoint], chosen_k: usize) -> String {
    match points.iter().find(|point| point.k == chosen_k) {
        Some(SweepPoint { silhouette, standard_error, .. }) if silhouette.is_finite() => {
            let error =
                if *standard_error > 0.0 { format!(" ± {standard_error:.4}") } else { String::new() };
            format!("{chosen_k} segments chosen: silhouette {silhouette:.3}{error}").replace('-', "−")
        }
        _ => format!("{chosen_k} segments chosen"),
    }
}

/// From a number of segments to a pixel.
struct Across {
    first: f64,
    step: f64,
    left: f64,
}

impl Across {
    fn new(first: usize, last: usize) -> Self {
        const MARGIN: f64 = 28.0;
        let (first, last) = (first as f64, last as f64);
        let room = f64::from(RIGHT - LEFT) - 2.0 * MARGIN;
        // A single number stands in the middle.
        if last > first {
            Self { first, step: room / (last - first), left: f64::from(LEFT) + MARGIN }
        } else {
            Self { first, step: room, left: f64::from(LEFT) + MARGIN + room / 2.0 }
        }
    }

    /// Half the width of a mark: `most`, or less where the numbers stand close, but `least`.
    fn room(&self, least: i32, most: i32) -> i32 {
        ((self.step / 5.0) as i32).clamp(least, most)
    }

    fn x(&self, k: usize) -> i32 {
        (self.left + (k as f64 - self.first) * self.step).round() as i32
    }
}

/// A soft band through both panels, and its name above the upper one, where no curve can be.
fn mark_chosen(canvas: &Canvas<'_>, points: &[SweepPoint], across: &Across, chosen_k: usize) -> Drawn {
    if !points.iter().any(|point| point.k == chosen_k) {
        return Ok(());
    }
    let half = (across.step * 0.4).clamp(5.0, 14.0) as i32;
    let x = across.x(chosen_k);
    for (top, bottom) in [UPPER, LOWER] {
        canvas.rectangle((x - half, top), (x + half, bottom), RED.mix(0.10))?;
    }
    // Near an edge the text leans inwards.
    let text = format!("chosen: {chosen_k}");
    let align = match x {
        x if x < LEFT + 60 => Align::Left,
        x if x > RIGHT - 60 => Align::Right,
        _ => Align::Middle,
    };
    let x = match align {
        Align::Left => x - half,
        Align::Middle => x,
        Align::Right => x + half,
    };
    canvas.text(&text, (x, UPPER.0 - 11), LABEL.bold().color(RED).align(align))
}

fn silhouette(canvas: &Canvas<'_>, points: &[SweepPoint], across: &Across, chosen_k: usize) -> Drawn {
    heading(canvas, UPPER.0 - 42, "Silhouette", "from −1 to 1, higher is better; bars: ± 1 standard error")?;
    let bar = |point: &SweepPoint| if point.standard_error > 0.0 { point.standard_error } else { 0.0 };
    let known = points.iter().filter(|point| point.silhouette.is_finite() && bar(point).is_finite());
    let ends = known.clone().flat_map(|point| [point.silhouette - bar(point), point.silhouette + bar(point)]);
    let Some((low, high)) = range(ends) else { return Ok(()) };
    let axis = Axis::over(low, high, 4.0);
    grid(canvas, UPPER, &axis)?;
    let y = |value| height(UPPER, &axis, value);
    for point in known.clone().filter(|point| bar(point) > 0.0) {
        let (x, color) = (across.x(point.k), color_of(point, chosen_k));
        let (top, bottom) = (y(point.silhouette + bar(point)), y(point.silhouette - bar(point)));
        canvas.rectangle((x - 1, top), (x + 1, bottom), color.mix(0.65))?;
        let cap = across.room(2, 4);
        for end in [top, bottom] {
            canvas.rectangle((x - cap, end - 1), (x + cap, end + 1), color.mix(0.65))?;
        }
    }
    let places = known.map(|point| (point, (across.x(point.k), y(point.silhouette))));
    dotted_curve(canvas, across, &places.collect::<Vec<_>>(), chosen_k)
}

fn inertia(canvas: &Canvas<'_>, points: &[SweepPoint], across: &Across, chosen_k: usize) -> Drawn {
    heading(canvas, LOWER.0 - 26, "Inertia", "mean squared distance to the segment's centre, scaled units²")?;
    let known = points.iter().filter(|point| point.inertia.is_finite());
    // From zero, so that the bend of the curve is not a matter of the axis.
    let Some((low, high)) = range(known.clone().map(|point| point.inertia).chain([0.0])) else {
        return Ok(());
    };
    let axis = Axis::over(low, high, 4.0);
    grid(canvas, LOWER, &axis)?;
    let places = known.map(|point| (point, (across.x(point.k), height(LOWER, &axis, point.inertia))));
    dotted_curve(canvas, across, &places.collect::<Vec<_>>(), chosen_k)
}

fn heading(canvas: &Canvas<'_>, y: i32, name: &str, unit: &str) -> Drawn {
    canvas.text(name, (28, y), SUBTITLE.bold().color(INK))?;
    canvas.text(unit, (28 + if name.len() > 8 { 76 } else { 56 }, y), LABEL)
}

fn grid(canvas: &Canvas<'_>, plot: (i32, i32), axis: &Axis) -> Drawn {
    for (tick, label) in axis.ticks.iter().zip(axis.labels()) {
        let y = height(plot, axis, *tick);
        canvas.rectangle((LEFT, y), (RIGHT, y + 1), GRID)?;
        canvas.text(&label, (LEFT - 10, y), LABEL.align(Align::Right))?;
    }
    Ok(())
}

fn dotted_curve(
    canvas: &Canvas<'_>,
    across: &Across,
    places: &[(&SweepPoint, Point)],
    chosen_k: usize,
) -> Drawn {
    canvas.curve(places.iter().map(|&(_, place)| place).collect(), BLUE)?;
    for &(point, place) in places {
        let radius = if point.k == chosen_k { 5 } else { across.room(2, 3) };
        canvas.dot(place, radius, color_of(point, chosen_k))?;
    }
    Ok(())
}

/// The numbers under the lower panel: all of them, or the multiples of 2, 5, 10, ... that have room, or
/// whatever has room.
fn numbers_of_segments(
    canvas: &Canvas<'_>,
    points: &[SweepPoint],
    across: &Across,
    chosen_k: usize,
) -> Drawn {
    const APART: i32 = 26;
    let y = LOWER.1 + 18;
    let has_room = |stride: &usize| *stride as f64 * across.step >= f64::from(APART);
    let stride = [1, 2, 5, 10, 20, 50, 100].into_iter().find(has_room).unwrap_or(1_000);
    // A sweep in steps (2, 7, 12, ...) may hold no round number; then any number that has room will do.
    let round = |k: usize| k.is_multiple_of(stride);
    let any = points.iter().filter(|point| round(point.k)).count() < 3;
    // The chosen number is always named; its neighbours make room.
    let chosen = points.iter().find(|point| point.k == chosen_k).map(|point| across.x(point.k));
    let mut last = None;
    for k in points.iter().map(|point| point.k) {
        let x = across.x(k);
        let near = |other: Option<i32>| other.is_some_and(|other| (x - other).abs() < APART);
        if Some(x) == chosen {
            if last != chosen {
                canvas.text(&k.to_string(), (x, y), LABEL.bold().color(RED).align(Align::Middle))?;
            }
        } else if (any || round(k)) && !near(chosen) && !near(last) {
            canvas.text(&k.to_string(), (x, y), LABEL.align(Align::Middle))?;
        } else {
            continue;
        }
        last = Some(x);
    }
    canvas.text("number of segments", (i32::midpoint(LEFT, RIGHT), y + 26), LABEL.align(Align::Middle))
}

fn color_of(point: &SweepPoint, chosen_k: usize) -> RGBColor {
    if point.k == chosen_k { RED } else { BLUE }
}

fn height((top, bottom): (i32, i32), axis: &Axis, value: f64) -> i32 {
    bottom - (axis.share(value) * f64::from(bottom - top)).round() as i32
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite());
    finite.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(last: usize) -> Vec<SweepPoint> {
        let point = |k: usize| SweepPoint {
            k,
            silhouette: 0.34 - 0.012 * (k as f64 - 8.0).abs() + 0.004 * (k % 3) as f64,
            standard_error: 0.004 + 0.0004 * k as f64,
            inertia: 9.2e6 / (k as f64).powf(0.6),
        };
        (2..=last).map(point).collect()
    }

    #[test]
    fn a_sweep_in_steps_is_labelled_too() {
        let stepped: Vec<SweepPoint> = points(97).into_iter().filter(|point| point.k % 5 == 2).collect();
        let drawn = sweep(&stepped, 7);
        for k in [2, 7, 12, 52, 97] {
            assert!(drawn.contains(&format!("\n{k}\n")), "{k}");
        }
    }

    #[test]
    fn it_names_the_panels_the_units_and_the_chosen_number() {
        let svg = sweep(&points(15), 8);
        for text in [
            "Silhouette",
            "Inertia",
            "number of segments",
            "chosen: 8",
            "± 1 standard error",
            "scaled units²",
        ] {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
        assert!(svg.contains("8 segments chosen: silhouette 0.348 ± 0.007"), "{svg}");
        // Thirteen dots and one larger one in each panel, each with its rim.
        assert_eq!(svg.matches("<circle").count(), 2 * 2 * 14);
        assert_eq!(svg.matches("r=\"5\" ").count(), 2, "{svg}");
    }

    #[test]
    fn the_same_points_in_any_order_give_the_same_bytes() {
        let mut reversed = points(12);
        reversed.reverse();
        assert_eq!(sweep(&points(12), 5), sweep(&reversed, 5));
        assert_ne!(sweep(&points(12), 5), sweep(&points(12), 6));
    }

    #[test]
    fn nothing_one_point_and_missing_numbers_still_make_a_page() {
        assert!(sweep(&[], 3).contains("no number of segments was tried"));
        assert!(sweep(&points(2), 2).contains("chosen: 2"));
        assert!(!sweep(&points(9), 40).contains("chosen: 40"));
        let mut holes = points(6);
        holes[1] =
            SweepPoint { k: 3, silhouette: f64::NAN, standard_error: f64::NAN, inertia: f64::INFINITY };
        let svg = sweep(&holes, 3);
        assert!(svg.contains("3 segments chosen") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn crowded_numbers_are_thinned_but_the_chosen_one_stays() {
        let svg = sweep(&points(80), 37);
        let numbers = (2..=80).filter(|k| svg.contains(&format!(">\n{k}\n<"))).collect::<Vec<_>>();
        assert!(numbers.contains(&37) && (15..30).contains(&numbers.len()), "{numbers:?}");
    }
}
