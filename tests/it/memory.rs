//! The memory limit is kept: by the whole process, not by one pool.

use crate::support::Shop;
use serde_json::Value;

/// Made dumps of 1,200,000 purchases under 256 MiB: enough customers that the models need nearly all of it. (Of 400,000 the limit
/// was kept while these took 272 MiB.)
#[test]
fn the_peak_of_the_process_stays_within_the_limit() {
    let shop = Shop::new();
    let sizes = ["--transactions", "1200000", "--customers", "190000", "--packages", "300", "--days", "92"];
    shop.ok(&[&["generate", "--out", "made"][..], &sizes].concat());
    let telco = concat!(env!("CARGO_MANIFEST_DIR"), "/config/telco.toml");
    let line = shop.ok(&[
        "run",
        "--json",
        "-c",
        telco,
        "--memory",
        "256MiB",
        "--threads",
        "2",
        "--set",
        concat!("policies.path=", env!("CARGO_MANIFEST_DIR"), "/config/policies.toml"),
        "--set",
        "transactions.path=made/transactions",
        "--set",
        "catalogue.path=made/packages.parquet",
    ]);
    let run: Value = serde_json::from_str(&line).expect("one JSON object");
    let peak = run["peak_memory_bytes"].as_u64().expect("a number of bytes");
    // 0 where the system does not tell; Linux does.
    assert!(peak < 256 << 20, "{peak} bytes");
    if cfg!(target_os = "linux") {
        assert!(peak > 64 << 20, "{peak} bytes are too few to have been measured");
    }
}
