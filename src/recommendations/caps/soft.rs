//! What customers take when choices are blurred.
//!
//! The dual of the assignment has corners wherever a customer changes its mind. Adding temperature × the
//! entropy Σ −x·ln x − (1 − x)·ln(1 − x) to the utility rounds them off: a customer then takes the share
//! x = σ((v − θ) / temperature) of a candidate with adjusted utility v, where θ ≥ floor is such that the
//! shares add up to `top`, or is the floor if they stay below. First and second derivatives of the rounded
//! dual are sums of shares and of x·(1 − x).

use super::book::Book;
use super::{Candidate, PackagePrices, choose};

/// Sums over customers are integers of this many steps a unit, exact in any order.
const STEPS: f64 = (1u64 << 40) as f64;

/// Beyond this many temperatures from θ a share is zero or one to the last bit that counts.
const FAR: f64 = 36.0;

/// How near shares have to add up to `top`.
const CLOSE: f64 = 1e-7;

/// A number of moderate size in steps.
pub(super) fn fixed(value: f64) -> i128 {
    i128::from((value * STEPS) as i64)
}

pub(super) fn unfixed(sum: i128) -> f64 {
    sum as f64 / STEPS
}

/// Sums over customers at given prices and temperature, with room for the next customer.
pub(super) struct Sums {
    /// Offers by package when choices are sharp.
    pub counts: Vec<u64>,
    /// Σ x and Σ x·(1 − x) by package.
    shares: Vec<i128>,
    spreads: Vec<i128>,
    /// Σ a·aᵀ / Σ x·(1 − x) with a = Σ weight · x·(1 − x): upper triangle, constraints².
    squares: Vec<i128>,
    /// Σ of the rounded best utility, in ranges above `top` empty places.
    value: i128,
    chosen: Vec<usize>,
    adjusted: Vec<f64>,
    touched: Vec<u32>,
    along: Vec<f64>,
}

/// What the sums say of the dual, in units of the largest weight of each constraint.
pub(super) struct Derivatives {
    pub value: f64,
    pub totals: Vec<f64>,
    /// Constraints², both triangles.
    pub curvature: Vec<f64>,
    pub counts: Vec<u64>,
}

/// The rounded problem.
pub(super) struct Rounded<'a> {
    pub book: &'a Book,
    pub prices: &'a PackagePrices,
    pub top: usize,
    pub temperature: f64,
    pub range: f64,
}

