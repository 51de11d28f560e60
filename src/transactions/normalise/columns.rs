//! Columns of a batch as the normaliser reads them: codes, times and numbers.

use super::super::InputError;
use super::super::codes::{Code, CodeCache, Codes};
use super::super::text_column::TextColumn;
use super::super::times;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType};

pub(super) enum Times {
    /// Their seconds are worked out for the whole batch.
    Typed(ArrayRef),
    Texts(TextColumn),
}

/// What became of a text that may stand for nothing.
#[derive(Clone, Copy)]
pub(super) enum Looked {
    Nothing,
    Code(Code),
}

/// Codes of the entries of a dictionary, as far as rows have asked: a growing dictionary must not learn texts that nobody
/// bought. They stay as long as batches share the dictionary, as those of a row group do.
#[derive(Default)]
pub(super) struct EntryCodes {
    seen: Vec<Option<Looked>>,
    of: Option<StringArray>,
}

impl EntryCodes {
    /// To be called before the rows of a column are looked up.
    pub(super) fn begin(&mut self, column: &TextColumn) {
        let TextColumn::Dictionary(_, texts) = column else { return };
        let is_same = self.of.as_ref().is_some_and(|known| {
            known.offsets().ptr_eq(texts.offsets())
                && known.values().ptr_eq(texts.values())
                && known.nulls() == texts.nulls()
        });
        if !is_same {
            self.seen.clear();
            // Held, so that no other lies where it does.
            self.of = Some(texts.clone());
        }
    }
}

/// The code of a row's text. An entry of a dictionary is looked up once.
pub(super) fn look_up(
    column: &TextColumn,
    row: usize,
    EntryCodes { seen, .. }: &mut EntryCodes,
    cache: &mut CodeCache,
    codes: &Codes,
) -> Looked {
    let mut find = |text: Option<&str>| match text.map(trimmed).filter(|text| !text.is_empty()) {
        None => Looked::Nothing,
        Some(text) => Looked::Code(cache.code(codes, text)),
    };
    match column.key(row) {
        Some(key) => {
            if seen.len() <= key {
                seen.resize(key + 1, None);
            }
            *seen[key].get_or_insert_with(|| find(column.get(row)))
        }
        None => find(column.get(row)),
    }
}

/// As `str::trim`; most texts have nothing to trim, which their first and last byte tell.
pub(super) fn trimmed(text: &str) -> &str {
    let is_plain = |byte: Option<&u8>| byte.is_some_and(|byte| (33..127).contains(byte));
    let bytes = text.as_bytes();
    if is_plain(bytes.first()) && is_plain(bytes.last()) { text } else { text.trim() }
}

/// Seconds since 1970 of every row of a date or timestamp array, rounded down (of a null anything); none
/// for other types.
pub(super) fn all_seconds(array: &ArrayRef, seconds: &mut Vec<i64>) {
    seconds.clear();
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = array.as_primitive::<TimestampMicrosecondType>().values();
            seconds.extend(values.iter().map(|value| value.div_euclid(1_000_000)));
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let values = array.as_primitive::<TimestampNanosecondType>().values();
            seconds.extend(values.iter().map(|value| value.div_euclid(1_000_000_000)));
        }
        _ => seconds.extend((0..array.len()).map_while(|row| times::seconds(array.as_ref(), row))),
    }
}

/// A number column: the values, and the original to tell "null" from "not a number".
pub(super) struct Numbers {
    values: Float64Array,
    original: ArrayRef,
    texts: Option<TextColumn>,
}

impl Numbers {
    pub(super) fn new(array: &ArrayRef) -> Result<Self, InputError> {
        let values = cast(array, &DataType::Float64).map_err(InputError::batch)?;
        let is_text = matches!(array.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let texts = is_text.then(|| TextColumn::new(array)).transpose().map_err(InputError::batch)?;
        Ok(Self { values: values.as_primitive::<Float64Type>().clone(), original: array.clone(), texts })
    }

    /// None if null (or empty text), NaN if not a number.
    pub(super) fn get(&self, row: usize) -> Option<f64> {
        if self.values.is_valid(row) {
            Some(self.values.value(row))
        } else if self.original.is_null(row) {
            None
        } else {
            let text = self.texts.as_ref().and_then(|texts| texts.get(row)).unwrap_or_default();
            (!text.trim().is_empty()).then_some(f64::NAN)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimming_is_that_of_the_standard_library() {
        for text in ["", " ", "a", " a", "a ", "\u{a0}a\u{a0}", "ä", "a\u{2003}", "a b", "\u{7f}", "\ta\n"] {
            assert_eq!(trimmed(text), text.trim(), "{text:?}");
        }
    }

    #[test]
    fn seconds_of_a_column_are_those_of_its_rows() {
        use arrow::array::{Date32Array, TimestampMicrosecondArray, TimestampNanosecondArray};
        let arrays: [ArrayRef; 3] = [
            std::sync::Arc::new(TimestampMicrosecondArray::from(vec![-1, 0, 1_999_999])),
            std::sync::Arc::new(TimestampNanosecondArray::from(vec![-1, 0, 1_999_999_999])),
            std::sync::Arc::new(Date32Array::from(vec![-1, 0, 20_000])),
        ];
        for array in &arrays {
            let mut found = Vec::new();
            all_seconds(array, &mut found);
            let expected: Vec<i64> = (0..3).filter_map(|row| times::seconds(array.as_ref(), row)).collect();
            assert_eq!((found.len(), &found), (3, &expected));
        }
        let mut none = vec![1];
        all_seconds(&(std::sync::Arc::new(arrow::array::Int64Array::from(vec![5])) as ArrayRef), &mut none);
        assert!(none.is_empty());
    }
}
