//! The integration tests, in one binary: every test goes through the real program or the crate's public
//! interface.

#[path = "it/made_up.rs"]
mod made_up;
#[path = "it/rows.rs"]
mod rows;
#[path = "it/support.rs"]
mod support;

#[path = "it/bad_files.rs"]
mod bad_files;
#[path = "it/bad_input.rs"]
mod bad_input;
#[path = "it/commands.rs"]
mod commands;
#[path = "it/contract.rs"]
mod contract;
#[path = "it/contrib.rs"]
mod contrib;
#[path = "it/determinism.rs"]
mod determinism;
#[path = "it/edge_cases.rs"]
mod edge_cases;
#[path = "it/evaluate.rs"]
mod evaluate;
#[path = "it/formats.rs"]
mod formats;
#[path = "it/full_disk.rs"]
mod full_disk;
#[path = "it/fuzz.rs"]
mod fuzz;
#[path = "it/lookup.rs"]
mod lookup;
#[path = "it/marketing.rs"]
mod marketing;
#[path = "it/memory.rs"]
mod memory;
#[path = "it/operators.rs"]
mod operators;
#[path = "it/oracle.rs"]
mod oracle;
#[path = "it/policies.rs"]
mod policies;
#[path = "it/policy_effects.rs"]
mod policy_effects;
#[path = "it/privacy.rs"]
mod privacy;
#[path = "it/publish.rs"]
mod publish;
#[path = "it/real_sets.rs"]
mod real_sets;
#[path = "it/recovery.rs"]
mod recovery;
#[path = "it/runs.rs"]
mod runs;
#[path = "it/s3.rs"]
mod s3;
#[allow(dead_code, reason = "src/runs/conformance.rs uses the rest of it")]
#[path = "it/s3_server/mod.rs"]
mod s3_server;
#[path = "it/schema_drift.rs"]
mod schema_drift;
#[path = "it/scores.rs"]
mod scores;
#[path = "it/security.rs"]
mod security;
#[path = "it/sql.rs"]
mod sql;
#[path = "it/suppression.rs"]
mod suppression;
#[path = "it/truth.rs"]
mod truth;
#[path = "it/value.rs"]
mod value;
