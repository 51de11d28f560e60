//! How good several methods were: recall by length of the list, and accuracy against revenue.

use std::collections::BTreeSet;

use plotters::style::{RGBColor, WHITE};

use super::canvas::{
    Align, Axis, BLUE, Canvas, Drawn, GRID, INK, LABEL, OCHRE, Point, SUBTITLE, TITLE, Type, render, width,
    wrapped,
};

/// How a method stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The method this is about: blue and strong.
    Packwise,
    /// A variant of it: ochre.
    Variant,
    /// What it is compared with: grey.
    Other,
}

/// The recall of one method by length of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodLine {
    pub name: String,
    pub role: Role,
    /// `(k, mean recall at k from 0 to 1)`, in any order; k is 1 or more.
    pub recalls: Vec<(usize, f64)>,
}

/// One method at lists of one length.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodPoint {
    pub name: String,
    pub role: Role,
    /// Mean recall, 0 to 1.
    pub recall: f64,
    /// Share of the money that went to listed packages, 0 to 1.
    pub revenue: f64,
}

/// packwise at lists of that length under one strength of the re-ranking by price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    pub gamma: f64,
    pub recall: f64,
    pub revenue: f64,
}

const WIDTH: i32 = 980;
const MARGIN: i32 = 28;
const TOP: i32 = 122;
const LEFT: i32 = 76;
/// Lines and dots of the methods that are only compared with.
const PALE: RGBColor = RGBColor(0xa4, 0xaf, 0xba);
/// Lines that lead to a label.
const LEADER: RGBColor = RGBColor(0xcf, 0xd6, 0xdc);

impl MethodLine {
    fn at(&self, k: usize) -> Option<f64> {
        self.recalls.iter().find(|&&(other, _)| other == k).map(|&(_, recall)| recall)
    }
}

impl Role {
    /// Of lines and dots, and of text, which needs more contrast.
    fn look(self) -> (RGBColor, Type) {
        match self {
            Self::Packwise => (BLUE, LABEL.bold().color(BLUE)),
            Self::Variant => (OCHRE, LABEL.color(RGBColor(0x9c, 0x62, 0x1c))),
            Self::Other => (PALE, LABEL),
        }
    }
}

/// Right end of the lines, and the columns of names and values beside it.
const LINES_RIGHT: i32 = 690;
const NAMES: i32 = 722;
const GAP: i32 = 17;

/// A line for each method over the length of the list, on a logarithmic axis, with its name and its
/// last value at the right end. Values that are not finite are left out. 980 pixels wide, 560 high or
/// more when there are more names than fit beside the lines.
pub fn recall_by_k(methods: &[MethodLine]) -> String {
    let mut lines = methods.to_vec();
    for line in &mut lines {
        line.recalls.retain(|&(k, recall)| k > 0 && recall.is_finite());
        line.recalls.sort_by_key(|&(k, _)| k);
    }
    lines.retain(|line| !line.recalls.is_empty());
    // What stands out is drawn last.
    lines.sort_by_key(|line| std::cmp::Reverse(line.role));
    let bottom = TOP + (i32::try_from(lines.len()).unwrap_or(i32::MAX).min(10_000) * GAP).max(370);
    render((WIDTH as u32, (bottom + 68) as u32), |canvas| {
        canvas.text("How much of what customers bought is on their list", (MARGIN, 34), TITLE)?;
        let all = || lines.iter().flat_map(|line| &line.recalls);
        let ks = all().map(|&(k, _)| k).collect::<BTreeSet<_>>();
        let (Some(&first), Some(&last)) = (ks.first(), ks.last()) else { return nothing(canvas, bottom) };
        canvas.text(&best_at(&lines, last), (MARGIN, 60), SUBTITLE)?;
        heading(canvas, "Recall", "mean share of a customer's packages, by length k of the list")?;
        let axis = Axis::over(0.0, all().map(|&(_, recall)| recall).fold(0.01, f64::max), 5.0);
        rules(canvas, &axis, bottom, LINES_RIGHT)?;
        numbers_below(canvas, &ks, |k| across(k, first, last), bottom)?;
        let place = |&(k, recall): &(usize, f64)| (across(k, first, last), height(&axis, bottom, recall));
        names(canvas, &lines, last, bottom, place)?;
        for MethodLine { role, recalls, .. } in &lines {
            let strong = *role == Role::Packwise;
            // Shifted copies make a line thicker.
            let shifts = if strong { &[(0, -1), (0, 1), (-1, 0), (1, 0)][..] } else { &[(0, 0)] };
            for (right, down) in shifts {
                let places = recalls.iter().map(place).map(|(x, y)| (x + right, y + down));
                canvas.curve(places.collect(), role.look().0)?;
            }
            for place in recalls.iter().map(place) {
                canvas.dot(place, if strong { 5 } else { 2 }, role.look().0)?;
            }
        }
        Ok(())
    })
}

