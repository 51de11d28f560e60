//! Pseudonyms: a keyed BLAKE3 hash of the id, of 128 bits, as 32 hexadecimal digits.
//!
//! Keyed, because phone numbers can be enumerated: an unkeyed hash of all ten billion numbers of a country takes minutes,
//! and then every pseudonym is known. 128 bits, because among a billion customers the chance that any two
//! share one is 10⁻²¹ (64 bits: one in 40). The key is never in the configuration, a log, an error or a manifest;
//! its id is, a hash that tells keys apart. BLAKE3's keyed mode: O'Connor et al., BLAKE3 (2020), section 2.3.

use arrow::array::{Array, ArrayRef, StringBuilder};
use arrow::error::ArrowError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::transactions::text_column::TextColumn;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Hexadecimal digits of a pseudonym.
pub const DIGITS: usize = 32;
/// What is hashed begins with what it is for, so that no id can be taken for a key's id.
const OF_ID: &[u8] = b"packwise pseudonym of a customer\0";
const OF_KEY: &[u8] = b"packwise id of a key\0";

/// Where the key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// 32 bytes, or 64 hexadecimal digits, in a file that nobody else may read.
    File(PathBuf),
    /// 64 hexadecimal digits in an environment variable of this name.
    Environment(String),
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read the key file {path}")]
    Unreadable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the key file {path} can be read by others (mode {mode:03o})")]
    Open { path: String, mode: u32 },
    #[error("the key file {path} does not hold a key of 32 bytes or 64 hexadecimal digits")]
    BadFile { path: String },
    #[error("the environment variable {name} for the key of pseudonyms is not set")]
    NotSet { name: String },
    #[error("the environment variable {name} does not hold 64 hexadecimal digits")]
    BadVariable { name: String },
    #[error("run {run} has pseudonyms under the key {of_run}, and the key at hand is {at_hand}")]
    OtherKey { run: String, of_run: String, at_hand: String },
    #[error("cannot write the key file {path}")]
    Unwritable {
        path: String,
        #[source]
        source: std::io::Error,
    },
}

/// A key, ready to be used.
#[derive(Clone)]
pub struct Pseudonyms {
    key: [u8; KEY_BYTES],
    key_id: String,
}

/// Shows the key's id and nothing else.
impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pseudonyms").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Pseudonyms {
    pub fn new(key: [u8; KEY_BYTES]) -> Self {
        let key_id = blake3::keyed_hash(&key, OF_KEY).to_hex()[..16].to_owned();
        Self { key, key_id }
    }

    /// Reads the key.
    pub fn load(source: &KeySource) -> Result<Self, KeyError> {
        match source {
            KeySource::File(path) => from_file(path),
            KeySource::Environment(name) => {
                let text = std::env::var(name).map_err(|_| KeyError::NotSet { name: name.clone() })?;
                let key = digits(text.trim().as_bytes());
                key.map(Self::new).ok_or_else(|| KeyError::BadVariable { name: name.clone() })
            }
        }
    }

    /// 16 hexadecimal digits that tell this key from others and nothing about it.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The pseudonym of an id, whose spaces around it do not count.
    pub fn of(&self, id: &str) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(OF_ID).update(id.trim().as_bytes());
        hasher.finalize().to_hex()[..DIGITS].to_owned()
    }

    /// The pseudonyms of a column of ids; empty ids and nulls are null. About 0.1 µs an id.
    pub fn column(&self, ids: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let texts = TextColumn::new(ids)?;
        let mut column = StringBuilder::with_capacity(ids.len(), ids.len() * DIGITS);
        for row in 0..ids.len() {
            match texts.get(row).filter(|id| !id.trim().is_empty()) {
                Some(id) => column.append_value(self.of(id)),
                None => column.append_null(),
            }
        }
        Ok(Arc::new(column.finish()))
    }
}

/// Whether text has the form of a pseudonym.
pub fn is_pseudonym(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn from_file(path: &Path) -> Result<Pseudonyms, KeyError> {
    let name = || path.display().to_string();
    let unreadable = |source| KeyError::Unreadable { path: name(), source };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Open { path: name(), mode });
        }
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let key = <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok().or_else(|| digits(bytes.trim_ascii()));
    key.map(Pseudonyms::new).ok_or_else(|| KeyError::BadFile { path: name() })
}

/// A key from 64 hexadecimal digits.
fn digits(text: &[u8]) -> Option<[u8; KEY_BYTES]> {
    Some(*blake3::Hash::from_hex(text).ok()?.as_bytes())
}

/// A new key from the system's randomness.
pub fn random() -> std::io::Result<[u8; KEY_BYTES]> {
    use std::io::Read;
    let mut key = [0; KEY_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

/// Writes a new key to a file that nobody else may read; returns its id.
pub fn generate(path: &Path) -> Result<String, KeyError> {
    use std::io::Write;
    let fail = |source| KeyError::Unwritable { path: path.display().to_string(), source };
    let key = random().map_err(fail)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let text = format!("{}\n", blake3::Hash::from_bytes(key).to_hex());
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(fail)?;
    Ok(Pseudonyms::new(key).key_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, StringArray};

    #[test]
    fn an_id_has_one_pseudonym_under_a_key_and_another_under_another() {
        let (one, two) = (Pseudonyms::new([1; 32]), Pseudonyms::new([2; 32]));
        let pseudonym = one.of("905289577569");
        assert!(is_pseudonym(&pseudonym), "{pseudonym}");
        assert_eq!(one.of(" 905289577569\t"), pseudonym);
        assert_ne!(one.of("0905289577569"), pseudonym, "leading zeros are part of an id");
        assert_ne!(two.of("905289577569"), pseudonym);
        assert_ne!(one.key_id(), two.key_id());
        assert!(!format!("{one:?}").contains("1, 1"), "the key is not shown");
    }

    #[test]
    fn integers_and_text_of_the_same_digits_are_the_same_customer() {
        let key = Pseudonyms::new([7; 32]);
        let integers =
            key.column(&(Arc::new(Int64Array::from(vec![Some(-5), None, Some(90)])) as ArrayRef)).unwrap();
        let texts = key.column(&(Arc::new(StringArray::from(vec!["-5", " ", "90 "])) as ArrayRef)).unwrap();
        assert_eq!(integers.as_string::<i32>(), texts.as_string::<i32>());
        assert!(integers.is_null(1) && integers.is_valid(0));
    }

    #[test]
    #[cfg(unix)]
    fn a_key_comes_from_a_file_that_nobody_else_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("key");
        let source = KeySource::File(path.clone());
        assert!(matches!(Pseudonyms::load(&source), Err(KeyError::Unreadable { .. })));
        let id = generate(&path).unwrap();
        assert_eq!(Pseudonyms::load(&source).unwrap().key_id(), id);
        assert!(matches!(generate(&path), Err(KeyError::Unwritable { .. })), "a key is never written over");
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o640);
        assert!(matches!(Pseudonyms::load(&source), Err(KeyError::Open { mode: 0o640, .. })));
        mode(0o600);
        for (bytes, good) in [
            (vec![9; 32], true),
            (vec![9; 31], false),
            (b"ab".repeat(32), true),
            (b"xy".repeat(32), false),
            (Vec::new(), false),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Pseudonyms::load(&source).is_ok(), good);
        }
        let unset = Pseudonyms::load(&KeySource::Environment("PACKWISE_NO_SUCH_KEY".into()));
        assert!(matches!(unset, Err(KeyError::NotSet { .. })));
    }
}
