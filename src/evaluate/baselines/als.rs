//! Implicit factors by alternating least squares (Hu, Koren & Volinsky, *Collaborative filtering for
//! implicit feedback datasets*, ICDM 2008).
//!
//! Every package has a short row of factors y, every customer x. Their product should be 1 where the
//! customer bought and 0 elsewhere; what was bought counts with confidence 1 + α ln(1 + baskets), all
//! else with 1. For given packages the best x solves a small system, which is also how a customer is
//! scored: from its history alone, fitted or not.

use rand::Rng;
use rand_distr::StandardNormal;

use super::item_knn::{Weighting, weighted_rows};
use super::sparse::{PART, Rows, in_parts};
use super::{BaselineError, Check};
use crate::evaluate::histories::{Histories, History};
use crate::evaluate::recommender::{Recommender, Work};
use crate::numerics::random::generator;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlsSettings {
    /// Factors of a package.
    pub factors: usize,
    /// Times that customers and packages are solved in turn.
    pub iterations: usize,
    /// α, above 0.
    pub confidence: f64,
    /// Added to the diagonal of every system, above 0. It weighs against sums over customers, so a
    /// larger base wants more: with the 7,000 to 29,000 customers of Ta-Feng 100 was better than 10.
    pub ridge: f64,
    pub seed: u64,
}

impl Default for AlsSettings {
    fn default() -> Self {
        Self { factors: 32, iterations: 10, confidence: 10.0, ridge: 10.0, seed: 1 }
    }
}

/// The factors of the packages. 8 · factors bytes a package.
#[derive(Clone, Debug)]
pub struct ImplicitAls {
    name: String,
    settings: AlsSettings,
    packages: Side,
}

impl ImplicitAls {
    /// Cost: 2 · iterations · (factors² for every entry of customers × packages and factors³ / 3 for
    /// every customer and package), divided by the threads; 24 bytes an entry and 8 · factors a customer
    /// while it runs. The same bits on any number of threads.
    pub fn fit(histories: &Histories, settings: &AlsSettings, threads: usize) -> Result<Self, BaselineError> {
        let check = Check("implicit ALS");
        check.count("factors", settings.factors)?;
        check.count("iterations", settings.iterations)?;
        check.positive("confidence", settings.confidence)?;
        check.positive("ridge", settings.ridge)?;
        let customers = weighted_rows(histories, Weighting::Log);
        let index = customers.transpose();

        let mut random = generator(settings.seed, "als start", 0);
        let start = (0..histories.packages() * settings.factors)
            .map(|_| 0.1 * random.sample::<f64, _>(StandardNormal))
            .collect();
        let mut packages = Side::new(start, settings.factors);
        for _ in 0..settings.iterations {
            let solved = packages.solve_all(&customers, settings, threads);
            packages = Side::new(solved, settings.factors).solve_all_into(&index, settings, threads);
        }
        let AlsSettings { factors, confidence, ridge, .. } = settings;
        let name = format!("implicit ALS ({factors} factors, confidence {confidence}, ridge {ridge})");
        Ok(Self { name, settings: *settings, packages })
    }
}

impl Recommender for ImplicitAls {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, customer: &History, scores: &mut [f64], work: &mut Work) {
        let Work { totals, entries, dense, .. } = work;
        customer.totals_into(totals);
        entries.clear();
        entries.extend(totals.iter().map(|total| (total.package, Weighting::Log.of(total))));
        let factors = self.settings.factors;
        dense.clear();
        dense.resize(factors * factors + factors, 0.0);
        let (system, x) = dense.split_at_mut(factors * factors);
        self.packages.solve(entries.iter().copied(), &self.settings, system, x);
        let rows = self.packages.values.chunks_exact(factors).map(Some).chain(std::iter::repeat(None));
        for (score, y) in scores.iter_mut().zip(rows) {
            *score = y.map_or(0.0, |y| dot(x, y));
        }
    }
}

/// The factors of one side, packages or customers, and the sum of their outer products.
#[derive(Clone, Debug)]
struct Side {
    factors: usize,
    /// Row by row.
    values: Vec<f64>,
    /// YᵀY, of which the lower half is filled.
    gram: Vec<f64>,
}

impl Side {
    fn new(values: Vec<f64>, factors: usize) -> Self {
        let mut gram = vec![0.0; factors * factors];
        for y in values.chunks_exact(factors) {
            add_outer(&mut gram, 1.0, y);
        }
        Self { factors, values, gram }
    }

    /// The factors of the other side, whose bought entries are `rows`.
    fn solve_all(&self, rows: &Rows, settings: &AlsSettings, threads: usize) -> Vec<f64> {
        let factors = self.factors;
        let system = || vec![0.0; factors * factors];
        let parts = in_parts(threads, rows.len().div_ceil(PART), system, |system, part| {
            let range = part * PART..rows.len().min((part + 1) * PART);
            let mut solved = vec![0.0; range.len() * factors];
            for (row, x) in range.zip(solved.chunks_exact_mut(factors)) {
                self.solve(rows.row(row), settings, system, x);
            }
            solved
        });
        parts.concat()
    }

    fn solve_all_into(self, rows: &Rows, settings: &AlsSettings, threads: usize) -> Self {
        Self::new(self.solve_all(rows, settings, threads), self.factors)
    }

