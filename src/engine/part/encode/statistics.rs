//! Least and greatest values, as footers and page indexes have them (parquet.thrift, `Statistics`).

use super::delta::put_deltas;
use parquet::basic::{BoundaryOrder, Type};
use parquet::bloom_filter::Sbbf;
use parquet::data_type::{AsBytes, ByteArray};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnIndexBuilder;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::{Statistics, ValueStatistics};
use std::cmp::Ordering;

/// Texts that are longer have no statistics.
const LONGEST: usize = 64;
/// Part of the look-ups of other values that a filter lets pass.
const FALSE_POSITIVES: f64 = 0.05;

/// A number of a fixed width, as columns hold it.
pub trait Number: Copy + PartialEq + PartialOrd + Send + AsBytes + 'static {
    /// Values that lie above and below all others.
    const ENDS: (Self, Self);

    /// Tells values apart, also those that compare as equal.
    fn bits(self) -> u64;
    /// Appends integers as differences.
    fn put_deltas(values: &[Self], out: &mut Vec<u8>);
    /// Appends values as they are.
    fn put_plain(values: &[Self], out: &mut Vec<u8>);
    /// What the footer says of the bounds.
    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics;

    /// Least and greatest; None without a value, or with nothing but NaN. Eight lanes do not wait for each other.
    fn bounds(values: &[Self]) -> Option<(Self, Self)> {
        let (mut least, mut most) = ([Self::ENDS.0; 8], [Self::ENDS.1; 8]);
        let (eights, rest) = values.as_chunks::<8>();
        let mut see = |at: usize, value: Self| {
            // Nothing compares with NaN.
            least[at] = if value < least[at] { value } else { least[at] };
            most[at] = if value > most[at] { value } else { most[at] };
        };
        for eight in eights {
            (0..8).for_each(|at| see(at, eight[at]));
        }
        rest.iter().enumerate().for_each(|(at, value)| see(at, *value));
        let all = least.into_iter().zip(most).reduce(|one, other| {
            (if other.0 < one.0 { other.0 } else { one.0 }, if other.1 > one.1 { other.1 } else { one.1 })
        })?;
        (all.0 <= all.1).then_some(all)
    }
}

macro_rules! number {
    ($type:ty, $ends:expr, $variant:ident, $bits:expr, $deltas:expr, $bounds:expr) => {
        impl Number for $type {
            const ENDS: (Self, Self) = $ends;

            fn bits(self) -> u64 {
                $bits(self)
            }

            fn put_deltas(values: &[Self], out: &mut Vec<u8>) {
                $deltas(values, out)
            }

            fn put_plain(values: &[Self], out: &mut Vec<u8>) {
                let start = out.len();
                out.resize(start + size_of_val(values), 0);
                let (places, _) = out[start..].as_chunks_mut::<{ size_of::<$type>() }>();
                for (place, value) in places.iter_mut().zip(values) {
                    *place = value.to_le_bytes();
                }
            }

            fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
                let (min, max) = bounds.map($bounds).unzip();
                Statistics::$variant(
                    ValueStatistics::new(min, max, None, Some(nulls), false)
                        .with_backwards_compatible_min_max(true),
                )
            }
        }
    };
}

number!(
    i64,
    (i64::MAX, i64::MIN),
    Int64,
    |v| v as u64,
    |values, out| put_deltas(values, false, out),
    |bounds| bounds
);
number!(i32, (i32::MAX, i32::MIN), Int32, |v| v as u32 as u64, small_deltas, |bounds| bounds);
number!(
    f64,
    (f64::INFINITY, f64::NEG_INFINITY),
    Double,
    f64::to_bits,
    // Never asked for: the format has differences of integers alone.
    f64::put_plain,
    // Zeros compare as equal: the bounds must hold both.
    |(min, max): (f64, f64)| (if min == 0.0 { -0.0 } else { min }, if max == 0.0 { 0.0 } else { max })
);

fn small_deltas(values: &[i32], out: &mut Vec<u8>) {
    let values: Vec<i64> = values.iter().copied().map(i64::from).collect();
    put_deltas(&values, true, out);
}

/// The bounds of both.
pub fn wider<T: PartialOrd>(one: Option<(T, T)>, other: Option<(T, T)>) -> Option<(T, T)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((
            if other.0 < one.0 { other.0 } else { one.0 },
            if other.1 > one.1 { other.1 } else { one.1 },
        )),
        (one, other) => one.or(other),
    }
}

/// Of flags: what false and true are, as numbers.
pub fn of_flags(has_false: bool, has_true: bool, nulls: u64) -> Statistics {
    let bounds = (has_false || has_true).then_some((!has_false, has_true));
    let (min, max) = bounds.unzip();
    Statistics::Boolean(
        ValueStatistics::new(min, max, None, Some(nulls), false).with_backwards_compatible_min_max(true),
    )
}

