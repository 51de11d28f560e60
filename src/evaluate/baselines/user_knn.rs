//! What similar customers bought: exact nearest neighbours by the cosine of TF-IDF weights.
//!
//! An entry is ln(1 + baskets) · ln(1 + customers / customers who bought the package), so that sharing
//! what nearly everybody buys says little. A package scores the share of the neighbours that bought
//! it, weighted by their similarity.

use super::item_knn::{Weighting, weighted_rows};
use super::sparse::{Rows, add_scaled};
use super::{BaselineError, Check};
use crate::evaluate::histories::{Histories, History};
use crate::evaluate::recommender::{Recommender, Work, keep_best};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserKnnSettings {
    /// Customers compared with, the customer itself not counted.
    pub neighbours: usize,
}

impl Default for UserKnnSettings {
    fn default() -> Self {
        Self { neighbours: 200 }
    }
}

/// Fitted customers by package. 24 bytes an entry of customers × packages.
#[derive(Clone, Debug)]
pub struct UserKnn {
    name: String,
    neighbours: usize,
    rarity: Vec<f64>,
    /// customers × packages, rows of length 1.
    customers: Rows,
    /// packages × customers.
    index: Rows,
}

impl UserKnn {
    /// Cost: a few passes over the entries of customers × packages.
    pub fn fit(histories: &Histories, settings: &UserKnnSettings) -> Result<Self, BaselineError> {
        let UserKnnSettings { neighbours } = *settings;
        Check("user-kNN").count("neighbours", neighbours)?;
        let counts = weighted_rows(histories, Weighting::Log);
        let mut buyers = vec![0u32; histories.packages()];
        for customer in 0..counts.len() {
            counts.row(customer).for_each(|(package, _)| buyers[package as usize] += 1);
        }
        let all = histories.len() as f64;
        let rarity: Vec<f64> =
            buyers.iter().map(|&buyers| (all / f64::from(buyers.max(1))).ln_1p()).collect();
        let mut customers = Rows::new(histories.packages());
        let mut vector = Vec::new();
        for customer in 0..counts.len() {
            weigh(counts.row(customer), &rarity, &mut vector);
            customers.push(vector.iter().copied());
        }
        let index = customers.transpose();
        Ok(Self { name: format!("user-kNN ({neighbours} customers)"), neighbours, rarity, customers, index })
    }
}

impl Recommender for UserKnn {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, customer: &History, scores: &mut [f64], work: &mut Work) {
        let Work { totals, entries, sums, ranked, .. } = work;
        scores.fill(0.0);
        customer.totals_into(totals);
        let counts = totals.iter().map(|total| (total.package, Weighting::Log.of(total)));
        weigh(counts, &self.rarity, entries);
        self.index.products(entries, sums);
        let others = sums.iter().filter(|&(other, _)| Some(other as usize) != customer.number);
        keep_best(others.map(|(other, similarity)| (similarity, other)), self.neighbours, ranked);
        let total = ranked.iter().map(|&(similarity, _)| similarity).sum::<f64>();
        for &(similarity, other) in ranked.iter() {
            let bought = self.customers.row(other as usize).map(|(package, _)| (package, 1.0));
            add_scaled(scores, similarity / total, bought);
        }
    }
}

