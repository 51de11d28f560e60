//! Packages that are bought by the same customers (Sarwar et al., *Item-based collaborative filtering
//! recommendation algorithms*, WWW 2001; Deshpande & Karypis, ACM TOIS 22, 2004).
//!
//! Two packages are as similar as the cosine of their columns in customers × packages. A package
//! scores the sum of its similarities to what the customer bought.

use super::sparse::{PART, Rows, add_scaled, in_parts};
use super::{BaselineError, Check};
use crate::evaluate::histories::{Histories, History, Total};
use crate::evaluate::recommender::{Recommender, Sums, Work, keep_best};

/// What a customer's entry for a package is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weighting {
    /// 1 if it was ever bought.
    Binary,
    /// ln(1 + baskets that held it).
    #[default]
    Log,
}

impl Weighting {
    pub(super) fn of(self, total: &Total) -> f64 {
        match self {
            Self::Binary => 1.0,
            Self::Log => f64::from(total.baskets).ln_1p(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemKnnSettings {
    /// Similar packages kept for each package, itself not counted.
    pub neighbours: usize,
    pub weighting: Weighting,
    /// Whether a package is similar to itself, with 1: what was bought is then offered again. Without
    /// it the method looks for packages that go with those bought.
    pub include_self: bool,
}

impl Default for ItemKnnSettings {
    fn default() -> Self {
        Self { neighbours: 200, weighting: Weighting::default(), include_self: true }
    }
}

/// Similar packages of every package: 12 bytes for each one kept.
#[derive(Clone, Debug)]
pub struct ItemKnn {
    name: String,
    weighting: Weighting,
    /// packages × packages: what each package adds to which others.
    similar: Rows,
}

impl ItemKnn {
    /// Compares all packages that share a customer. Cost: the sum over customers of the square of their
    /// packages, divided by the threads; 24 bytes an entry of customers × packages while it runs.
    pub fn fit(
        histories: &Histories,
        settings: &ItemKnnSettings,
        threads: usize,
    ) -> Result<Self, BaselineError> {
        let ItemKnnSettings { neighbours, weighting, include_self } = *settings;
        Check("item-kNN").count("neighbours", neighbours)?;
        let customers = weighted_rows(histories, weighting);
        let columns = customers.transpose();
        let norms: Vec<f64> = (0..columns.len())
            .map(|package| columns.row(package).map(|(_, value)| value * value).sum::<f64>().sqrt())
            .collect();

        let similar_to = |(sums, vector): &mut (Sums, Vec<(u32, f64)>), package: usize| {
            vector.clear();
            vector.extend(columns.row(package));
            customers.products(vector, sums);
            let others = sums.iter().filter(|&(other, _)| other as usize != package);
            let similar = others.map(|(other, product)| {
                let cosine = product / (norms[package] * norms[other as usize]);
                (cosine, other)
            });
            let mut best = Vec::new();
            keep_best(similar, neighbours, &mut best);
            if include_self && norms[package] > 0.0 {
                best.push((1.0, package as u32));
            }
            best
        };
        let packages = columns.len();
        let parts = in_parts(threads, packages.div_ceil(PART), Default::default, |scratch, part| {
            let range = part * PART..packages.min((part + 1) * PART);
            range.map(|package| similar_to(scratch, package)).collect::<Vec<_>>()
        });
        let mut similar = Rows::new(packages);
        for best in parts.into_iter().flatten() {
            similar.push(best.into_iter().map(|(similarity, other)| (other, similarity)));
        }
        let own = if include_self { "with" } else { "without" };
        Ok(Self { name: format!("item-kNN {own} self ({neighbours} packages)"), weighting, similar })
    }
}

impl Recommender for ItemKnn {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, customer: &History, scores: &mut [f64], work: &mut Work) {
        scores.fill(0.0);
        customer.totals_into(&mut work.totals);
        for total in &work.totals {
            add_scaled(scores, self.weighting.of(total), self.similar.row(total.package as usize));
        }
    }
}

/// customers × packages with the weights of what was bought.
pub(super) fn weighted_rows(histories: &Histories, weighting: Weighting) -> Rows {
    let mut rows = Rows::new(histories.packages());
    let mut totals = Vec::new();
    for history in histories.iter() {
        history.totals_into(&mut totals);
        rows.push(totals.iter().map(|total| (total.package, weighting.of(total))));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::histories::Line;

    /// Packages 0 and 1 share two customers of three; 2 goes with 1 once.
    fn histories() -> Histories {
        let mut histories = Histories::new(4);
        let line = |day, package| Line { day, package, times: 1, amount: 1 };
        histories.push(9, [line(1, 0), line(2, 0), line(3, 0), line(1, 1)]).unwrap();
        histories.push(9, [line(1, 0), line(2, 1)]).unwrap();
        histories.push(9, [line(1, 1), line(1, 2)]).unwrap();
        histories
    }

    fn scores(settings: ItemKnnSettings, customer: usize) -> Vec<f64> {
        let histories = histories();
        let method = ItemKnn::fit(&histories, &settings, 2).unwrap();
        let mut scores = vec![f64::NAN; 4];
        method.score(&histories.get(customer), &mut scores, &mut Work::new());
        scores
    }

    #[test]
    fn similarities_are_cosines_and_own_packages_count_when_told_to() {
        let binary = ItemKnnSettings { weighting: Weighting::Binary, ..ItemKnnSettings::default() };
        let (near, far) = (2.0 / 6f64.sqrt(), 1.0 / 3f64.sqrt());
        let close = |found: Vec<f64>, expected: [f64; 4]| {
            found.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-12, "{found:?}"));
        };
        close(scores(binary, 0), [1.0 + near, 1.0 + near, far, 0.0]);
        let without = ItemKnnSettings { include_self: false, ..binary };
        close(scores(without, 0), [near, near, far, 0.0]);
        close(scores(without, 2), [near, far, far, 0.0]);
        let one = ItemKnnSettings { neighbours: 1, ..without };
        close(scores(one, 2), [near, far, 0.0, 0.0]);
    }

    #[test]
    fn logarithms_of_baskets_weigh_what_is_bought_often() {
        let log = ItemKnnSettings { include_self: false, ..ItemKnnSettings::default() };
        let (two, four) = (2f64.ln(), 4f64.ln());
        let (zero_norm, one_norm) = (four.hypot(two), 3f64.sqrt() * two);
        let near = (four * two + two * two) / (zero_norm * one_norm);
        assert!((scores(log, 0)[1] - four * near).abs() < 1e-12);
    }

    #[test]
    fn threads_do_not_show_and_no_neighbours_are_refused() {
        let mut histories = Histories::new(300);
        for customer in 0..200u32 {
            let bought = (0..9).map(|at| Line {
                day: at,
                package: (customer * 7 + at as u32 * at as u32 * 31) % 300,
                times: 1,
                amount: 1,
            });
            histories.push(9, bought).unwrap();
        }
        let fit = |threads| ItemKnn::fit(&histories, &ItemKnnSettings::default(), threads).unwrap();
        let bits = |method: ItemKnn| {
            let row =
                |package| method.similar.row(package).map(|(to, value)| (to, value.to_bits())).collect();
            (0..300).map(row).collect::<Vec<Vec<_>>>()
        };
        assert_eq!(bits(fit(1)), bits(fit(3)));
        let none = ItemKnnSettings { neighbours: 0, ..ItemKnnSettings::default() };
        assert!(ItemKnn::fit(&histories, &none, 1).is_err());
    }
}
