//! Newton's method on the dual of the assignment, from blurred choices to sharp ones.
//!
//! The dual has corners at every price where a customer changes its mind, and a subgradient creeps along
//! them. Rounded off by a temperature it is smooth, and Newton's method finds its minimum in a few
//! readings, however strongly constraints pull at each other; the temperature then falls by a factor and
//! the search goes on from there (annealing, as interior-point methods do it: Nesterov, "Smooth
//! minimization of non-smooth functions", 2005). It ends when sharp choices meet the limits about as well.
//! Utilities enter relative to their range, so their scale does not matter.

use super::book::Book;
use super::soft::{Derivatives, Rounded};
use super::{Candidates, CapError, Constraint, PackagePrices, choose, pass};
use crate::numerics::cholesky::Cholesky;

/// Temperatures: the first as a share of the range of utilities, how many, and by what each is smaller.
const WARMEST: f64 = 0.25;
const LEVELS: i32 = 10;
const COOLING: f64 = 0.25;

/// Newton steps at one temperature, and readings in all.
const STEPS: usize = 7;
const PASSES: usize = 44;

/// How far prices may move in one step, in temperatures.
const REACH: f64 = 8.0;

/// How near to a bound blurred totals have to come before the temperature falls: a share of the bound that
/// falls with the temperature, down to `SHARP`, and a share of what offers use without any limit.
const NEAR: (f64, f64) = (0.03, 1e-5);

/// How near sharp totals have to come.
const SHARP: f64 = 5e-4;

/// By how many temperatures prices and the floor are drawn back at the end, so that limits are just
/// overrun.
const DRAWN_BACK: [f64; 6] = [0.0, 0.25, 1.0, 4.0, 16.0, 64.0];

/// The dual problem.
pub(super) struct Dual<'a, S> {
    pub book: &'a Book,
    pub constraints: &'a [Constraint],
    pub top: usize,
    pub source: &'a S,
    pub threads: usize,
    pub floor: f64,
    pub range: f64,
}

pub(super) struct Solved {
    pub prices: Vec<f64>,
    pub package_prices: PackagePrices,
    /// Under these prices.
    pub totals: Vec<f64>,
    /// By how much adjusted utilities may be wrong.
    pub blur: f64,
    pub passes: usize,
}

/// Prices in utility for the largest weight of each constraint, and what the rounded dual is there.
struct Point {
    prices: Vec<f64>,
    temperature: f64,
    dual: f64,
    at: Derivatives,
}