/// Least and greatest text, by their bytes.
#[derive(Default)]
pub struct TextBounds {
    least: Vec<u8>,
    most: Vec<u8>,
    any: bool,
}

impl TextBounds {
    pub fn see(&mut self, text: &[u8]) {
        if !self.any || text < self.least.as_slice() {
            replace(&mut self.least, text);
        }
        if !self.any || text > self.most.as_slice() {
            replace(&mut self.most, text);
        }
        self.any = true;
    }

    pub fn any(&self) -> bool {
        self.any
    }

    /// Whether these lie behind those of an earlier page.
    pub fn compared_with(&self, before: &Self) -> Ordering {
        match self.any && before.any {
            true => self.least.cmp(&before.least).min(self.most.cmp(&before.most)),
            false => Ordering::Greater,
        }
    }

    pub fn see_all(&mut self, other: &Self) {
        if other.any {
            self.see(&other.least);
            self.see(&other.most);
        }
    }

    /// Both, if there are any and they are short.
    pub fn short(&self) -> Option<(&[u8], &[u8])> {
        let is_short = self.any && self.least.len().max(self.most.len()) <= LONGEST;
        is_short.then_some((self.least.as_slice(), self.most.as_slice()))
    }

    pub fn statistics(&self, nulls: u64) -> Statistics {
        let (min, max) = self
            .short()
            .map(|(min, max)| (ByteArray::from(min.to_vec()), ByteArray::from(max.to_vec())))
            .unzip();
        Statistics::ByteArray(ValueStatistics::new(min, max, None, Some(nulls), false))
    }

    pub fn clear(&mut self) {
        self.any = false;
    }
}

fn replace(known: &mut Vec<u8>, text: &[u8]) {
    known.clear();
    known.extend_from_slice(text);
}

/// What makes customers easy to find: the bounds of every page, and a bloom filter.
pub struct Finder {
    physical: Type,
    pages: ColumnIndexBuilder,
    is_rising: bool,
    /// Made for the first value.
    filter: Option<Sbbf>,
    most: usize,
    /// Texts of the page, one after the other, and where each ends.
    texts: Vec<u8>,
    ends: Vec<usize>,
}

impl Finder {
    /// For up to `most` values a row group.
    pub fn new(physical: Type, most: usize) -> Self {
        Self {
            physical,
            pages: ColumnIndexBuilder::new(physical),
            is_rising: true,
            filter: None,
            most,
            texts: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// A text that is not that of the row before. It waits for the end of the page: the filter is larger than the near
    /// cache, and texts that go into it one after the other do not wait for each other's memory.
    pub fn see_text(&mut self, text: &[u8]) {
        self.texts.extend_from_slice(text);
        self.ends.push(self.texts.len());
    }

    /// A value that is not that of the row before.
    pub fn see<T: AsBytes + ?Sized>(&mut self, value: &T) -> Result<(), ParquetError> {
        let filter = match &mut self.filter {
            Some(filter) => filter,
            none => none.insert(Sbbf::new_with_ndv_fpp(self.most as u64, FALSE_POSITIVES)?),
        };
        filter.insert(value);
        Ok(())
    }

    /// A page ends, with its bounds and how they compare with those of the page before. A page that has values without
    /// bounds leaves the whole row group without them.
    pub fn end_page(
        &mut self,
        (rows, nulls): (usize, usize),
        bounds: Option<(&[u8], &[u8])>,
        compared: Ordering,
    ) -> Result<(), ParquetError> {
        let (texts, ends) = (std::mem::take(&mut self.texts), std::mem::take(&mut self.ends));
        let mut start = 0;
        for end in &ends {
            self.see(&texts[start..*end])?;
            start = *end;
        }
        (self.texts, self.ends) = (texts, ends);
        self.texts.clear();
        self.ends.clear();
        match bounds {
            None if nulls < rows => self.pages.to_invalid(),
            None => self.pages.append(true, Vec::new(), Vec::new(), nulls as i64),
            Some((min, max)) => self.pages.append(false, min.to_vec(), max.to_vec(), nulls as i64),
        }
        self.is_rising &= compared != Ordering::Less;
        Ok(())
    }

    /// What the footer gets, and the next row group begins.
    pub fn finish(&mut self) -> Result<(Option<Sbbf>, Option<ColumnIndexMetaData>), ParquetError> {
        let mut done = std::mem::replace(self, Self::new(self.physical, self.most));
        if let Some(filter) = &mut done.filter {
            filter.fold_to_target_fpp(FALSE_POSITIVES);
        }
        if done.is_rising {
            done.pages.set_boundary_order(BoundaryOrder::ASCENDING);
        }
        let index = done.pages.valid().then(|| done.pages.build()).transpose()?;
        Ok((done.filter, index))
    }
}
