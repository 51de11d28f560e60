//! UP-CF@r: user popularity with recency and collaborative filtering (Faggioli, Polato & Aiolli,
//! *Recency aware collaborative filtering for next basket recommendation*, UMAP 2020).
//!
//! p(u, i) is the share of customer u's last min(r, n) baskets that hold package i. With I_u the
//! packages of those baskets, s(u, v) = |I_u ∩ I_v| / (|I_u|^a |I_v|^(1 − a)). A package scores
//! Σ_v s(u, v)^q p(v, i) over the k most similar customers, u itself among them.

use super::sparse::{Rows, add_scaled};
use super::{BaselineError, Check};
use crate::evaluate::histories::{Histories, History};
use crate::evaluate::recommender::{Recommender, Sums, Work, keep_best};

/// The defaults are those that Romanov et al. (RecSys 2023) found for Ta-Feng.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpCfSettings {
    /// r.
    pub recent_baskets: usize,
    /// q, above 0: how much the more similar customers count more.
    pub locality: f64,
    /// a, from 0 to 1.
    pub asymmetry: f64,
    /// k, the customer itself among them.
    pub neighbours: usize,
}

impl Default for UpCfSettings {
    fn default() -> Self {
        Self { recent_baskets: 24, locality: 5.0, asymmetry: 0.8, neighbours: 200 }
    }
}

/// The shares of the fitted customers. 24 bytes an entry of customers × packages and 8 a customer.
#[derive(Clone, Debug)]
pub struct UpCf {
    name: String,
    settings: UpCfSettings,
    /// customers × packages: shares of baskets.
    customers: Rows,
    /// packages × customers: ones.
    index: Rows,
    /// |I_v|^(1 − a).
    sizes: Vec<f64>,
}

impl UpCf {
    /// Cost: a few passes over the lines.
    pub fn fit(histories: &Histories, settings: &UpCfSettings) -> Result<Self, BaselineError> {
        let check = Check("UP-CF");
        check.count("recent_baskets", settings.recent_baskets)?;
        check.count("neighbours", settings.neighbours)?;
        check.positive("locality", settings.locality)?;
        check.share("asymmetry", settings.asymmetry)?;
        let mut customers = Rows::new(histories.packages());
        let mut held = Rows::new(histories.packages());
        let mut sizes = Vec::with_capacity(histories.len());
        let (mut sums, mut shares) = (Sums::default(), Vec::new());
        for history in histories.iter() {
            recent_shares(&history, settings.recent_baskets, histories.packages(), &mut sums, &mut shares);
            customers.push(shares.iter().copied());
            held.push(shares.iter().map(|&(package, _)| (package, 1.0)));
            sizes.push((shares.len() as f64).powf(1.0 - settings.asymmetry));
        }
        let UpCfSettings { recent_baskets, locality, asymmetry, neighbours } = settings;
        let name = format!("UP-CF@{recent_baskets} ({neighbours} customers, q {locality}, a {asymmetry})");
        Ok(Self { name, settings: *settings, customers, index: held.transpose(), sizes })
    }
}

impl Recommender for UpCf {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, customer: &History, scores: &mut [f64], work: &mut Work) {
        let Work { entries, sums, ranked, dense, .. } = work;
        let UpCfSettings { recent_baskets, locality, asymmetry, neighbours } = self.settings;
        recent_shares(customer, recent_baskets, self.customers.width(), sums, entries);
        // The index counts common packages when every own package counts 1.
        dense.clear();
        dense.extend(entries.iter_mut().map(|(_, share)| std::mem::replace(share, 1.0)));
        self.index.products(entries, sums);
        entries.iter_mut().zip(dense.iter()).for_each(|((_, one), share)| *one = *share);

        let own = (entries.len() as f64).powf(asymmetry);
        let others = sums.iter().filter(|&(other, _)| Some(other as usize) != customer.number);
        let similar = others.map(|(other, common)| (common / (own * self.sizes[other as usize]), other));
        keep_best(similar, neighbours - 1, ranked);

