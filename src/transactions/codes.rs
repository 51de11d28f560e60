//! Numbers for the texts that repeat (packages, channels), so that kernels see integers.
//!
//! Codes are given in the order of discovery, which depends on threads; [`Codes::sorted`] then gives
//! every code its rank among the sorted texts, and nothing after the shuffle sees anything else.

use std::collections::HashMap;
use std::sync::RwLock;
use xxhash_rust::xxh3::Xxh3Builder;

type Map = HashMap<Box<str>, u32, Xxh3Builder>;

/// A dictionary shared by all workers: fixed (a catalogue), or growing up to a number of texts.
pub struct Codes {
    map: RwLock<Map>,
    fixed: bool,
    limit: usize,
}

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Known(u32),
    /// Not in a fixed dictionary.
    Unknown,
    /// A growing dictionary is full.
    TooMany,
}

impl Codes {
    /// The given texts only; their codes are their positions.
    pub fn fixed<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let map = texts.enumerate().map(|(code, text)| (text.into(), code as u32)).collect();
        Self { map: RwLock::new(map), fixed: true, limit: usize::MAX }
    }

    /// Any texts, `limit` at the most.
    pub fn growing(limit: usize) -> Self {
        Self { map: RwLock::default(), fixed: false, limit }
    }

    /// How many there are and will be; None while they grow.
    pub fn known(&self) -> Option<usize> {
        self.fixed.then(|| self.map.read().unwrap_or_else(std::sync::PoisonError::into_inner).len())
    }

    fn code(&self, text: &str) -> Code {
        let read = self.map.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(code) = read.get(text) {
            return Code::Known(*code);
        }
        drop(read);
        if self.fixed {
            return Code::Unknown;
        }
        let mut write = self.map.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let next = write.len();
        if let Some(code) = write.get(text) {
            Code::Known(*code)
        } else if next >= self.limit {
            Code::TooMany
        } else {
            write.insert(text.into(), next as u32);
            Code::Known(next as u32)
        }
    }

    /// The texts in order, and for every code its rank among them.
    pub fn sorted(&self) -> (Vec<String>, Vec<u32>) {
        let map = self.map.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut texts: Vec<(&str, u32)> = map.iter().map(|(text, code)| (text.as_ref(), *code)).collect();
        texts.sort_unstable();
        let mut ranks = vec![0; texts.len()];
        for (rank, (_, code)) in texts.iter().enumerate() {
            ranks[*code as usize] = rank as u32;
        }
        (texts.into_iter().map(|(text, _)| text.to_owned()).collect(), ranks)
    }
}

/// A worker's memory of codes that it has asked for.
#[derive(Default)]
pub struct CodeCache {
    map: HashMap<Box<str>, Code, Xxh3Builder>,
}

impl CodeCache {
    pub fn code(&mut self, codes: &Codes, text: &str) -> Code {
        if let Some(code) = self.map.get(text) {
            return *code;
        }
        let code = codes.code(text);
        // Unknown texts are not remembered: there may be millions of them.
        if matches!(code, Code::Known(_)) {
            self.map.insert(text.into(), code);
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_do_not_depend_on_the_order_of_discovery() {
        for order in [["b", "a", "c"], ["c", "b", "a"]] {
            let codes = Codes::growing(10);
            let mut cache = CodeCache::default();
            let found: Vec<u32> = order
                .iter()
                .map(|text| match cache.code(&codes, text) {
                    Code::Known(code) => code,
                    other => panic!("{other:?}"),
                })
                .collect();
            let (texts, ranks) = codes.sorted();
            for (text, code) in order.iter().zip(found) {
                assert_eq!(texts[ranks[code as usize] as usize], *text);
            }
        }
    }

    #[test]
    fn a_fixed_dictionary_knows_its_own_and_a_full_one_says_so() {
        let mut cache = CodeCache::default();
        let fixed = Codes::fixed(["x", "y"].into_iter());
        assert_eq!(cache.code(&fixed, "y"), Code::Known(1));
        assert_eq!(cache.code(&fixed, "z"), Code::Unknown);
        let full = Codes::growing(1);
        let mut cache = CodeCache::default();
        assert_eq!(cache.code(&full, "a"), Code::Known(0));
        assert_eq!(cache.code(&full, "b"), Code::TooMany);
    }
}
