//! Customers' privacy: pseudonyms in place of ids, and customers who are to be forgotten.
//!
//! | file | does |
//! |---|---|
//! | this one | what becomes of the ids of an input |
//! | [`pseudonyms`] | keyed hashes of ids, and where their key is |
//! | [`suppression`] | small groups in reports |
//! | [`forgotten`] | the list of those whose rows are left out, without their ids |

pub mod forgotten;
pub mod pseudonyms;
pub mod suppression;

use crate::transactions::text_column::TextColumn;
use arrow::array::{Array, ArrayRef};
use arrow::error::ArrowError;
use forgotten::Forgotten;
use pseudonyms::{KeyError, KeySource, Pseudonyms};

/// What becomes of the ids of an input.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    /// None: ids are published as they are.
    pub pseudonyms: Option<Pseudonyms>,
    /// Their rows are left out.
    pub forgotten: Option<Forgotten>,
}

impl Ids {
    /// With pseudonyms if the configuration asks for them, and nobody forgotten.
    pub fn load(source: Option<&KeySource>) -> Result<Self, KeyError> {
        Ok(Self { pseudonyms: source.map(Pseudonyms::load).transpose()?, forgotten: None })
    }

    /// Whether ids go on as they come.
    pub fn are_as_they_come(&self) -> bool {
        self.pseudonyms.is_none() && self.forgotten.as_ref().is_none_or(Forgotten::is_empty)
    }

    /// A column of ids as it goes on, and the rows of customers who are to be forgotten.
    pub fn column(&self, ids: &ArrayRef) -> Result<(ArrayRef, Vec<usize>), ArrowError> {
        let column = match &self.pseudonyms {
            Some(pseudonyms) => pseudonyms.column(ids)?,
            None => ids.clone(),
        };
        let mut rows = Vec::new();
        if let Some(forgotten) = self.forgotten.as_ref().filter(|forgotten| !forgotten.is_empty()) {
            let texts = TextColumn::new(&column)?;
            let is_pseudonym = self.pseudonyms.is_some();
            rows = (0..column.len())
                .filter(|row| {
                    texts.get(*row).is_some_and(|id| match is_pseudonym {
                        true => forgotten.has_pseudonym(id),
                        false => forgotten.has(id),
                    })
                })
                .collect();
        }
        Ok((column, rows))
    }
}