        scores.fill(0.0);
        // The similarity to itself is 1.
        add_scaled(scores, 1.0, entries.iter().copied());
        for &(similarity, other) in ranked.iter() {
            add_scaled(scores, similarity.powf(locality), self.customers.row(other as usize));
        }
    }
}

/// Shares of the last `recent` baskets that hold each package, in order of packages.
fn recent_shares(
    history: &History,
    recent: usize,
    packages: usize,
    sums: &mut Sums,
    shares: &mut Vec<(u32, f64)>,
) {
    sums.begin(packages);
    let mut count = 0;
    for (_, basket) in history.baskets().rev().take(recent) {
        count += 1;
        for line in basket.iter().filter(|line| (line.package as usize) < packages) {
            sums.add(line.package, 1.0);
        }
    }
    shares.clear();
    shares.extend(sums.iter().map(|(package, baskets)| (package, baskets / f64::from(count))));
    shares.sort_unstable_by_key(|&(package, _)| package);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::histories::Line;

    fn histories() -> Histories {
        let mut histories = Histories::new(5);
        let line = |day, package| Line { day, package, times: 1, amount: 1 };
        histories.push(11, [line(1, 4), line(2, 0), line(2, 1), line(3, 0)]).unwrap();
        histories.push(11, [line(1, 0), line(2, 2), line(2, 3), line(3, 2)]).unwrap();
        histories.push(11, [line(1, 1)]).unwrap();
        histories
    }

    fn scores(settings: UpCfSettings, customer: &History) -> Vec<f64> {
        let mut scores = vec![f64::NAN; 5];
        UpCf::fit(&histories(), &settings).unwrap().score(customer, &mut scores, &mut Work::new());
        scores
    }

    fn close(found: &[f64], expected: [f64; 5]) {
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near, "{found:?} is not {expected:?}");
    }

    #[test]
    fn scores_by_hand() {
        let histories = histories();
        let settings = UpCfSettings { recent_baskets: 2, locality: 2.0, asymmetry: 0.5, neighbours: 9 };
        // The last two baskets of customer 0 hold 0 twice and 1 once; customer 1's hold 2 and 3 only;
        // customer 2 shares one of one package, similarity 1/√2.
        close(&scores(settings, &histories.get(0)), [1.0, 0.5 + 0.5, 0.0, 0.0, 0.0]);
        // Over three baskets customer 1 shares one package: of 3 and 3, similarity 1/3.
        let longer = UpCfSettings { recent_baskets: 3, ..settings };
        let (own, near, far) = (1.0 / 3.0, 1.0 / 3.0, 1.0 / 9.0);
        let expected = [2.0 * own + far / 3.0, own + near, far * 2.0 / 3.0, far / 3.0, own];
        close(&scores(longer, &histories.get(0)), expected);
        let alone = UpCfSettings { neighbours: 1, ..longer };
        close(&scores(alone, &histories.get(0)), [2.0 * own, own, 0.0, 0.0, own]);
    }

    #[test]
    fn asymmetry_prefers_customers_with_few_packages_when_it_is_0() {
        let to_small = |asymmetry| {
            let settings = UpCfSettings { recent_baskets: 1, locality: 1.0, asymmetry, neighbours: 9 };
            let lines = [
                Line { day: 1, package: 0, times: 1, amount: 1 },
                Line { day: 1, package: 1, times: 1, amount: 1 },
            ];
            let asked = History { number: None, as_of: 2, lines: &lines };
            scores(settings, &asked)[1] - 1.0
        };
        assert!((to_small(0.0) - 1.0).abs() < 1e-12);
        assert!((to_small(1.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let settings = UpCfSettings::default();
        let bad = [
            UpCfSettings { recent_baskets: 0, ..settings },
            UpCfSettings { neighbours: 0, ..settings },
            UpCfSettings { locality: 0.0, ..settings },
            UpCfSettings { asymmetry: 1.5, ..settings },
        ];
        for settings in bad {
            assert!(UpCf::fit(&histories(), &settings).is_err(), "{settings:?}");
        }
    }
}
