//! Histograms of whole numbers (money in minor units, days, counts) that can be merged.
//!
//! Bins are one wide up to 4,095 and log-linear beyond: 2,048 bins of equal width for every power of
//! two, so that a bin is narrower than 1/2,048 of the values in it. The guarantee is that of DDSketch
//! (Masson, Rim and Lee 2019, PVLDB 12); bins of powers of two take shifts in place of logarithms. Where
//! the bins lie depends on nothing but the value: histograms of parts add up to the histogram of the
//! whole, in any order and to the last customer.

/// A power of two has 2^11 bins.
const BIN_BITS: u32 = 11;
const BINS: usize = 1 << BIN_BITS;

/// One `T` for every bin that has been used, and for the empty ones below it.
///
/// Memory: `size_of::<T>()` for each bin up to the largest used, in steps of 2,048: 4,096 bins for values
/// below 4,096, 20,480 below a million, 108,544 at the most, as many again for negative values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bins<T> {
    /// By bin of the magnitude; the first is not used.
    negative: Vec<T>,
    positive: Vec<T>,
}

impl<T: Clone + Default> Bins<T> {
    pub fn new() -> Self {
        Self { negative: Vec::new(), positive: Vec::new() }
    }

    /// What is kept for the bin of a value.
    pub fn at(&mut self, value: i64) -> &mut T {
        let bin = bin_of(value.unsigned_abs());
        let side = if value < 0 { &mut self.negative } else { &mut self.positive };
        grow(side, bin + 1);
        &mut side[bin]
    }

    /// The bins in the order of their values, each with its largest value.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &T)> {
        let negative = self.negative.iter().enumerate().skip(1).rev();
        let positive = self.positive.iter().enumerate();
        negative
            .map(|(bin, each)| (0_i64.wrapping_sub_unsigned(smallest(bin)), each))
            .chain(positive.map(|(bin, each)| (largest(bin), each)))
    }

    /// Takes in other bins; `add` joins two of the same values.
    pub fn merge(&mut self, other: &Self, add: impl Fn(&mut T, &T)) {
        for (mine, theirs) in [(&mut self.negative, &other.negative), (&mut self.positive, &other.positive)] {
            grow(mine, theirs.len());
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| add(mine, theirs));
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        (self.negative.capacity() + self.positive.capacity()) * size_of::<T>()
    }
}

/// How often values of each bin came.
///
/// Memory: 8 bytes a bin ([`Bins`]), 32 KiB for values below 4,096, 160 KiB below a million, 1.7 MiB at
/// the most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    bins: Bins<u64>,
    count: u64,
    sum: i128,
    /// The smallest and the largest value; in the wrong order while there is none.
    least: i64,
    greatest: i64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    pub fn new() -> Self {
        Self { bins: Bins::new(), count: 0, sum: 0, least: i64::MAX, greatest: i64::MIN }
    }

    /// Counts a value `weight` times.
    pub fn add(&mut self, value: i64, weight: u64) {
        if weight == 0 {
            return;
        }
        let bin = self.bins.at(value);
        *bin = bin.saturating_add(weight);
        self.count = self.count.saturating_add(weight);
        // The sum of 2^64 values of 63 bits and a sign fits.
        self.sum = self.sum.wrapping_add(i128::from(value) * i128::from(weight));
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }

    /// Takes in the counts of other values. Merging in any order gives the same histogram.
    pub fn merge(&mut self, other: &Self) {
        self.bins.merge(&other.bins, |mine, theirs| *mine = mine.saturating_add(*theirs));
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The exact sum of the values.
    pub fn sum(&self) -> i128 {
        self.sum
    }

    /// The exact smallest value.
    pub fn least(&self) -> Option<i64> {
        (self.count > 0).then_some(self.least)
    }

    /// The exact largest value.
    pub fn greatest(&self) -> Option<i64> {
        (self.count > 0).then_some(self.greatest)
    }

    /// A cut point with at least the share `p` of the values not above it: the largest value of the bin
    /// in which the value of rank ⌈p n⌉ lies (Hyndman and Fan 1996, type 1), and not above the largest
    /// value of all. It is exact up to 4,095, and beyond that too large by less than 1/2,048 of the value
    /// of that rank. None without values, or if `p` is not from 0 to 1. Cost: one pass over the bins.
    pub fn quantile(&self, p: f64) -> Option<i64> {
        if self.count == 0 || !(0.0..=1.0).contains(&p) {
            return None;
        }
        let rank = rank(p, self.count);
        let mut below = 0_u64;
        for (edge, count) in self.bins.iter() {
            below = below.saturating_add(*count);
            if below >= rank {
                return Some(edge.min(self.greatest));
            }
        }
        Some(self.greatest)
    }

    /// Values not above a cut point that [`Self::quantile`] gave. Exact for such a point, because it ends
    /// a bin or is the largest value; for any other value the whole of its bin is counted.
    pub fn count_up_to(&self, cut: i64) -> u64 {
        let mut reached = 0_u64;
        let mut before = None;
        for (edge, count) in self.bins.iter() {
            if before.is_some_and(|before| before >= cut) {
                break;
            }
            reached = reached.saturating_add(*count);
            before = Some(edge);
        }
        reached
    }

    /// The bins that are not empty, in the order of their values: the largest value and the count.
    pub fn iter(&self) -> impl Iterator<Item = (i64, u64)> {
        self.bins.iter().filter(|(_, count)| **count > 0).map(|(edge, count)| (edge, *count))
    }

    /// Bytes held by the bins.
    pub fn bytes(&self) -> usize {
        self.bins.bytes()
    }
}