    /// Solves (YᵀY + Yᵀ(C − I)Y + λI) x = YᵀCp for one row of bought entries.
    fn solve(
        &self,
        bought: impl Iterator<Item = (u32, f64)>,
        settings: &AlsSettings,
        system: &mut [f64],
        x: &mut [f64],
    ) {
        system.copy_from_slice(&self.gram);
        x.fill(0.0);
        for (entry, weight) in bought {
            let start = entry as usize * self.factors;
            let Some(y) = self.values.get(start..start + self.factors) else { continue };
            let extra = settings.confidence * weight;
            add_outer(system, extra, y);
            x.iter_mut().zip(y).for_each(|(sum, value)| *sum += (1.0 + extra) * value);
        }
        for diagonal in system.iter_mut().step_by(self.factors + 1) {
            *diagonal += settings.ridge;
        }
        solve_in_place(system, x, settings.ridge);
    }
}

/// Adds `weight · y yᵀ` to the lower half.
fn add_outer(sum: &mut [f64], weight: f64, y: &[f64]) {
    for (i, (row, &value)) in sum.chunks_exact_mut(y.len()).zip(y).enumerate() {
        let scaled = weight * value;
        row[..=i].iter_mut().zip(y).for_each(|(sum, other)| *sum += scaled * other);
    }
}

/// Solves `system · x = x` by Cholesky's factorisation of the lower half, in place. No eigenvalue of the
/// system is below `least`, so no pivot is either; one that rounding put there is lifted.
fn solve_in_place(system: &mut [f64], x: &mut [f64], least: f64) {
    let n = x.len();
    for i in 0..n {
        let (done, rest) = system.split_at_mut(i * n);
        let row = &mut rest[..n];
        for (j, above) in done.chunks_exact(n).enumerate() {
            row[j] = (row[j] - dot(&row[..j], &above[..j])) / above[j];
        }
        row[i] = (row[i] - dot(&row[..i], &row[..i])).max(least).sqrt();
        x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
    }
    for i in (0..n).rev() {
        let row = &system[i * n..(i + 1) * n];
        x[i] /= row[i];
        let solved = x[i];
        x[..i].iter_mut().zip(row).for_each(|(open, factor)| *open -= solved * factor);
    }
}

/// A dot product in eight running sums: a fixed order that wide registers can follow.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0_f64; 8];
    let (heads, tails) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = heads.remainder().iter().zip(tails.remainder()).map(|(x, y)| x * y).sum::<f64>();
    for (x, y) in heads.zip(tails) {
        sums.iter_mut().zip(x.iter().zip(y)).for_each(|(sum, (x, y))| *sum += x * y);
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::histories::Line;

    /// Two groups of customers, each buying four of its six packages.
    fn histories() -> Histories {
        let mut histories = Histories::new(12);
        for customer in 0..200u32 {
            let group = customer % 2 * 6;
            let bought = (0..4).map(|at| Line {
                day: at,
                package: group + (customer / 2 + at as u32 * (1 + customer % 5)) % 6,
                times: 1,
                amount: 1,
            });
            histories.push(9, bought).unwrap();
        }
        histories
    }

    #[test]
    fn the_system_is_solved() {
        let mut system = [4.0, 0.0, 0.0, 2.0, 5.0, 0.0, 1.0, 3.0, 6.0];
        let mut x = [1.0, 2.0, 3.0];
        solve_in_place(&mut system, &mut x, 1e-9);
        let full = [[4.0, 2.0, 1.0], [2.0, 5.0, 3.0], [1.0, 3.0, 6.0]];
        for (row, expected) in full.iter().zip([1.0, 2.0, 3.0]) {
            let found = row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
            assert!((found - expected).abs() < 1e-12, "{x:?}");
        }
    }

    #[test]
    fn the_weighted_error_does_not_rise_with_iterations() {
        let histories = histories();
        let loss = |iterations| {
            let settings =
                AlsSettings { factors: 3, iterations, confidence: 2.0, ridge: 0.5, ..AlsSettings::default() };
            let method = ImplicitAls::fit(&histories, &settings, 1).unwrap();
            let rows = weighted_rows(&histories, Weighting::Log);
            let x = method.packages.solve_all(&rows, &settings, 1);
            let mut loss =
                0.5 * x.iter().chain(&method.packages.values).map(|value| value * value).sum::<f64>();
            for (customer, x) in x.chunks_exact(3).enumerate() {
                let bought = rows.row(customer).collect::<Vec<_>>();
                for (package, y) in method.packages.values.chunks_exact(3).enumerate() {
                    let held = bought.iter().find(|entry| entry.0 as usize == package);
                    let error = f64::from(u8::from(held.is_some()))
                        - x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>();
                    loss += (1.0 + 2.0 * held.map_or(0.0, |entry| entry.1)) * error * error;
                }
            }
            loss
        };
        let losses = [1, 2, 4, 8].map(loss);
        assert!(losses.is_sorted_by(|a, b| a >= b), "{losses:?}");
    }

    #[test]
    fn threads_do_not_show_but_the_seed_does() {
        let histories = histories();
        let fit = |seed, threads| {
            let settings = AlsSettings { factors: 5, seed, ..AlsSettings::default() };
            ImplicitAls::fit(&histories, &settings, threads).unwrap().packages.values
        };
        assert_eq!(fit(1, 1), fit(1, 4));
        assert_ne!(fit(1, 1), fit(2, 1));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let settings = AlsSettings::default();
        let bad = [
            AlsSettings { factors: 0, ..settings },
            AlsSettings { iterations: 0, ..settings },
            AlsSettings { confidence: f64::NAN, ..settings },
            AlsSettings { ridge: 0.0, ..settings },
        ];
        for settings in bad {
            assert!(ImplicitAls::fit(&histories(), &settings, 1).is_err(), "{settings:?}");
        }
    }
}
