//! A bounded sample of customers that does not depend on the order in which they come.
//!
//! Every customer has a hash; the sample is the n customers with the smallest ones (bottom-k or
//! KMV sampling: Cohen & Kaplan, *Summarizing data using bottom-k sketches*, PODC 2007). Which
//! those are is a property of the set, so files in any order, any number of threads and any number
//! of buckets give the same sample, and each customer is equally likely to be in it.

use thiserror::Error;

use super::random::hash_bytes;

/// Two samples that were not drawn the same way cannot be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a sample of {capacity} under seed {seed} cannot take in one of {other_capacity} under seed {other_seed}"
)]
pub struct MergeError {
    pub capacity: usize,
    pub seed: u64,
    pub other_capacity: usize,
    pub other_seed: u64,
}

/// One sampled customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampled<T> {
    pub hash: u64,
    pub key: Box<[u8]>,
    pub payload: T,
}

impl<T> Sampled<T> {
    /// The rank of a customer: the hash, and the key where two hashes agree.
    fn rank(&self) -> (u64, &[u8]) {
        (self.hash, &self.key)
    }
}

/// The `capacity` customers with the smallest hashes among those offered.
///
/// Offer each customer once. One offered twice takes two places, and nothing says which of two
/// different payloads stays when only one place is left.
///
/// Memory: the capacity and a quarter in keys and payloads.
#[derive(Debug, Clone)]
pub struct HashSample<T> {
    capacity: usize,
    seed: u64,
    /// No item with a larger hash can still get in.
    threshold: u64,
    items: Vec<Sampled<T>>,
}

impl<T> HashSample<T> {
    /// An empty sample of up to `capacity` customers; the seed decides which.
    pub fn new(capacity: usize, seed: u64) -> Self {
        Self { capacity, seed, threshold: u64::MAX, items: Vec::new() }
    }

    /// The hash by which this sample ranks a customer.
    pub fn hash(&self, key: &[u8]) -> u64 {
        hash_bytes(key, self.seed)
    }

    /// Whether a customer with this hash can get in. Ask before working out an expensive payload:
    /// after n·e^j customers only a share of about e^-j still pass.
    pub fn would_take(&self, hash: u64) -> bool {
        self.capacity > 0 && hash <= self.threshold
    }

    /// Offers a customer; the payload is made only if it can get in. Amortised constant time: the
    /// fifth that is too large is thrown out when the memory is full.
    pub fn offer(&mut self, key: &[u8], payload: impl FnOnce() -> T) {
        let hash = self.hash(key);
        if self.would_take(hash) {
            self.push(Sampled { hash, key: key.into(), payload: payload() });
        }
    }

    /// Takes in another sample, drawn with the same capacity and seed over other customers.
    pub fn merge(&mut self, other: Self) -> Result<(), MergeError> {
        if (self.capacity, self.seed) != (other.capacity, other.seed) {
            return Err(MergeError {
                capacity: self.capacity,
                seed: self.seed,
                other_capacity: other.capacity,
                other_seed: other.seed,
            });
        }
        for item in other.items {
            if self.would_take(item.hash) {
                self.push(item);
            }
        }
        Ok(())
    }

    /// The sample, by ascending hash (then key).
    pub fn into_sorted(mut self) -> Vec<Sampled<T>> {
        self.items.sort_unstable_by(|a, b| a.rank().cmp(&b.rank()));
        self.items.truncate(self.capacity);
        self.items
    }

    fn push(&mut self, item: Sampled<T>) {
        self.items.push(item);
        if self.items.len() >= self.capacity.saturating_add(self.capacity / 4 + 64) {
            self.shrink();
        }
    }

