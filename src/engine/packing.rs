//! Rows without optional columns in one 64-bit word each: customer, second, package and channel, from the upper bits to
//! the lower.
//!
//! A bucket is a narrow range of customers, and a base buys a few hundred packages over a few months, so few of the bits
//! of the columns differ: 8 bytes a row instead of 18, moved as one and sorted as numbers. What does not fit goes by
//! column beside them: which rows do is no more than a matter of speed, and nothing that is published depends on it.

use super::rows::Rows;
use crate::numerics::simd::{Kernel, widest};

/// The least bits that packages and channels get where their number is not known before they are read, and the most that
/// packages get.
const UNKNOWN_PACKAGES: std::ops::RangeInclusive<u32> = 10..=16;
const UNKNOWN_CHANNELS: u32 = 4;
const DAY: u32 = 86_400;

/// Keys of customers as numbers that need fewer bits, in the same order.
#[derive(Debug, Clone, Copy)]
pub struct Numbers {
    /// The number of each key; `u64::MAX` for a key without one.
    pub of_keys: fn(&[u64], u32, &mut Vec<u64>),
    pub to_key: fn(u64, u32) -> u64,
    /// Passed to both.
    pub digits: u32,
}

/// What is known of the rows before they are read.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    pub numbers: Numbers,
    /// Numbers of a sample of customers, ascending; at least one.
    pub sample: &'a [u64],
    /// First keys of all buckets but the first, as numbers.
    pub splitters: &'a [u64],
    /// Least and largest second of a sample.
    pub seconds: (u32, u32),
    /// Distinct packages and channels, where these are known.
    pub packages: Option<usize>,
    pub channels: Option<usize>,
}

/// The bits of a word.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    numbers: Numbers,
    first_second: u32,
    customer_bits: u32,
    second_bits: u32,
    package_bits: u32,
    channel_bits: u32,
}

/// A row as its word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// Distance to the least customer of the bucket.
    pub customer: u64,
    pub second: u32,
    pub package: u32,
    pub channel: u16,
}

impl Packing {
    /// Divides a word so that most rows will fit, and says what customer each bucket's words count from. None where a
    /// word is too small.
    pub fn of(expected: &Expected) -> Option<(Self, Vec<u64>)> {
        let Expected { numbers, sample, splitters, seconds: (least, most), packages, channels } = expected;
        let bits = |values: u64| u64::BITS - values.saturating_sub(1).leading_zeros();
        // Room for what the sample has missed, on both sides.
        let span = most.checked_sub(*least)?;
        let second_bits = bits(u64::from(span) + u64::from(span / 4) + 2 * u64::from(DAY)).min(u32::BITS);
        let slack = ((1u64 << second_bits) - 1 - u64::from(span)) / 2;
        let channel_bits =
            channels.map_or(UNKNOWN_CHANNELS, |channels| bits(channels as u64 + 1)).min(u16::BITS);
        let package_bits = match packages {
            Some(packages) => bits(*packages as u64)..=bits(*packages as u64),
            None => UNKNOWN_PACKAGES,
        };
        let (first, last) = (*sample.first()?, *sample.last()?);
        let starts = || std::iter::once(first).chain(splitters.iter().copied());
        let ends = splitters.iter().copied().chain([last.saturating_add(1)]);
        let widths: Vec<u64> = starts().zip(ends).map(|(start, end)| end.saturating_sub(start)).collect();
        package_bits.rev().find_map(|package_bits| {
            let customer_bits = u64::BITS.checked_sub(second_bits + package_bits + channel_bits)?;
            let room = 1u64.checked_shl(customer_bits)?;
            let fitting = widths.iter().filter(|width| **width + **width / 8 < room).count();
            (4 * fitting >= 3 * widths.len()).then(|| {
                let packing = Self {
                    numbers: *numbers,
                    first_second: least.saturating_sub(slack as u32),
                    customer_bits,
                    second_bits,
                    package_bits,
                    channel_bits,
                };
                let mut bases: Vec<u64> = starts().collect();
                bases[0] = first.saturating_sub(room.saturating_sub(widths[0]) / 2);
                // A key without a number is out of reach of all.
                bases.iter_mut().for_each(|base| *base = (*base).min(u64::MAX - room));
                (packing, bases)
            })
        })
    }

    /// Bits below those of the customer.
    pub fn low_bits(&self) -> u32 {
        self.second_bits + self.of_one_second()
    }

    /// Bits below those of the second: words that agree above them are of one customer and second.
    pub fn of_one_second(&self) -> u32 {
        self.package_bits + self.channel_bits
    }

    /// The numbers that [`Packing::word`] takes.
    pub(super) fn numbers_of(&self, keys: &[u64], out: &mut Vec<u64>) {
        (self.numbers.of_keys)(keys, self.numbers.digits, out);
    }

