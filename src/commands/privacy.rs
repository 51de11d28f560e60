//! `packwise privacy`.

use super::print;
use crate::cli::PrivacyCommand;
use crate::error::Error;
use crate::privacy::pseudonyms;

pub fn run(command: &PrivacyCommand, json: bool) -> Result<u8, Error> {
    let PrivacyCommand::Keygen { out } = command;
    let key_id = pseudonyms::generate(out)?;
    let path = out.display();
    let text = match json {
        true => format!("{}\n", serde_json::json!({"key_file": path.to_string(), "key_id": key_id})),
        false => format!(
            "Key {key_id} in {path}: keep a copy elsewhere, without it nobody can be looked up by their id\n"
        ),
    };
    print(text.as_bytes())?;
    Ok(0)
}