impl Rounded<'_> {
    pub fn empty(&self) -> Sums {
        let (packages, constraints) = (self.book.packages(), self.book.maxima.len());
        Sums {
            counts: vec![0; packages],
            shares: vec![0; packages],
            spreads: vec![0; packages],
            squares: vec![0; constraints * constraints],
            value: 0,
            chosen: Vec::new(),
            adjusted: Vec::new(),
            touched: Vec::new(),
            along: vec![0.0; constraints],
        }
    }

    /// Adds a customer.
    pub fn add(&self, sums: &mut Sums, candidates: &[Candidate]) {
        // One more than it takes, to see what θ lies between.
        choose(candidates, self.prices, &[], self.top + 1, &mut sums.chosen);
        let between = |sums: &Sums, place: usize| {
            let at = sums.chosen.get(place);
            at.map_or(self.prices.floor, |&at| self.prices.adjusted(candidates[at]))
        };
        let start = (between(sums, self.top - 1) + between(sums, self.top)) / 2.0;
        sums.chosen.truncate(self.top);
        self.book.count(&mut sums.counts, candidates, &sums.chosen);

        sums.adjusted.clear();
        sums.adjusted.extend(candidates.iter().map(|&candidate| self.prices.adjusted(candidate)));
        let threshold = self.threshold(&sums.adjusted, start);
        let mut value = (threshold - self.prices.floor) * self.top as f64;
        let mut spread = 0.0;
        for (candidate, &adjusted) in candidates.iter().zip(&sums.adjusted) {
            let distance = (adjusted - threshold) / self.temperature;
            value += (adjusted - threshold).max(0.0);
            let package = candidate.package as usize;
            if distance.abs() > FAR {
                if distance > 0.0 && package < sums.shares.len() {
                    sums.shares[package] += fixed(1.0);
                }
                continue;
            }
            let odds = (-distance.abs()).exp();
            let (rare, common) = (odds / (1.0 + odds), 1.0 / (1.0 + odds));
            value += self.temperature * odds.ln_1p();
            spread += rare * common;
            if package < sums.shares.len() {
                sums.shares[package] += fixed(if distance > 0.0 { common } else { rare });
                sums.spreads[package] += fixed(rare * common);
                for &(at, weight) in self.book.uses(candidate.package) {
                    let along = &mut sums.along[at as usize];
                    if *along == 0.0 {
                        sums.touched.push(at);
                    }
                    *along += weight / self.book.scales[at as usize] * (rare * common);
                }
            }
        }
        sums.value += fixed(value / self.range);
        let bound = threshold > self.prices.floor && spread > 0.0;
        sums.touched.sort_unstable();
        for (first, &row) in sums.touched.iter().enumerate() {
            for &column in &sums.touched[first..] {
                let square = sums.along[row as usize] * sums.along[column as usize] / spread;
                sums.squares[row as usize * sums.along.len() + column as usize] +=
                    fixed(if bound { square } else { 0.0 });
            }
        }
        sums.touched.drain(..).for_each(|at| sums.along[at as usize] = 0.0);
    }

    /// θ by Newton's method between bounds that close in.
    fn threshold(&self, adjusted: &[f64], start: f64) -> f64 {
        let excess = |threshold: f64| {
            let (mut shares, mut spread) = (0.0, 0.0);
            for value in adjusted {
                let distance = (value - threshold) / self.temperature;
                if distance.abs() > FAR {
                    shares += f64::from(u8::from(distance > 0.0));
                } else {
                    let odds = (-distance.abs()).exp();
                    let (rare, common) = (odds / (1.0 + odds), 1.0 / (1.0 + odds));
                    shares += if distance > 0.0 { common } else { rare };
                    spread += rare * common;
                }
            }
            (shares - self.top as f64, spread / self.temperature)
        };
        let floor = self.prices.floor;
        if adjusted.len() <= self.top || excess(floor).0 <= 0.0 {
            return floor;
        }
        let highest = adjusted.iter().copied().fold(floor, f64::max);
        let (mut low, mut high) = (floor, highest + FAR * self.temperature);
        let mut threshold = start.clamp(low, high);
        for _ in 0..60 {
            let (excess, slope) = excess(threshold);
            if excess.abs() < CLOSE {
                break;
            }
            if excess > 0.0 {
                low = threshold
            } else {
                high = threshold
            }
            let next = threshold + excess / slope;
            threshold = if next > low && next < high { next } else { f64::midpoint(low, high) };
        }
        threshold
    }

    /// Puts the workers' sums together.
    pub fn derivatives(&self, states: &[Sums]) -> Derivatives {
        let add = |part: &dyn Fn(&Sums) -> &[i128]| {
            let mut total = states.first().map_or(Vec::new(), |first| vec![0; part(first).len()]);
            for own in states {
                total.iter_mut().zip(part(own)).for_each(|(sum, own)| *sum += own);
            }
            total
        };
        let (shares, spreads) = (add(&|sums| &sums.shares), add(&|sums| &sums.spreads));
        let size = self.book.maxima.len();
        let mut totals = vec![0.0; size];
        let mut curvature: Vec<f64> =
            add(&|sums| &sums.squares).into_iter().map(|square| -unfixed(square)).collect();
        let mut counts = vec![0; shares.len()];
        states.iter().flat_map(|own| own.counts.iter().enumerate()).for_each(|(at, own)| counts[at] += own);
        for (package, (share, spread)) in shares.into_iter().zip(spreads).enumerate() {
            let uses = self.book.uses(package as u32);
            for (first, &(row, weight)) in uses.iter().enumerate() {
                let weight = weight / self.book.scales[row as usize];
                totals[row as usize] += weight * unfixed(share);
                for &(column, other) in &uses[first..] {
                    let other = other / self.book.scales[column as usize];
                    curvature[row as usize * size + column as usize] += weight * other * unfixed(spread);
                }
            }
        }
        for row in 0..size {
            for column in row..size {
                curvature[row * size + column] /= self.temperature;
                curvature[column * size + row] = curvature[row * size + column];
            }
        }
        let value = unfixed(states.iter().map(|own| own.value).sum()) * self.range;
        Derivatives { value, totals, curvature, counts }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Constraint;
    use super::*;

    fn constraints() -> Vec<Constraint> {
        let weights = [vec![(0, 1.0), (1, 4.0)], vec![(1, 1.0), (2, 1.0), (3, 0.5)]];
        let constraint = |weights| Constraint { name: String::new(), weights, max: Some(1.0), min: None };
        weights.into_iter().map(constraint).collect()
    }

    fn candidates(shift: f32) -> Vec<Candidate> {
        let utility = [1.0, 0.7, 0.2, -0.1, -0.4].map(|utility| utility * (1.0 + shift));
        (0..5).zip(utility).map(|(package, utility)| Candidate { package, utility }).collect()
    }

    fn derivatives(prices: [f64; 2], temperature: f64, floor: f64) -> Derivatives {
        let constraints = constraints();
        let book = Book::new::<std::fmt::Error>(&constraints).unwrap();
        // Prices are for the largest weight, four and one.
        let prices = PackagePrices::new(&constraints, &[prices[0] / 4.0, prices[1]], floor);
        let rounded = Rounded { book: &book, prices: &prices, top: 2, temperature, range: 1.4 };
        let mut states = [rounded.empty(), rounded.empty()];
        (0..6).for_each(|at| rounded.add(&mut states[at % 2], &candidates(at as f32 / 8.0)));
        rounded.derivatives(&states)
    }

    #[test]
    fn totals_and_curvature_are_the_derivatives_of_the_value() {
        let step = 1e-3;
        for (temperature, floor) in [(0.5, -9.0), (0.5, 0.3), (0.1, -2.0)] {
            let at = [0.3, 0.2];
            let here = derivatives(at, temperature, floor);
            for along in 0..2 {
                let moved = |sign: f64| {
                    let mut prices = at;
                    prices[along] += sign * step;
                    derivatives(prices, temperature, floor)
                };
                let (up, down) = (moved(1.0), moved(-1.0));
                let slope = (up.value - down.value) / (2.0 * step);
                assert!((slope + here.totals[along]).abs() < 1e-4, "{slope} {:?}", here.totals);
                for other in 0..2 {
                    let slope = (up.totals[other] - down.totals[other]) / (2.0 * step);
                    let curvature = here.curvature[along * 2 + other];
                    assert!(
                        (slope + curvature).abs() < 1e-3 * (1.0 + curvature.abs()),
                        "{slope} {curvature}"
                    );
                }
            }
        }
    }

    #[test]
    fn cold_shares_are_the_offers_and_shares_add_up_to_the_places() {
        let cold = derivatives([0.3, 0.2], 1e-4, -9.0);
        // Adjusted utilities of the first customer: 0.925, 0.2, 0, -0.2, -0.4.
        assert_eq!(cold.counts, [6, 6, 0, 0]);
        assert!((cold.totals[0] - (6.0 * 0.25 + 6.0)).abs() < 1e-6, "{:?}", cold.totals);
        let constraints = [Constraint {
            name: String::new(),
            weights: (0..5).map(|package| (package, 1.0)).collect(),
            max: None,
            min: None,
        }];
        let book = Book::new::<std::fmt::Error>(&constraints).unwrap();
        for (floor, wanted) in [(-99.0, 2.0), (f64::from(0.95f32), 0.0)] {
            let prices = PackagePrices::new(&constraints, &[0.0], floor);
            let rounded = Rounded { book: &book, prices: &prices, top: 2, temperature: 0.3, range: 1.0 };
            let mut sums = rounded.empty();
            rounded.add(&mut sums, &candidates(0.0));
            let total = rounded.derivatives(&[sums]).totals[0];
            assert!((total - wanted).abs() < 1e-5 || (wanted == 0.0 && total < 2.0), "{floor}: {total}");
        }
    }
}