/// ⌈p n⌉ from 1 to n. A product that misses a whole number by rounding alone counts as that number:
/// 0.55 × 100 is 55 and not 55.00000000000001.
fn rank(p: f64, n: u64) -> u64 {
    let product = p * n as f64;
    let whole = product.round();
    let rank = if (product - whole).abs() <= 4.0 * f64::EPSILON * product { whole } else { product.ceil() };
    (rank as u64).clamp(1, n)
}

fn grow<T: Clone + Default>(bins: &mut Vec<T>, length: usize) {
    if bins.len() < length {
        // The length follows from the largest value alone, so that equal contents are equal bins.
        let length = length.next_multiple_of(BINS);
        bins.reserve_exact(length - bins.len());
        bins.resize(length, T::default());
    }
}

/// The bin of a magnitude.
fn bin_of(magnitude: u64) -> usize {
    if magnitude < 2 * BINS as u64 {
        return magnitude as usize;
    }
    let shift = magnitude.ilog2() - BIN_BITS;
    ((shift as usize) << BIN_BITS) + (magnitude >> shift) as usize
}

/// The smallest magnitude of a bin.
fn smallest(bin: usize) -> u64 {
    let shift = shift_of(bin);
    ((bin - (shift << BIN_BITS)) as u64) << shift
}

/// The largest magnitude of a bin of values not below zero.
fn largest(bin: usize) -> i64 {
    (smallest(bin) + ((1 << shift_of(bin)) - 1)) as i64
}