/// Who finds most in lists of `k`, and packwise or else the next.
fn best_at(lines: &[MethodLine], k: usize) -> String {
    let mut there = lines.iter().filter_map(|line| Some((line, line.at(k)?))).collect::<Vec<_>>();
    there.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.role.cmp(&b.0.role)));
    let packwise = there.iter().skip(1).find(|(line, _)| line.role == Role::Packwise);
    let named = |(line, recall): &(&MethodLine, f64)| format!("{} {}", line.name, percent(*recall));
    let texts = there.first().into_iter().chain(packwise.or(there.get(1))).map(named).collect::<Vec<_>>();
    format!("Most in lists of {k}: {}", texts.join("; "))
}

/// The pixel of a length of the list, on a logarithmic scale; a single length stands in the middle.
fn across(k: usize, first: usize, last: usize) -> i32 {
    let share =
        if last > first { (k as f64 / first as f64).ln() / (last as f64 / first as f64).ln() } else { 0.5 };
    LEFT + 16 + (share * f64::from(LINES_RIGHT - LEFT - 32)).round() as i32
}

/// The lengths below the plot, from the largest down, those that have room.
fn numbers_below(canvas: &Canvas<'_>, ks: &BTreeSet<usize>, x: impl Fn(usize) -> i32, bottom: i32) -> Drawn {
    let mut free = i32::MAX;
    for &k in ks.iter().rev() {
        let half = (width(&k.to_string(), LABEL.size) / 2.0) as i32 + 5;
        if x(k) + half < free {
            canvas.text(&k.to_string(), (x(k), bottom + 18), LABEL.align(Align::Middle))?;
            free = x(k) - half;
        }
    }
    let middle = i32::midpoint(LEFT, LINES_RIGHT);
    canvas.text("k, packages in the list (logarithmic)", (middle, bottom + 43), LABEL.align(Align::Middle))
}

/// The names and last values beside the lines, apart from each other and as near their line as that
/// allows, with a leader where they had to move.
fn names(
    canvas: &Canvas<'_>,
    lines: &[MethodLine],
    last: usize,
    bottom: i32,
    place: impl Fn(&(usize, f64)) -> Point,
) -> Drawn {
    let mut ends = lines.iter().filter_map(|line| Some((line, line.recalls.last()?))).collect::<Vec<_>>();
    // By the value rather than the pixel, so that names stand in the order of what they name.
    ends.sort_by(|(a, x), (b, y)| y.1.total_cmp(&x.1).then(a.role.cmp(&b.role)));
    let wanted = ends.iter().map(|(_, end)| place(end).1).collect();
    canvas.text(&format!("k = {last}"), (WIDTH - MARGIN, TOP - 26), LABEL.align(Align::Right))?;
    for ((line, end), at) in ends.into_iter().zip(spread(wanted, bottom)) {
        let (x, y) = place(end);
        canvas.curve(vec![(x + 6, y), (LINES_RIGHT + 4, y), (NAMES - 6, at)], LEADER)?;
        let (_, look) = line.role.look();
        if let Some(name) = wrapped(&line.name, look.size, 180.0, 1).first() {
            canvas.text(name, (NAMES, at), look)?;
        }
        let value = line.at(last).map_or("n/a".to_owned(), |recall| format!("{recall:.3}"));
        canvas.text(&value, (WIDTH - MARGIN, at), look.align(Align::Right))?;
    }
    Ok(())
}