    /// Keeps the smallest `capacity` items and lowers the threshold to the largest of them.
    fn shrink(&mut self) {
        if self.items.len() > self.capacity {
            let last = self.capacity - 1;
            let (_, largest, _) = self.items.select_nth_unstable_by(last, |a, b| a.rank().cmp(&b.rank()));
            self.threshold = largest.hash;
            self.items.truncate(self.capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::random::generator;
    use proptest::prelude::*;
    use rand::Rng;

    fn key(customer: u64) -> [u8; 8] {
        customer.to_be_bytes()
    }

    fn sample_of(capacity: usize, customers: impl IntoIterator<Item = u64>) -> HashSample<u64> {
        let mut sample = HashSample::new(capacity, 11);
        for customer in customers {
            sample.offer(&key(customer), || customer * 10);
        }
        sample
    }

    fn brute_force(capacity: usize, customers: &[u64]) -> Vec<u64> {
        let mut ranked =
            customers.iter().map(|&c| (hash_bytes(&key(c), 11), key(c), c * 10)).collect::<Vec<_>>();
        ranked.sort_unstable();
        ranked.into_iter().take(capacity).map(|(_, _, payload)| payload).collect()
    }

    fn payloads(sample: HashSample<u64>) -> Vec<u64> {
        sample.into_sorted().into_iter().map(|item| item.payload).collect()
    }

    proptest! {
        #[test]
        fn any_order_and_any_split_give_the_smallest_hashes(
            capacity in 0_usize..40,
            customers in prop::collection::btree_set(0_u64..5_000, 0..300),
            shuffle in any::<u64>(),
            parts in 1_usize..6,
        ) {
            let mut customers = customers.into_iter().collect::<Vec<_>>();
            let expected = brute_force(capacity, &customers);
            let mut random = generator(shuffle, "shuffle", 0);
            for i in (1..customers.len()).rev() {
                customers.swap(i, random.gen_range(0..=i));
            }
            prop_assert_eq!(&payloads(sample_of(capacity, customers.iter().copied())), &expected);

            let mut merged = HashSample::new(capacity, 11);
            for part in 0..parts {
                let share = customers.iter().copied().skip(part).step_by(parts);
                merged.merge(sample_of(capacity, share)).unwrap();
            }
            prop_assert_eq!(payloads(merged), expected);
        }
    }

    #[test]
    fn few_payloads_are_made_and_memory_stays_bounded() {
        let mut made = 0;
        let mut sample = HashSample::new(100, 1);
        for customer in 0..100_000_u64 {
            sample.offer(&key(customer), || made += 1);
            assert!(sample.items.len() < 200);
        }
        // About 100 · (1 + ln 1000) = 790 in theory; the lazy threshold lets some more through.
        assert!((700..1_500).contains(&made), "{made}");
        assert_eq!(sample.into_sorted().len(), 100);
    }

    #[test]
    fn the_sample_is_uniform_over_customers() {
        let chosen = payloads(sample_of(2_000, 0..20_000));
        let early = chosen.iter().filter(|&&payload| payload < 100_000).count();
        // Half of them, give or take 5 standard deviations.
        assert!((890..1_110).contains(&early), "{early}");
    }

    #[test]
    fn equal_hashes_are_ranked_by_key() {
        let mut sample = HashSample::new(2, 0);
        for name in ["c", "a", "d", "b"] {
            sample.push(Sampled { hash: 5, key: name.as_bytes().into(), payload: name });
        }
        let kept = sample.into_sorted().into_iter().map(|item| item.payload).collect::<Vec<_>>();
        assert_eq!(kept, ["a", "b"]);
    }

    #[test]
    fn samples_drawn_differently_do_not_merge() {
        let mut sample = HashSample::<()>::new(5, 1);
        let error = sample.merge(HashSample::new(5, 2)).unwrap_err();
        assert_eq!(error.to_string(), "a sample of 5 under seed 1 cannot take in one of 5 under seed 2");
        assert!(sample.merge(HashSample::new(6, 1)).is_err());
        assert!(!HashSample::<()>::new(0, 1).would_take(0));
    }
}
