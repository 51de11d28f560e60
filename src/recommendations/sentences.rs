//! Reasons in words: what many offers say the same is put into words once a batch, and found again by one number.

use super::reasons::Reason;
use crate::engine::columns::{Column, Lends, Texts};
use crate::engine::part::encode::dictionary::Numbers;
use arrow::array::{ArrayRef, Int32Array};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::sync::Arc;

/// The reasons of a batch. Its memory is used again for the next one.
pub(super) struct Sentences {
    keys: Column<Int32Type>,
    /// Reasons that are one word, in the order of their first rows, and of each the number of its text.
    words: Numbers<i64>,
    of_words: Vec<i32>,
    /// All others.
    others: HashMap<Reason, i32, FixedState>,
    texts: Texts,
    text: String,
    /// Those that are pushed next, each with its word.
    next: Vec<(Reason, Option<i64>)>,
}

impl Default for Sentences {
    fn default() -> Self {
        Self {
            keys: Column::default(),
            words: Numbers::new(),
            of_words: Vec::new(),
            others: HashMap::default(),
            texts: Texts::default(),
            text: String::new(),
            next: Vec::new(),
        }
    }
}

impl Sentences {
    /// Takes reasons that [`Sentences::push`] is called for soon, and asks for where they would stand: each is a miss of the cache.
    pub fn expect(&mut self, reasons: impl Iterator<Item = Reason>) {
        self.next.clear();
        self.next.extend(reasons.map(|reason| (reason, reason.packed().map(u64::cast_signed))));
        self.next.iter().filter_map(|(_, word)| *word).for_each(|word| self.words.expect(word));
    }

    /// The same once more, when what was asked for has come: where the words are that stand there.
    pub fn expect_words(&self) {
        self.next.iter().filter_map(|(_, word)| *word).for_each(|word| self.words.expect_entry(word));
    }

    /// Appends the expected reasons.
    pub fn push<'a>(&mut self, name: impl Fn(u32) -> &'a str) {
        let Self { keys, words, of_words, others, texts, text, next } = self;
        for (reason, word) in next.drain(..) {
            let number = (of_words.len() + others.len()) as i32;
            let mut tell = || {
                reason.write(text, &name);
                texts.push(text);
                number
            };
            keys.push(match word {
                Some(word) => {
                    let word = words.index_of(word) as usize;
                    if word == of_words.len() {
                        of_words.push(tell());
                    }
                    of_words[word]
                }
                None => *others.entry(reason).or_insert_with(tell),
            });
        }
    }

    /// Of every row the number of its reason, and the reasons by number.
    pub fn lend(&mut self) -> Result<(Int32Array, ArrayRef), ArrowError> {
        self.words.clear();
        self.of_words.clear();
        self.others.clear();
        Ok((self.keys.lend(), Arc::new(self.texts.lend()?)))
    }

    /// To be called when the batch is written and dropped.
    pub fn take_back(&mut self) {
        self.keys.take_back();
        self.texts.take_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};

    #[test]
    fn every_row_gets_its_reason_and_equal_ones_are_put_into_words_once() {
        let mut sentences = Sentences::default();
        // The last one is too large for a word.
        let reasons = [(0, 0), (1, 0), (0, 0), (3, 1 << 12), (3, 1 << 12)]
            .map(|(segment, near)| Reason::of_test(segment, near));
        for _ in 0..2 {
            for some in reasons.chunks(2) {
                sentences.expect(some.iter().copied());
                sentences.expect_words();
                sentences.push(|_| "A");
            }
            let (keys, words) = sentences.lend().unwrap();
            assert_eq!(keys.values()[..], [0, 1, 0, 2, 2]);
            let words = words.as_string::<i32>();
            assert_eq!((words.len(), words.value(1)), (3, "Sells well in segment 2"));
            assert!(words.value(2).starts_with("4096 of the 50 most similar"));
            sentences.take_back();
        }
    }
}
