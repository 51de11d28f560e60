//! Text columns in any of Arrow's layouts behind one `get`.

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, LargeStringArray, StringArray, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;

/// A column of text, whatever its layout; other types are cast to text once.
pub enum TextColumn {
    Plain(StringArray),
    Large(LargeStringArray),
    View(StringViewArray),
    Dictionary(Int32Array, StringArray),
}

impl TextColumn {
    pub fn new(array: &ArrayRef) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Plain(array.as_string::<i32>().clone()),
            DataType::LargeUtf8 => Self::Large(array.as_string::<i64>().clone()),
            DataType::Utf8View => Self::View(array.as_string_view().clone()),
            DataType::Dictionary(keys, values) if **keys == DataType::Int32 && **values == DataType::Utf8 => {
                let dictionary = array.as_dictionary::<Int32Type>();
                Self::Dictionary(dictionary.keys().clone(), dictionary.values().as_string::<i32>().clone())
            }
            _ => Self::Plain(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()),
        })
    }

    /// The entry of the dictionary that a row has; None if it is null or the column has no dictionary.
    pub fn key(&self, row: usize) -> Option<usize> {
        match self {
            Self::Dictionary(keys, _) => keys.is_valid(row).then(|| keys.value(row) as usize),
            _ => None,
        }
    }

    /// The text of a row; None if it is null.
    pub fn get(&self, row: usize) -> Option<&str> {
        match self {
            Self::Plain(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Large(array) => array.is_valid(row).then(|| array.value(row)),
            Self::View(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Dictionary(keys, values) => {
                if keys.is_null(row) {
                    return None;
                }
                let key = keys.value(row) as usize;
                values.is_valid(key).then(|| values.value(key))
            }
        }
    }
}

/// Whether a column of this type can hold ids or codes.
pub fn is_code(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_code(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        other => other.is_integer(),
    }
}
