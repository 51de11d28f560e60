//! Customers whose rows are left out: digests of their ids, under a key that the output keeps for it.
//!
//! Plain ids in a list of those who want to be forgotten would defeat its purpose. Without pseudonyms the digests'
//! key lies beside them, so that the list is only as secret as the output; with pseudonyms it is the key of
//! pseudonyms, which is elsewhere.

use super::pseudonyms::Pseudonyms;
use std::collections::HashSet;

/// The list, ready to be asked. Memory: 32 bytes a customer.
#[derive(Clone)]
pub struct Forgotten {
    digests: Digests,
    customers: HashSet<[u8; 16]>,
}

/// How ids become digests.
#[derive(Clone)]
pub struct Digests {
    key: Pseudonyms,
}

/// Shows how many they are.
impl std::fmt::Debug for Forgotten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forgotten").field("customers", &self.customers.len()).finish_non_exhaustive()
    }
}

impl Digests {
    pub fn new(key: Pseudonyms) -> Self {
        Self { key }
    }

    /// The digest of an id, hexadecimal.
    pub fn of(&self, id: &str) -> String {
        self.key.of(id)
    }

    /// Tells lists under one key from those under another.
    pub fn key_id(&self) -> &str {
        self.key.key_id()
    }
}

impl Forgotten {
    /// From digests as [`Digests::of`] writes them; what is none is passed over.
    pub fn new<'a>(digests: Digests, customers: impl Iterator<Item = &'a str>) -> Self {
        Self { digests, customers: customers.filter_map(bytes).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.customers.is_empty()
    }

    pub fn len(&self) -> usize {
        self.customers.len()
    }

    /// Tells one list from another.
    pub fn fingerprint(&self) -> String {
        let mut sorted: Vec<_> = self.customers.iter().collect();
        sorted.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        sorted.into_iter().for_each(|digest| {
            hasher.update(digest);
        });
        hasher.finalize().to_hex().to_string()
    }

    /// Whether the customer with this id is to be forgotten.
    pub fn has(&self, id: &str) -> bool {
        bytes(&self.digests.of(id)).is_some_and(|digest| self.customers.contains(&digest))
    }

    /// Whether the customer with this pseudonym is, where pseudonyms are the digests.
    pub fn has_pseudonym(&self, pseudonym: &str) -> bool {
        bytes(pseudonym).is_some_and(|digest| self.customers.contains(&digest))
    }
}

/// The 16 bytes of 32 hexadecimal digits.
fn bytes(digest: &str) -> Option<[u8; 16]> {
    if digest.len() != 32 || !digest.is_ascii() {
        return None;
    }
    Some(u128::from_str_radix(digest, 16).ok()?.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_on_the_list_are_known_by_their_ids_and_nobody_else() {
        let digests = Digests::new(Pseudonyms::new([3; 32]));
        let list = [digests.of("905289577569"), digests.of("cust-b-1"), "nonsense".to_owned()];
        let forgotten = Forgotten::new(digests.clone(), list.iter().map(String::as_str));
        assert_eq!(forgotten.len(), 2);
        assert!(forgotten.has(" 905289577569") && forgotten.has("cust-b-1") && !forgotten.has("cust-b-2"));
        assert!(forgotten.has_pseudonym(&digests.of("cust-b-1")) && !forgotten.has_pseudonym("cust-b-1"));
        assert!(!format!("{forgotten:?}").contains("905289"));
        let other = Forgotten::new(Digests::new(Pseudonyms::new([4; 32])), list.iter().map(String::as_str));
        assert!(!other.has("cust-b-1"), "a list is of its key");
    }
}
