//! `packwise runs`: which run readers go by, what differs between two, what is damaged, what may go.

use crate::support::{Ids, Shop, shop};
use serde_json::Value;

/// Settings of a run whose offers differ from those of the others.
fn made(shop: &Shop, top: u32) -> String {
    shop.run(&[&format!("recommendations.top={top}")]).run_id
}

/// What a `runs` command says as JSON.
#[track_caller]
fn said(shop: &Shop, code: i32, command: &[&str]) -> Value {
    let arguments = [&["runs", "-c", "packwise.toml", "--json"], command].concat();
    let output = shop.packwise(&arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {errors}");
    serde_json::from_slice(if output.stdout.is_empty() { &output.stderr } else { &output.stdout }).unwrap()
}

/// Offers of the run that readers go by.
fn offers(shop: &Shop) -> String {
    let counted = "SELECT count(*) AS rows FROM recommendations";
    shop.ok(&["query", "-c", "packwise.toml", "--format", "csv", counted])
}

#[test]
fn readers_go_by_the_run_that_was_gone_back_to_until_the_next_one() {
    let shop = shop(Ids::Integer, 200);
    let few = made(&shop, 2);
    let of_few = offers(&shop);
    let many = made(&shop, 5);
    let of_many = offers(&shop);
    assert_ne!(of_few, of_many);
    assert_eq!(said(&shop, 0, &["rollback", &few])["current"], few.as_str());
    assert_eq!(offers(&shop), of_few);
    let listed = said(&shop, 0, &["list"]);
    let current: Vec<_> = listed.as_array().unwrap().iter().filter(|run| run["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["run_id"], few.as_str());
    // A pinned run is read whatever the current one is.
    let pinned = ["query", "-c", "packwise.toml", "--run", &many, "--format", "csv"];
    assert_eq!(shop.ok(&[&pinned[..], &["SELECT count(*) AS rows FROM recommendations"]].concat()), of_many);
    made(&shop, 5);
    assert_eq!(offers(&shop), of_many, "the next run counts again");
    let log: Vec<String> = (1..=4)
        .map(|number| {
            let text = std::fs::read_to_string(shop.path(&format!("out/_log/{number}.json"))).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()["action"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(log, ["publish", "publish", "rollback", "publish"]);
    let unknown = said(&shop, 1, &["rollback", "20200101T000000Z-00000000"]);
    assert!(unknown["error"].to_string().contains("there is no run 20200101T000000Z-00000000"), "{unknown}");
}

#[test]
fn two_runs_are_compared() {
    let shop = shop(Ids::Integer, 200);
    let (few, many) = (made(&shop, 2), made(&shop, 5));
    let found = said(&shop, 0, &["diff", &few, &many]);
    let text = found.to_string();
    assert!(text.contains("recommendations.top"), "{text}");
    assert!(!text.contains("\"segments.k\""), "only what differs: {text}");
    let people = shop.ok(&["runs", "-c", "packwise.toml", "diff", &few, &many]);
    assert!(people.contains("recommendations.top") && people.contains("recommendations"), "{people}");
    let same = shop.ok(&["runs", "-c", "packwise.toml", "diff", &few, &few]);
    assert!(!same.contains("recommendations.top"), "{same}");
}

#[test]
fn damage_is_found_and_named() {
    let shop = shop(Ids::Integer, 200);
    let run = shop.run(&[]);
    let whole = said(&shop, 0, &["verify"]);
    assert_eq!(whole["damaged"], Value::Array(Vec::new()));
    assert!(whole["files"].as_u64().unwrap() > 15);
    let file = |table: &str| {
        let listed = &run.tables[table].files[0].path;
        shop.path(&format!("out/runs/{}/{listed}", run.run_id))
    };
    // One bit, a cut, and a missing file.
    let flipped = file("recommendations");
    let mut bytes = std::fs::read(&flipped).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&flipped, bytes).unwrap();
    let cut = file("customer_features");
    let length = std::fs::metadata(&cut).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&cut).unwrap().set_len(length - 1).unwrap();
    std::fs::remove_file(file("packages")).unwrap();
    let damaged = said(&shop, 1, &["verify", &run.run_id]);
    let mut found: Vec<String> = damaged["damaged"]
        .as_array()
        .unwrap()
        .iter()
        .map(|damage| format!("{} {}", damage["path"].as_str().unwrap(), damage["problem"].as_str().unwrap()))
        .collect();
    found.sort();
    let cut = format!("customer_features/part-00000.parquet has {} bytes instead of {length}", length - 1);
    assert_eq!(
        found,
        [
            cut.as_str(),
            "packages/part-00000.parquet is missing",
            "recommendations/part-00000.parquet has another checksum"
        ]
    );
}

#[test]
fn a_manifest_that_cannot_be_read_does_not_hide_the_other_runs() {
    let shop = shop(Ids::Integer, 200);
    let (first, second) = (made(&shop, 2), made(&shop, 3));
    let path = shop.path(&format!("out/runs/{first}/manifest.json"));
    std::fs::write(&path, "{\"format\": 1, ").unwrap();
    let listed = said(&shop, 0, &["list"]);
    assert!(listed[0]["problem"].to_string().contains("cannot be read"), "{listed}");
    assert_eq!(listed[1]["run_id"], second.as_str());
    assert_eq!(listed[1]["current"], true);
    let people = shop.ok(&["runs", "-c", "packwise.toml", "list"]);
    assert!(people.contains(&first) && people.contains(&second), "{people}");
    // It is neither judged nor removed, and going back to it is refused.
    let removed = said(&shop, 0, &["gc", "--keep", "1", "--older-than", "0d", "--grace", "0d"]);
    assert_eq!(removed["runs"], Value::Array(Vec::new()));
    assert!(path.exists());
    said(&shop, 1, &["rollback", &first]);
    // A damaged current run is an error, and no other is read in its place.
    std::fs::write(shop.path(&format!("out/runs/{second}/manifest.json")), "").unwrap();
    let query = shop.packwise(&["query", "-c", "packwise.toml", "SELECT 1"]);
    let message = String::from_utf8(query.stderr).unwrap();
    assert_eq!(query.status.code(), Some(1));
    assert!(message.contains(&second) && message.contains("cannot be read"), "{message}");
}

#[test]
fn old_runs_go_but_what_is_kept_read_or_not_ours_stays() {
    let shop = shop(Ids::Integer, 200);
    let ids: Vec<String> = (2..6).map(|top| made(&shop, top)).collect();
    let all = ["gc", "--keep", "1", "--older-than", "0d", "--grace", "0d"];
    let kept = |retention: &[&str]| said(&shop, 0, &[&["gc"], retention].concat())["runs"].clone();
    let none = Value::Array(Vec::new());
    assert_eq!(kept(&["--keep", "2"]), none, "all are younger than 30 days");
    assert_eq!(kept(&["--keep", "1", "--older-than", "0d"]), none, "all were read a moment ago");
    said(&shop, 0, &["rollback", &ids[1]]);
    shop.write(&format!("out/runs/{}/notes.txt", ids[0]), "mine");
    let plan = said(&shop, 0, &[&all[..], &["--dry-run"]].concat());
    let expected = serde_json::json!([ids[0], ids[2]]);
    assert_eq!(plan["runs"], expected);
    assert_eq!(shop.runs(), ids, "a dry run removes nothing");

    let removed = said(&shop, 0, &all);
    assert_eq!(removed["runs"], expected);
    assert_eq!(removed["foreign"], serde_json::json!([format!("runs/{}/notes.txt", ids[0])]));
    assert_eq!((&removed["files"], &removed["bytes"]), (&plan["files"], &plan["bytes"]), "as it had said");
    assert!(removed["bytes"].as_u64().unwrap() > 100_000);
    assert_eq!(shop.runs(), [ids[1].as_str(), ids[3].as_str()], "the current one and the newest");
    let left = std::fs::read_dir(shop.path(&format!("out/runs/{}", ids[0]))).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["notes.txt"]);
    said(&shop, 1, &["rollback", &ids[0]]);
    said(&shop, 0, &["verify", &ids[1]]);
    said(&shop, 0, &["verify", &ids[3]]);
}

#[test]
fn a_removal_waits_for_no_run_and_disturbs_none() {
    let shop = shop(Ids::Integer, 200);
    made(&shop, 2);
    let lock = std::fs::File::create(shop.path("out/.packwise.lock")).unwrap();
    lock.lock().unwrap();
    let locked = said(&shop, 5, &["gc"]);
    assert!(locked["error"].to_string().contains("another run is writing"), "{locked}");
    // Looking needs no lock.
    said(&shop, 0, &["gc", "--dry-run"]);
    said(&shop, 0, &["list"]);
}