/// Counts times rarity, of length 1; a package that no model was fitted on is left out.
fn weigh(counts: impl Iterator<Item = (u32, f64)>, rarity: &[f64], vector: &mut Vec<(u32, f64)>) {
    vector.clear();
    vector
        .extend(counts.filter_map(|(package, count)| Some((package, count * rarity.get(package as usize)?))));
    let norm = vector.iter().map(|(_, value)| value * value).sum::<f64>().sqrt();
    vector.iter_mut().for_each(|(_, value)| *value /= norm);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::histories::Line;
    use proptest::prelude::*;

    fn histories(bought: &[Vec<(i32, u32)>]) -> Histories {
        let mut histories = Histories::new(6);
        for lines in bought {
            let lines = lines.iter().map(|&(day, package)| Line { day, package, times: 1, amount: 1 });
            histories.push(9, lines).unwrap();
        }
        histories
    }

    #[test]
    fn the_customer_is_not_its_own_neighbour_but_an_unseen_copy_is_alike() {
        let histories = histories(&[vec![(1, 0), (1, 1)], vec![(1, 0), (2, 2)], vec![(3, 3)]]);
        let method = UserKnn::fit(&histories, &UserKnnSettings { neighbours: 1 }).unwrap();
        let mut scores = [f64::NAN; 6];
        method.score(&histories.get(0), &mut scores, &mut Work::new());
        assert_eq!(scores, [1.0, 0.0, 1.0, 0.0, 0.0, 0.0], "the neighbour is customer 1");
        method.score(&histories.get(0).unseen(), &mut scores, &mut Work::new());
        assert_eq!(scores, [1.0, 1.0, 0.0, 0.0, 0.0, 0.0], "the nearest is the copy");
        method.score(&histories.get(2), &mut scores, &mut Work::new());
        assert_eq!(scores, [0.0; 6], "nobody shares a package");
        assert!(UserKnn::fit(&histories, &UserKnnSettings { neighbours: 0 }).is_err());
    }

    /// Vectors of length 1 by the definition.
    fn dense(histories: &Histories) -> Vec<[f64; 6]> {
        let holds = |customer: usize, package| {
            histories.get(customer).totals().iter().any(|total| total.package == package)
        };
        let vector = |history: History| {
            let mut row = [0.0; 6];
            for total in history.totals() {
                let buyers = (0..histories.len()).filter(|&customer| holds(customer, total.package)).count();
                let rarity = (1.0 + histories.len() as f64 / buyers as f64).ln();
                row[total.package as usize] = (1.0 + f64::from(total.baskets)).ln() * rarity;
            }
            let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
            row.map(|value| value / norm)
        };
        histories.iter().map(vector).collect()
    }

    /// The scores by comparing with all others; `None` if rounding decides who is a neighbour.
    fn by_comparing_all(vectors: &[[f64; 6]], customer: usize, neighbours: usize) -> Option<[f64; 6]> {
        let cosine =
            |other: usize| -> f64 { vectors[customer].iter().zip(vectors[other]).map(|(a, b)| a * b).sum() };
        let mut others: Vec<(f64, usize)> = (0..vectors.len())
            .filter(|&other| other != customer)
            .map(|other| (cosine(other), other))
            .collect();
        others.retain(|&(cosine, _)| cosine > 0.0);
        others.sort_by(|a, b| b.0.total_cmp(&a.0));
        if let Some(&[(last, _), (next, _)]) =
            others.get(neighbours - 1..).and_then(|rest| rest.first_chunk())
            && last - next < 1e-9
        {
            return None;
        }
        others.truncate(neighbours);
        let total = others.iter().map(|(cosine, _)| cosine).sum::<f64>();
        let mut shares = [0.0; 6];
        for &(cosine, other) in &others {
            let held = shares.iter_mut().zip(vectors[other]).filter(|(_, value)| *value > 0.0);
            held.for_each(|(share, _)| *share += cosine / total);
        }
        Some(shares)
    }

    proptest! {
        #[test]
        fn the_index_finds_what_comparing_all_customers_finds(
            bought in prop::collection::vec(prop::collection::vec((0..4i32, 0..6u32), 1..8), 2..12),
            neighbours in 1..5usize,
        ) {
            let histories = histories(&bought);
            let method = UserKnn::fit(&histories, &UserKnnSettings { neighbours }).unwrap();
            let vectors = dense(&histories);
            for customer in 0..histories.len() {
                let Some(expected) = by_comparing_all(&vectors, customer, neighbours) else { continue };
                let mut scores = [f64::NAN; 6];
                method.score(&histories.get(customer), &mut scores, &mut Work::new());
                let near = scores.iter().zip(expected).all(|(score, share)| (score - share).abs() < 1e-9);
                prop_assert!(near, "{scores:?} is not {expected:?}");
            }
        }
    }
}
