//! What a run is made from, so that work that is the same is recognised: by `--skip-if-fresh` for published runs, by
//! the journal for an unfinished one.

use super::Checked;
use crate::config::{Config, Layers};
use crate::engine::location::{self, InputFile};
use crate::error::Error;
use crate::privacy::forgotten::Forgotten;
use crate::privacy::pseudonyms::Pseudonyms;
use crate::runs::manifest::InputIdentity;
use crate::transactions::InputError;
use crate::transactions::source::Plan;
use tokio::runtime::Handle;

/// Settings that no published row depends on.
const UNSEEN: [&str; 5] = ["resources.", "output.", "object_store.", "metrics.", "privacy.key"];

/// What a run is made from.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The transaction files.
    pub input: InputIdentity,
    /// BLAKE3 over all files that are read, all settings that rows depend on, and the version of packwise.
    pub job: String,
    /// The same with everything else that decides what lies in which file: all settings and the program itself.
    pub work: String,
}

impl Identity {
    /// Of a job whose input was checked.
    pub fn of(checked: &Checked, config: &Config, layers: &Layers, runtime: &Handle) -> Result<Self, Error> {
        let input = input(&checked.plan);
        let mut job = blake3::Hasher::new();
        add(&mut job, "packwise", env!("CARGO_PKG_VERSION"));
        add(&mut job, "transactions", &input.fingerprint);
        let ids = &checked.plan.ids;
        add(&mut job, "key of pseudonyms", ids.pseudonyms.as_ref().map_or("", Pseudonyms::key_id));
        add(&mut job, "forgotten", &ids.forgotten.as_ref().map_or_else(String::new, Forgotten::fingerprint));
        if let Some(catalogue) = &config.catalogue {
            for file in location::list(&catalogue.path, "catalogue", runtime).map_err(InputError::from)? {
                add(&mut job, "catalogue", &identity(&file));
            }
        }
        add(&mut job, "policies", &format!("{:?}", checked.policies));
        if let Some(contacts) = &checked.policies.contact_history {
            for file in
                location::list(&contacts.path, "contact history", runtime).map_err(InputError::from)?
            {
                add(&mut job, "contacts", &identity(&file));
            }
        }
        let mut work = job.clone();
        for (key, value, _) in layers.entries() {
            if !UNSEEN.iter().any(|prefix| key.starts_with(prefix)) {
                add(&mut job, &key, &value.to_string());
            }
            add(&mut work, &key, &value.to_string());
        }
        add(&mut work, "program", &program());
        Ok(Self { input, job: hex(&job), work: hex(&work) })
    }
}

/// BLAKE3 over what identifies the transaction files, also those that are left out: it is the same whenever it turns
/// out that they cannot be read.
pub fn input(plan: &Plan) -> InputIdentity {
    let mut hasher = blake3::Hasher::new();
    let mut files: Vec<&InputFile> = plan.sources.iter().map(|source| &source.file).collect();
    files.extend(plan.left_out.iter().map(|left_out| &left_out.file));
    files.sort_by(|a, b| a.name.cmp(&b.name));
    for file in files {
        hasher.update(format!("{}\n", identity(file)).as_bytes());
    }
    InputIdentity { files: plan.sources.len(), rows: plan.rows, bytes: plan.bytes, fingerprint: hex(&hasher) }
}

/// Name, size and time of change.
fn identity(file: &InputFile) -> String {
    format!("{}\u{0}{}\u{0}{}", file.name, file.bytes, file.modified)
}

/// The program file: one that was built anew does the work anew. Empty, and so always the same, where the system
/// does not tell.
fn program() -> String {
    let file = std::env::current_exe().and_then(std::fs::metadata);
    file.and_then(|file| Ok(format!("{} {:?}", file.len(), file.modified()?))).unwrap_or_default()
}

fn add(hasher: &mut blake3::Hasher, name: &str, value: &str) {
    for text in [name, value] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
}

fn hex(hasher: &blake3::Hasher) -> String {
    hasher.finalize().to_hex().to_string()
}