/// How many low bits of a magnitude its bin does not tell.
fn shift_of(bin: usize) -> usize {
    (bin >> BIN_BITS).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[i64]) -> Histogram {
        let mut histogram = Histogram::new();
        values.iter().for_each(|value| histogram.add(*value, 1));
        histogram
    }

    #[test]
    fn bins_are_contiguous_and_hold_their_values() {
        for bin in 1..=bin_of(i64::MAX as u64) {
            assert_eq!(smallest(bin), largest(bin - 1) as u64 + 1, "bin {bin}");
            assert_eq!((bin_of(smallest(bin)), bin_of(largest(bin) as u64)), (bin, bin));
        }
        assert_eq!(largest(bin_of(i64::MAX as u64)), i64::MAX);
        assert_eq!(smallest(bin_of(i64::MIN.unsigned_abs())), 1 << 63);
    }

    #[test]
    fn small_values_are_exact() {
        let histogram = of(&[7, -3, 4_095, 0, 7, -4_095]);
        assert_eq!(histogram.iter().collect::<Vec<_>>(), [(-4_095, 1), (-3, 1), (0, 1), (7, 2), (4_095, 1)]);
        assert_eq!([0.0, 0.5, 0.51, 1.0].map(|p| histogram.quantile(p)), [-4_095, 0, 7, 4_095].map(Some));
        assert_eq!((histogram.count(), histogram.sum()), (6, 11));
        assert_eq!((histogram.count_up_to(0), histogram.count_up_to(-1)), (3, 2));
    }

    #[test]
    fn extremes_neither_overflow_nor_move() {
        let mut histogram = of(&[i64::MIN, i64::MAX, i64::MAX]);
        assert_eq!([0.1, 1.0].map(|p| histogram.quantile(p)), [Some(i64::MIN), Some(i64::MAX)]);
        assert_eq!(histogram.sum(), i128::from(i64::MAX) - 1);
        assert!(histogram.bytes() <= 2 * 8 * (108_544 + BINS), "{}", histogram.bytes());
        histogram.add(1, u64::MAX);
        assert_eq!((histogram.count(), histogram.quantile(0.5)), (u64::MAX, Some(1)));
    }

    #[test]
    fn nothing_has_no_quantile_and_shares_are_shares() {
        let mut histogram = Histogram::new();
        histogram.add(5, 0);
        assert_eq!((&histogram, histogram.quantile(0.5)), (&Histogram::default(), None));
        assert_eq!((histogram.least(), histogram.count_up_to(9)), (None, 0));
        histogram.add(5, 3);
        assert_eq!([-0.1, 1.1, f64::NAN].map(|p| histogram.quantile(p)), [None; 3]);
        assert_eq!((histogram.least(), histogram.greatest()), (Some(5), Some(5)));
    }

    #[test]
    fn a_rank_is_not_moved_by_rounding() {
        // 0.55 × 100 in floating point is a little above 55.
        assert_eq!((rank(0.55, 100), rank(0.2, 5), rank(0.21, 5), rank(0.0, 5)), (55, 1, 2, 1));
    }

    #[test]
    fn the_stated_memory_is_what_is_held() {
        for (largest, bins) in [(4_095, 4_096), (999_999, 20_480), (i64::MAX, 108_544)] {
            assert_eq!(of(&[largest]).bytes(), 8 * bins, "{largest}");
        }
    }

    /// Values of all magnitudes, with ties.
    fn values() -> impl Strategy<Value = Vec<i64>> {
        let value = prop_oneof![-20_i64..20, 0_i64..1_000_000, any::<i64>(), Just(5_000)];
        prop::collection::vec(value, 1..200)
    }

    proptest! {
        // Each case fills and compares megabytes of bins.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_partition_in_any_order_merges_to_the_same(
            values in values(),
            owners in prop::collection::vec(0_usize..5, 200),
            turn in 0_usize..5,
        ) {
            let whole = of(&values);
            let mut parts = vec![Histogram::new(); 5];
            for (value, owner) in values.iter().zip(&owners).rev() {
                parts[*owner].add(*value, 1);
            }
            parts.rotate_left(turn);
            let mut merged = Histogram::new();
            parts.iter().for_each(|part| merged.merge(part));
            prop_assert_eq!(merged, whole);
        }

        #[test]
        fn a_quantile_is_close_above_the_sorted_one_and_counts_exactly(values in values(), p in 0.0..=1.0) {
            let histogram = of(&values);
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let exact = sorted[rank(p, sorted.len() as u64) as usize - 1];
            let cut = histogram.quantile(p).expect("values");
            let above = i128::from(cut) - i128::from(exact);
            prop_assert!(above >= 0);
            prop_assert!(above == 0 || above * 2_048 < i128::from(exact).abs(), "{cut} for {exact}");
            prop_assert!(exact.unsigned_abs() >= 4_096 || cut == exact);
            let up_to = values.iter().filter(|value| **value <= cut).count() as u64;
            prop_assert_eq!(histogram.count_up_to(cut), up_to);
        }
    }
}