/// Ascending places made `GAP` apart: moved down where they are too close, and up from the bottom.
fn spread(mut places: Vec<i32>, bottom: i32) -> Vec<i32> {
    let mut free = i32::MIN;
    for place in &mut places {
        *place = free.max(*place);
        free = *place + GAP;
    }
    let mut free = bottom;
    for place in places.iter_mut().rev() {
        *place = free.min(*place);
        free = *place - GAP;
    }
    places
}

/// The plot of accuracy against revenue.
const HEIGHT: i32 = 640;
const RIGHT: i32 = WIDTH - 40;
const BOTTOM: i32 = HEIGHT - 72;

/// A dot for each method, recall at `k` to the right and revenue recall at `k` upwards, all named, and a
/// curve through the re-rank strengths of packwise in the order of gamma. Points that are not finite
/// are left out. 980 × 640 pixels.
pub fn accuracy_revenue(k: usize, methods: &[MethodPoint], curve: &[CurvePoint]) -> String {
    let finite = |recall: f64, revenue: f64| recall.is_finite() && revenue.is_finite();
    let mut methods = methods.iter().filter(|point| finite(point.recall, point.revenue)).collect::<Vec<_>>();
    methods.sort_by(|a, b| a.role.cmp(&b.role).then(b.recall.total_cmp(&a.recall)).then(a.name.cmp(&b.name)));
    let known = |point: &&CurvePoint| finite(point.recall, point.revenue) && point.gamma.is_finite();
    let mut curve = curve.iter().filter(known).collect::<Vec<_>>();
    curve.sort_by(|a, b| a.gamma.total_cmp(&b.gamma));
    render((WIDTH as u32, HEIGHT as u32), |canvas| {
        canvas.text("Finding what customers buy and finding what they spend", (MARGIN, 34), TITLE)?;
        let recalls = methods.iter().map(|p| p.recall).chain(curve.iter().map(|p| p.recall));
        let revenues = methods.iter().map(|p| p.revenue).chain(curve.iter().map(|p| p.revenue));
        let axes = axis_over(recalls).zip(axis_over(revenues));
        let Some((right, up)) = axes else { return nothing(canvas, BOTTOM) };
        canvas.text(&trade(&methods, &curve), (MARGIN, 60), SUBTITLE)?;
        grid(canvas, k, &right, &up)?;
        let x = |recall| LEFT + (right.share(recall) * f64::from(RIGHT - LEFT)).round() as i32;
        let place = |recall, revenue| (x(recall), height(&up, BOTTOM, revenue));
        let bends = curve.iter().map(|point| place(point.recall, point.revenue)).collect::<Vec<_>>();
        let dots = methods.iter().map(|MethodPoint { name, role, recall, revenue }| {
            let ((color, look), radius) = (role.look(), if *role == Role::Packwise { 5 } else { 4 });
            let text = wrapped(name, look.size, 220.0, 1).pop().unwrap_or_default();
            Dot { at: place(*recall, *revenue), radius, color, text, look, role: *role, rings: 30 }
        });
        let strengths = curve.iter().zip(&bends).enumerate().map(|(i, (point, &at))| {
            // The strengths between the ends are named only where there is room beside them.
            let end = i == 0 || i + 1 == bends.len();
            let (role, rings) = if end { (Role::Variant, 30) } else { (Role::Other, 1) };
            let look = Type { size: 11.0, ..LABEL.color(BLUE) };
            Dot { at, radius: 3, color: BLUE, text: gamma(point.gamma), look, role, rings }
        });
        let mut dots = dots.chain(strengths).collect::<Vec<_>>();
        dots.sort_by_key(|dot| dot.role);
        let line = bends.windows(2).flat_map(|ends| points_between(ends[0], ends[1]));
        let mut taken = dots.iter().map(|dot| Area::around(dot.at, dot.radius + 1)).chain(line).collect();
        let labels = dots.iter().filter_map(|dot| label(dot, &mut taken)).collect::<Vec<_>>();
        for leader in labels.iter().filter_map(|label| label.leader) {
            canvas.curve(leader.to_vec(), LEADER)?;
        }
        canvas.curve(bends, BLUE)?;
        for dot in dots.iter().rev() {
            canvas.dot(dot.at, dot.radius, dot.color)?;
        }
        for Label { text, look, at, paper: Area { x, y }, .. } in &labels {
            // Paper behind the text, so that no line of the grid runs through it.
            canvas.rectangle((x[0] + 2, y[0] + 2), (x[1] - 2, y[1] - 2), WHITE)?;
            canvas.text(text, *at, *look)?;
        }
        Ok(())
    })
}