impl<S: Candidates> Dual<'_, S> {
    /// From no prices on. `unconstrained` are the totals without any.
    pub fn solve(&self, unconstrained: &[f64]) -> Result<Solved, CapError<S::Error>> {
        let mut prices = vec![0.0; self.book.maxima.len()];
        let mut before: Option<Vec<f64>> = None;
        let mut temperature = self.range * WARMEST;
        let mut passes = 0;
        for level in 0..LEVELS {
            temperature = self.range * WARMEST * COOLING.powi(level);
            let near = (NEAR.0 * COOLING.powi(level)).max(SHARP);
            // What ties cost is proportional to the temperature: so prices go on as they went.
            let start = before.map_or_else(|| prices.clone(), |before| beyond(&before, &prices));
            let mut here = self.point(start, temperature)?;
            passes += 1;
            let (mut reach, mut straight) = (REACH * temperature, false);
            for _ in 0..STEPS {
                if passes >= PASSES || self.is_near(&here, near, unconstrained) {
                    break;
                }
                let there = self.point(self.step(&here, reach, straight), temperature)?;
                passes += 1;
                straight = there.dual > here.dual;
                if straight {
                    reach /= 4.0;
                } else {
                    here = there;
                    reach = (2.0 * reach).min(REACH * temperature);
                }
            }
            let done = passes >= PASSES || self.is_sharp(&here);
            before = (level > 0).then_some(prices);
            prices = here.prices;
            if done {
                break;
            }
        }
        self.drawn_back(&prices, temperature, passes + 1)
    }

    fn unscaled(&self, prices: &[f64]) -> Vec<f64> {
        prices.iter().zip(&self.book.scales).map(|(price, scale)| price / scale).collect()
    }

    /// (max, min) of a constraint in its largest weight.
    fn bounds(&self, at: usize) -> (f64, f64) {
        let scale = self.book.scales[at];
        (self.book.maxima[at] / scale, self.book.minima[at] / scale)
    }

    /// Reads the source once.
    fn point(&self, prices: Vec<f64>, temperature: f64) -> Result<Point, CapError<S::Error>> {
        let package_prices = PackagePrices::new(self.constraints, &self.unscaled(&prices), self.floor);
        let Self { book, top, range, .. } = *self;
        let rounded = Rounded { book, prices: &package_prices, top, temperature, range };
        let states =
            pass(self.source, self.threads, || rounded.empty(), |sums, _, _, all| rounded.add(sums, all))?;
        let at = rounded.derivatives(&states);
        let paid = |(at, &price): (usize, &f64)| match self.bounds(at) {
            (max, _) if price > 0.0 => price * max,
            (_, min) if price < 0.0 => price * min,
            _ => 0.0,
        };
        let dual = at.value + prices.iter().enumerate().map(paid).sum::<f64>();
        Ok(Point { prices, temperature, dual, at })
    }

    /// The bound that a price answers to: where it is zero, the one that is violated.
    fn bound(&self, at: usize, price: f64, total: f64) -> Option<f64> {
        let (max, min) = self.bounds(at);
        match (price > 0.0 || (price == 0.0 && total > max), price < 0.0 || (price == 0.0 && total < min)) {
            (true, _) => Some(max),
            (_, true) => Some(min),
            _ => None,
        }
    }

    fn is_near(&self, point: &Point, near: f64, unconstrained: &[f64]) -> bool {
        point.prices.iter().zip(&point.at.totals).enumerate().all(|(at, (&price, &total))| {
            let free = unconstrained[at] / self.book.scales[at];
            self.bound(at, price, total)
                .is_none_or(|bound| (total - bound).abs() <= near * bound + NEAR.1 * free)
        })
    }

    fn is_sharp(&self, point: &Point) -> bool {
        let totals = self.book.totals(&point.at.counts);
        point.prices.iter().zip(totals).enumerate().all(|(at, (&price, total))| {
            let total = total / self.book.scales[at];
            self.bound(at, price, total).is_none_or(|bound| (total - bound).abs() <= SHARP * bound)
        })
    }

    /// A Newton step, no price further than `reach` and none across zero. For the logarithms of totals
    /// unless `straight`: on the tails, where totals fall exponentially with prices, that takes one step.
    fn step(&self, point: &Point, reach: f64, straight: bool) -> Vec<f64> {
        let mut free: Vec<(usize, f64)> = Vec::new();
        for (at, (&price, &total)) in point.prices.iter().zip(&point.at.totals).enumerate() {
            let Some(bound) = self.bound(at, price, total) else { continue };
            let ratio = total / bound;
            let logarithmic = !straight && ratio > 0.0 && ratio.is_finite();
            free.push((at, if logarithmic { total * ratio.ln() } else { total - bound }));
        }
        let mut prices = point.prices.clone();
        loop {
            let step = Self::solved(point, &free);
            // A price at zero that would leave the wrong way stays there.
            let wrong = |(at, residual): (usize, f64), step: f64| prices[at] == 0.0 && step * residual < 0.0;
            let kept: Vec<_> = free.iter().zip(&step).filter(|(free, step)| !wrong(**free, **step)).collect();
            if kept.len() == free.len() {
                let longest = step.iter().fold(0.0f64, |most, step| most.max(step.abs()));
                let share = if longest > reach { reach / longest } else { 1.0 };
                for ((at, _), step) in free.into_iter().zip(step) {
                    let after = prices[at] + share * step;
                    prices[at] = if prices[at] * after < 0.0 { 0.0 } else { after };
                }
                return prices;
            }
            free = kept.into_iter().map(|(free, _)| *free).collect();
        }
    }

    /// The Newton step for some of the prices: (constraint, residual).
    fn solved(point: &Point, free: &[(usize, f64)]) -> Vec<f64> {
        let (size, n) = (point.prices.len(), free.len());
        let mut step: Vec<f64> = free.iter().map(|(_, residual)| *residual).collect();
        // A ridge for directions in which nobody is undecided; larger until the matrix can be factored.
        for ridge in [1e-6, 1e-3, 1.0] {
            let mut matrix = vec![0.0; n * n];
            for (i, &(row, _)) in free.iter().enumerate() {
                for (j, &(column, _)) in free.iter().enumerate() {
                    matrix[i * n + j] = point.at.curvature[row * size + column];
                }
                let least = 1e-9 * (1.0 + point.at.totals[row]) / point.temperature;
                matrix[i * (n + 1)] += ridge * point.at.curvature[row * (size + 1)] + least;
            }
            let factor = Cholesky::factor(matrix, n, 1);
            if factor.and_then(|factor| factor.solve_many(&mut step, 1, 1)).is_ok() {
                break;
            }
        }
        step
    }

    /// Prices drawn towards zero, so that the repair starts from limits that are just overrun, as far as it
    /// is expected to cost least: what stays below a limit is lost at its price (weak duality), and what is
    /// above it is taken away at about as much as prices were drawn back.
    fn drawn_back(
        &self,
        prices: &[f64],
        temperature: f64,
        passes: usize,
    ) -> Result<Solved, CapError<S::Error>> {
        let trials = DRAWN_BACK.map(|share| {
            // Plus zero, so that there is no price of minus zero.
            let toward = |price: &f64| price.signum() * (price.abs() - share * temperature).max(0.0) + 0.0;
            let trial = self.unscaled(&prices.iter().map(toward).collect::<Vec<_>>());
            (PackagePrices::new(self.constraints, &trial, self.floor - share * temperature), trial)
        });
        let state = || (vec![vec![0u64; self.book.packages()]; trials.len()], Vec::new());
        let states = pass(self.source, self.threads, state, |(counts, chosen), _, _, candidates| {
            for ((prices, _), counts) in trials.iter().zip(counts) {
                choose(candidates, prices, &[], self.top, chosen);
                self.book.count(counts, candidates, chosen);
            }
        })?;
        let mut best: Option<(f64, Solved)> = None;
        for (number, (package_prices, prices)) in trials.into_iter().enumerate() {
            let mut counts = vec![0u64; self.book.packages()];
            for (own, _) in &states {
                counts.iter_mut().zip(&own[number]).for_each(|(sum, own)| *sum += own);
            }
            let totals = self.book.totals(&counts);
            let blur = (1.0 + DRAWN_BACK[number]) * temperature;
            let cost = prices.iter().zip(&totals).enumerate().map(|(at, (&price, &total))| {
                let (max, min) = (self.book.maxima[at], self.book.minima[at]);
                let outside = (total - max).max(min - total).max(0.0) / self.book.scales[at];
                let kept = if price > 0.0 { max - total } else { min - total };
                let kept = if price == 0.0 { 0.0 } else { price * kept };
                blur * outside + kept.max(0.0)
            });
            let cost = cost.sum::<f64>();
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, Solved { prices, package_prices, totals, blur, passes }));
            }
        }
        let (_, solved) = best.unwrap_or_else(|| {
            let package_prices = PackagePrices::free();
            (0.0, Solved { prices: Vec::new(), package_prices, totals: Vec::new(), blur: 0.0, passes })
        });
        Ok(solved)
    }
}

/// Where prices go on to when the temperature falls once more, if they move in proportion to it. No price
/// crosses zero, and one at zero stays.
fn beyond(before: &[f64], prices: &[f64]) -> Vec<f64> {
    let one = |(before, price): (&f64, &f64)| {
        let next = price + COOLING * (price - before);
        if next * price > 0.0 { next } else { *price }
    };
    before.iter().zip(prices).map(one).collect()
}
