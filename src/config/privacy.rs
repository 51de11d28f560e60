//! The section `[privacy]` from typed to resolved.

use super::check::Check;
use super::typed;
use crate::privacy::pseudonyms::KeySource;

/// What people write who mean a hash without a key.
const UNKEYED: [&str; 9] =
    ["hash", "hashed", "unkeyed", "sha256", "sha-256", "sha1", "md5", "blake3", "blake2"];

pub(super) fn resolve(raw: &typed::Privacy, check: &mut Check) -> Option<KeySource> {
    match raw.pseudonymise.as_str() {
        "off" => return None,
        "keyed" => {}
        unkeyed if UNKEYED.contains(&unkeyed.to_ascii_lowercase().as_str()) => {
            check.problem(
                "privacy.pseudonymise",
                format!("\"{unkeyed}\""),
                "is a hash without a key: all phone numbers can be hashed in minutes and compared. \
                 Take \"keyed\", with privacy.key_file or privacy.key_env",
            );
            return None;
        }
        other => {
            check.problem(
                "privacy.pseudonymise",
                format!("\"{other}\""),
                "must be one of \"off\", \"keyed\"",
            );
            return None;
        }
    }
    match (raw.key_file.trim(), raw.key_env.trim()) {
        ("", "") => {
            check.problem(
                "privacy.key_file",
                "\"\"",
                "name the key's file (`packwise privacy keygen` makes one), or its environment variable in privacy.key_env",
            );
            None
        }
        (file, "") => Some(KeySource::File(file.into())),
        // A key in the configuration would end up in every manifest.
        ("", name) if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            check.problem(
                "privacy.key_env",
                "(not shown)",
                "takes the name of a variable, not the key itself",
            );
            None
        }
        ("", name) => Some(KeySource::Environment(name.to_owned())),
        (file, _) => {
            check.problem("privacy.key_env", file, "leave it empty, or privacy.key_file: one of them counts");
            None
        }
    }
}
