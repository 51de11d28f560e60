//! Seeded generators keyed by what they decide.
//!
//! A random choice in packwise never depends on which thread makes it, on how many choices came
//! before it, or on the order of the input: its generator is derived from the run's seed, the name
//! of the decision and the key of the thing decided (a customer, a segment count, a day).

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The generator for one decision: the same `(seed, purpose, key)` always gives the same stream.
pub fn generator(seed: u64, purpose: &str, key: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(hash_u64(key, hash_bytes(purpose.as_bytes(), seed)))
}

/// A 64-bit hash of bytes under a seed (XXH3), stable over versions and platforms.
pub fn hash_bytes(bytes: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

/// A 64-bit mix of an integer under a seed: a bijection of `value` for a fixed seed, so that
/// distinct integers never collide (the finaliser of `SplitMix64`, Steele et al. 2014).
pub fn hash_u64(value: u64, seed: u64) -> u64 {
    let mut z = value ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_xoshiro::rand_core::RngCore;

    #[test]
    fn a_generator_depends_on_every_part_of_its_key() {
        let first = |seed, purpose, key| generator(seed, purpose, key).next_u64();
        let reference = first(1, "sample", 7);
        assert_eq!(reference, first(1, "sample", 7));
        assert_ne!(reference, first(2, "sample", 7));
        assert_ne!(reference, first(1, "start", 7));
        assert_ne!(reference, first(1, "sample", 8));
    }

    #[test]
    fn hash_u64_spreads_neighbouring_integers_over_high_and_low_bits() {
        let mut high = [0u32; 16];
        let mut low = [0u32; 16];
        for value in 0..16_000u64 {
            let hash = hash_u64(value, 42);
            high[(hash >> 60) as usize] += 1;
            low[(hash & 15) as usize] += 1;
        }
        assert!(high.iter().chain(&low).all(|&n| (850..1150).contains(&n)), "{high:?} {low:?}");
    }
}