/// With a little paper around the outermost dots.
fn axis_over(values: impl Iterator<Item = f64> + Clone) -> Option<Axis> {
    let (low, high) = (values.clone().reduce(f64::min)?, values.reduce(f64::max)?);
    let pad = ((high - low) * 0.04).max(0.002);
    Some(Axis::over((low - pad).max(low.min(0.0)), high + pad, 6.0))
}

/// What the re-ranking does, or else where packwise stands.
fn trade(methods: &[&MethodPoint], curve: &[&CurvePoint]) -> String {
    if let [first, .., last] = curve {
        let both = |text: fn(&CurvePoint) -> String| format!("{} to {}", text(first), text(last));
        let (gammas, recalls) = (both(|point| gamma(point.gamma)), both(|point| percent(point.recall)));
        let revenues = both(|point| percent(point.revenue));
        return format!("packwise re-ranked by price, {gammas}: revenue recall {revenues}, recall {recalls}");
    }
    let packwise = methods.iter().find(|method| method.role == Role::Packwise);
    packwise.map_or(String::new(), |MethodPoint { name, recall, revenue, .. }| {
        format!("{name}: recall {}, revenue recall {}", percent(*recall), percent(*revenue))
    })
}

fn grid(canvas: &Canvas<'_>, k: usize, right: &Axis, up: &Axis) -> Drawn {
    heading(
        canvas,
        &format!("Revenue recall@{k}"),
        "share of the money paid that went to packages on the list",
    )?;
    rules(canvas, up, BOTTOM, RIGHT)?;
    for (tick, label) in right.ticks.iter().zip(right.labels()) {
        let x = LEFT + (right.share(*tick) * f64::from(RIGHT - LEFT)).round() as i32;
        canvas.rectangle((x, TOP), (x + 1, BOTTOM), GRID)?;
        canvas.text(&label, (x, BOTTOM + 17), LABEL.align(Align::Middle))?;
    }
    let name = SUBTITLE.bold().color(INK).align(Align::Right);
    canvas.text(&format!("Recall@{k}"), (RIGHT - 218, BOTTOM + 44), name)?;
    canvas.text("mean share of a customer's packages", (RIGHT, BOTTOM + 44), LABEL.align(Align::Right))
}

/// A rectangle: its first and last pixels.
#[derive(Debug, Clone, Copy)]
struct Area {
    x: [i32; 2],
    y: [i32; 2],
}

impl Area {
    fn around((x, y): Point, reach: i32) -> Self {
        Self { x: [x - reach, x + reach], y: [y - reach, y + reach] }
    }

    fn meets(&self, other: &Self) -> bool {
        let meet = |a: [i32; 2], b: [i32; 2]| a[0] <= b[1] && b[0] <= a[1];
        meet(self.x, other.x) && meet(self.y, other.y)
    }
}

/// A dot and what is to be written beside it.
struct Dot {
    at: Point,
    radius: i32,
    color: RGBColor,
    text: String,
    look: Type,
    /// How important the text is, and how far from the dot it may be.
    role: Role,
    rings: i32,
}

struct Label<'a> {
    text: &'a str,
    look: Type,
    at: Point,
    paper: Area,
    leader: Option<[Point; 2]>,
}

