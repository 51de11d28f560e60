//! Control groups: customers who get no offer, so that what offers do can be measured.
//!
//! Membership is a keyed hash of the customer's id. It is the same in every run, it does not depend on
//! the rest of the base, and different keys draw groups that are independent of each other.

use crate::numerics::random::{hash_bytes, hash_u64};

/// Keeps these hashes apart from every other use of the hash function.
const PURPOSE: &str = "packwise 1 control groups";

/// A share of all ids, drawn by hash.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    seed: u64,
    share: f64,
}

impl Draw {
    /// `share` from 0 to 1; key and name together say which group is drawn.
    pub fn new(share: f64, key: &str, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(PURPOSE);
        // The length keeps ("a", "bc") apart from ("ab", "c").
        hasher.update(&(key.len() as u64).to_le_bytes()).update(key.as_bytes()).update(name.as_bytes());
        let mut seed = [0; 8];
        hasher.finalize_xof().fill(&mut seed);
        Self { seed: u64::from_le_bytes(seed), share }
    }

    /// Whether an id, as text, is drawn.
    pub fn has(&self, id: &[u8]) -> bool {
        // 53 bits make a number from 0 to below 1 exactly.
        let place = hash_u64(hash_bytes(id, self.seed), self.seed) >> 11;
        (place as f64) / ((1_u64 << 53) as f64) < self.share
    }
}

/// The global group and those of campaigns in force.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    global: Option<Draw>,
    campaigns: Vec<(String, Draw)>,
    /// Numbers of campaigns by package; empty without campaigns.
    by_package: Vec<Vec<u32>>,
}

impl Groups {
    /// `campaigns`: name, share and package numbers.
    pub(super) fn new(
        packages: usize,
        global: Option<(f64, &str)>,
        campaigns: &[(String, f64, Vec<u32>)],
    ) -> Self {
        let key = global.map_or("", |(_, key)| key);
        let mut by_package = vec![Vec::new(); if campaigns.is_empty() { 0 } else { packages }];
        for ((_, _, members), number) in campaigns.iter().zip(0..) {
            for member in members {
                if let Some(of_package) = by_package.get_mut(*member as usize) {
                    of_package.push(number);
                }
            }
        }
        let draws = campaigns.iter().map(|(name, share, _)| (name.clone(), Draw::new(*share, key, name)));
        Self {
            global: global.map(|(share, key)| Draw::new(share, key, "")),
            campaigns: draws.collect(),
            by_package,
        }
    }

    pub(super) fn control(&self, id: &[u8]) -> bool {
        self.global.is_some_and(|draw| draw.has(id))
    }

    /// The first campaign that keeps the package from the customer.
    pub(super) fn campaign(&self, id: &[u8], package: u32) -> Option<&str> {
        let numbers = self.by_package.get(package as usize)?;
        let mut campaigns = numbers.iter().filter_map(|number| self.campaigns.get(*number as usize));
        campaigns.find(|(_, draw)| draw.has(id)).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: u32 = 100_000;

    fn members(draw: Draw) -> Vec<bool> {
        (0..IDS).map(|id| draw.has((905_300_000_000_u64 + u64::from(id)).to_string().as_bytes())).collect()
    }

    fn count(members: impl Iterator<Item = bool>) -> f64 {
        members.filter(|member| *member).count() as f64
    }

    /// Within five standard deviations of a binomial count.
    fn believable(count: f64, share: f64) -> bool {
        let n = f64::from(IDS);
        (count - n * share).abs() < 5.0 * (n * share * (1.0 - share)).sqrt() + 1e-9
    }

    #[test]
    fn shares_are_kept_within_binomial_bounds() {
        for share in [0.0, 0.01, 0.05, 0.5, 0.9, 1.0] {
            let count = count(members(Draw::new(share, "autumn", "")).into_iter());
            assert!(believable(count, share), "{share}: {count}");
        }
    }

    #[test]
    fn groups_of_different_keys_or_names_are_independent() {
        let group = |key, name| members(Draw::new(0.3, key, name));
        let (base, name, key) = (group("k", ""), group("k", "summer"), group("l", ""));
        for other in [&name, &key] {
            let both = count(base.iter().zip(other).map(|(a, b)| *a && *b));
            assert!(believable(both, 0.09), "{both}");
        }
        assert_ne!(group("a", "bc"), group("ab", "c"));
        assert_eq!(group("k", "summer"), name);
    }

    #[test]
    fn a_larger_share_keeps_the_members_of_a_smaller_one() {
        let (small, large) = (members(Draw::new(0.05, "k", "")), members(Draw::new(0.1, "k", "")));
        assert!(small.iter().zip(&large).all(|(small, large)| !small || *large));
    }

    #[test]
    fn membership_never_changes_with_releases() {
        // Groups that were drawn for a year must be the same next month.
        let draw = Draw::new(0.5, "any text", "summer");
        let members =
            (0..64_u32).fold(0_u64, |bits, id| bits << 1 | u64::from(draw.has(id.to_string().as_bytes())));
        assert_eq!(members, 8_593_948_735_427_837_228);
        assert!(draw.has("müşteri".as_bytes()));
    }
}