    /// What words have below their customers; `u64::MAX` for rows that do not fit.
    pub(super) fn lower_bits(&self, rows: &Rows, out: &mut Vec<u64>) {
        struct All<'a>(Packing, &'a Rows, &'a mut Vec<u64>);
        impl Kernel for All<'_> {
            type Output = ();
            #[inline(always)]
            fn run(self) {
                let Self(packing, rows, out) = self;
                out.clear();
                let columns = rows.seconds.iter().zip(&rows.packages).zip(&rows.channels);
                out.extend(
                    columns.map(|((second, package), channel)| packing.low(*second, *package, *channel)),
                );
            }
        }
        widest(All(*self, rows, out));
    }

    #[inline(always)]
    fn low(&self, second: u32, package: u32, channel: u16) -> u64 {
        let second = u64::from(second.wrapping_sub(self.first_second));
        let (package, channel) = (u64::from(package), u64::from(channel));
        let none = (1u64 << self.channel_bits) - 1;
        let is_none = channel == u64::from(u16::MAX);
        let fits = (second >> self.second_bits | package >> self.package_bits) == 0;
        let low = second << self.of_one_second()
            | package << self.channel_bits
            | if is_none { none } else { channel };
        if fits & (is_none | (channel < none)) { low } else { u64::MAX }
    }

    /// The word of a customer's number in a bucket that counts from `base`, and of the lower bits; None if it does not fit.
    #[inline(always)]
    pub(super) fn word(&self, base: u64, number: u64, low: u64) -> Option<u64> {
        let customer = number.wrapping_sub(base);
        (customer >> self.customer_bits == 0 && low != u64::MAX).then_some(customer << self.low_bits() | low)
    }

    #[inline(always)]
    pub fn unpack(&self, word: u64) -> Unpacked {
        let low = |bits: u32, shift: u32| word >> shift & ((1 << bits) - 1);
        let none = (1 << self.channel_bits) - 1;
        let channel = low(self.channel_bits, 0);
        Unpacked {
            customer: word >> self.low_bits(),
            second: self.first_second.wrapping_add(low(self.second_bits, self.of_one_second()) as u32),
            package: low(self.package_bits, self.channel_bits) as u32,
            channel: if channel == none { u16::MAX } else { channel as u16 },
        }
    }

    /// The key of a customer of a bucket that counts from `base`.
    pub fn key(&self, base: u64, customer: u64) -> u64 {
        (self.numbers.to_key)(base.wrapping_add(customer), self.numbers.digits)
    }

    /// Appends rows by column.
    pub fn unpack_all(&self, base: u64, words: &[u64], rows: &mut Rows) {
        rows.keys.extend(words.iter().map(|word| self.key(base, word >> self.low_bits())));
        rows.seconds.extend(words.iter().map(|word| self.unpack(*word).second));
        rows.packages.extend(words.iter().map(|word| self.unpack(*word).package));
        rows.channels.extend(words.iter().map(|word| self.unpack(*word).channel));
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys as they are.
    pub const AS_THEY_ARE: Numbers = Numbers {
        of_keys: |keys, _, out| {
            out.clear();
            out.extend_from_slice(keys);
        },
        to_key: |number, _| number,
        digits: 0,
    };

    fn expected<'a>(sample: &'a [u64], splitters: &'a [u64]) -> Expected<'a> {
        let seconds = (1_700_000_000, 1_708_000_000);
        Expected { numbers: AS_THEY_ARE, sample, splitters, seconds, packages: Some(600), channels: None }
    }

    proptest! {
        #[test]
        fn a_row_fits_and_returns_or_does_not_fit(
            customer in prop_oneof![0..90_000_000u64, any::<u64>()],
            second in prop_oneof![1_700_000_000..1_708_000_000u32, any::<u32>()],
            package in prop_oneof![0..600u32, any::<u32>()],
            channel in prop_oneof![0..15u16, Just(u16::MAX), any::<u16>()],
        ) {
            let splitters = [10_000_000, 40_000_000];
            let (packing, bases) = Packing::of(&expected(&[5, 10_000_000, 50_000_000], &splitters)).unwrap();
            let base = bases[splitters.partition_point(|splitter| *splitter <= customer)];
            let usual = customer < 50_000_000
                && (1_700_000_000..1_708_000_000).contains(&second)
                && package < 600
                && (channel < 15 || channel == u16::MAX);
            let low = packing.low(second, package, channel);
            match packing.word(base, customer, low) {
                Some(word) => {
                    let row = packing.unpack(word);
                    prop_assert_eq!(packing.key(base, row.customer), customer);
                    prop_assert_eq!((row.second, row.package, row.channel), (second, package, channel));
                    let mut rows = Rows::default();
                    packing.unpack_all(base, &[word], &mut rows);
                    prop_assert_eq!((rows.keys[0], rows.seconds[0]), (customer, second));
                    prop_assert_eq!((rows.packages[0], rows.channels[0]), (package, channel));
                }
                None => prop_assert!(!usual),
            }
            prop_assert_eq!(packing.word(base, u64::MAX, low), None);
        }

        #[test]
        fn words_order_by_customer_then_second(
            a in (0..1_000_000u64, 1_700_000_000..1_708_000_000u32, 0..600u32),
            b in (0..1_000_000u64, 1_700_000_000..1_708_000_000u32, 0..600u32),
        ) {
            let (packing, bases) = Packing::of(&expected(&[0, 999_999], &[])).unwrap();
            let word = |(customer, second, package)| packing.word(bases[0], customer, packing.low(second, package, 3)).unwrap();
            prop_assert_eq!(word(a).cmp(&word(b)), a.cmp(&b));
        }
    }

    #[test]
    fn what_a_word_has_no_room_for_is_not_packed() {
        let sample: Vec<u64> = (0..64).map(|at| at << 57).collect();
        let splitters = [1 << 58, 1 << 60];
        assert!(Packing::of(&expected(&sample, &splitters)).is_none(), "customers too far apart");
        let narrow = [0, 1 << 17];
        let years = Expected { seconds: (0, u32::MAX), ..expected(&narrow, &[]) };
        assert!(Packing::of(&years).is_some(), "seconds have at most 32 bits");
        let unknown = Expected { packages: None, ..years.clone() };
        let (packing, _) = Packing::of(&unknown).unwrap();
        assert_eq!((packing.second_bits, packing.package_bits, packing.customer_bits), (32, 10, 18));
        assert!(Packing::of(&Expected { sample: &[], ..years }).is_none());
    }
}