/// In the first free place on growing rings around the dot, with a leader from the second ring on. What
/// is taken are dots and texts, and lines as dense points.
fn label<'a>(dot: &'a Dot, taken: &mut Vec<Area>) -> Option<Label<'a>> {
    const WAYS: [(i32, i32); 8] = [(10, 0), (-10, 0), (0, -10), (0, 10), (8, -6), (8, 6), (-8, -6), (-8, 6)];
    let wide = width(&dot.text, dot.look.size).ceil() as i32;
    let own = Area::around(dot.at, 7);
    let tries = (0..2 * dot.rings).flat_map(|i| WAYS.map(|way| (i / dot.rings, i % dot.rings, way)));
    for (pass, ring, (right, down)) in tries {
        let away = 11 + 13 * ring;
        let at = (dot.at.0 + right * away / 10, dot.at.1 + down * (away + 3) / 10);
        let (align, left) = match right {
            1.. => (Align::Left, at.0),
            0 => (Align::Middle, at.0 - wide / 2),
            _ => (Align::Right, at.0 - wide),
        };
        let paper = Area { x: [left - 2, left + wide + 2], y: [at.1 - 8, at.1 + 8] };
        let leader = (ring > 0).then(|| [dot.at, (at.0 - right * 2 / 5, at.1 - down * 9 / 10)]);
        let path = leader.map_or(Vec::new(), |[from, to]| points_between(from, to));
        // A leader may meet what is at the dot anyway; where no place is left, it runs below the rest.
        let open = |area: &Area| pass == 1 || area.meets(&own) || !path.iter().any(|point| area.meets(point));
        let free = !taken.iter().any(|area| area.meets(&paper) || !open(area));
        if free && LEFT < left && left + wide < RIGHT + 12 && TOP < at.1 && at.1 + 8 < BOTTOM {
            taken.extend(path);
            taken.push(paper);
            return Some(Label { text: &dot.text, look: dot.look.align(align), at, paper, leader });
        }
    }
    None
}

/// Points on a straight line, close enough for no text to slip between.
fn points_between(from: Point, to: Point) -> Vec<Area> {
    let (right, down) = (to.0 - from.0, to.1 - from.1);
    let steps = (right.abs().max(down.abs()) / 3).max(1);
    let on = |i: i32| (from.0 + right * i / steps, from.1 + down * i / steps);
    (0..=steps).map(|i| Area::around(on(i), 1)).collect()
}

fn nothing(canvas: &Canvas<'_>, bottom: i32) -> Drawn {
    let middle = SUBTITLE.align(Align::Middle);
    canvas.text("no method was measured", (WIDTH / 2, i32::midpoint(TOP, bottom)), middle)
}

/// What is measured upwards, over the plot.
fn heading(canvas: &Canvas<'_>, name: &str, meaning: &str) -> Drawn {
    canvas.text(name, (MARGIN, TOP - 26), SUBTITLE.bold().color(INK))?;
    let behind = MARGIN + (width(name, SUBTITLE.size) * 1.08) as i32 + 4;
    canvas.text(meaning, (behind, TOP - 26), LABEL)
}

/// The lines across the plot and their numbers.
fn rules(canvas: &Canvas<'_>, axis: &Axis, bottom: i32, right: i32) -> Drawn {
    for (tick, label) in axis.ticks.iter().zip(axis.labels()) {
        let y = height(axis, bottom, *tick);
        canvas.rectangle((LEFT, y), (right, y + 1), GRID)?;
        canvas.text(&label, (LEFT - 10, y), LABEL.align(Align::Right))?;
    }
    Ok(())
}

fn height(axis: &Axis, bottom: i32, value: f64) -> i32 {
    bottom - (axis.share(value) * f64::from(bottom - TOP)).round() as i32
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0).replace('-', "−")
}

/// Up to three decimals, no zeros behind them.
fn gamma(value: f64) -> String {
    let text = format!("γ {value:.3}").replace('-', "−");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
