//! Pseudonyms in place of ids, and customers who are to be forgotten, through the program.

use crate::support::{Ids, Shop, batch, lines, measure, purchases, shop, texts, write_parquet};
use packwise::privacy::pseudonyms::is_pseudonym;
use packwise::runs::manifest::Manifest;
use packwise::tables;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const KEYED: [&str; 2] = ["privacy.pseudonymise=keyed", "privacy.key_file=key"];

fn with_key(ids: Ids, customers: u32) -> Shop {
    let shop = shop(ids, customers);
    shop.ok(&["privacy", "keygen", "--out", "key"]);
    shop
}

/// A command with settings; standard output and error together, and the exit code.
fn said(shop: &Shop, command: &[&str], settings: &[&str]) -> (i32, String) {
    let mut arguments = vec![command[0], "-c", "packwise.toml"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    arguments.extend(&command[1..]);
    let output = shop.packwise(&arguments);
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

fn ids_of(shop: &Shop, run: &Manifest, table: &str) -> Vec<String> {
    texts(&shop.table(run, table), "customer_id")
}

/// Every line of every table of a run.
fn everything(shop: &Shop, run: &Manifest) -> Vec<String> {
    run.tables.keys().flat_map(|table| lines(&shop.table(run, table))).collect()
}

/// Everything that lies in a folder, as bytes.
fn grep(folder: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(grep(&entry, needle));
        } else if std::fs::read(&entry).unwrap().windows(needle.len()).any(|bytes| bytes == needle.as_bytes())
        {
            found.push(entry.display().to_string());
        }
    }
    found
}

/// Whether a text has the id as a word: one of a few digits may stand in a checksum by chance.
fn names(text: &str, id: &str) -> bool {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '+' || c == '-');
    text.split(ends).any(|word| word == id)
}

/// All files of a folder, one after the other.
fn text_of(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        text += &match entry.is_dir() {
            true => text_of(&entry),
            false => String::from_utf8_lossy(&std::fs::read(&entry).unwrap()).into_owned() + "\n",
        };
    }
    text
}

#[test]
fn a_run_under_pseudonyms_has_the_same_offers_and_no_id() {
    let shop = with_key(Ids::Phone, 300);
    let plain = shop.run(&[]);
    let ids: BTreeSet<String> = ids_of(&shop, &plain, "customer_features").into_iter().collect();
    let keyed = shop.run(&KEYED);
    let pseudonyms = ids_of(&shop, &keyed, "customer_features");
    assert_eq!(pseudonyms.len(), ids.len());
    assert!(pseudonyms.iter().all(|text| is_pseudonym(text)), "{pseudonyms:?}");
    for line in everything(&shop, &keyed) {
        assert!(!line.split('|').any(|cell| ids.contains(cell.trim())), "{line}");
    }
    let key_id = keyed.pseudonyms.clone().unwrap();
    let key = std::fs::read_to_string(shop.path("key")).unwrap();
    assert_eq!(grep(&shop.path("out"), key.trim()), Vec::<String>::new());
    assert!(!key.contains(&key_id));

    // Integers and text of the same digits are the same customers; another night gives the same pseudonyms.
    let again = shop.run(&KEYED);
    assert_eq!(ids_of(&shop, &again, "customer_features"), pseudonyms);
    assert!(again.quality.value.is_some());

    // The id finds its offers where the key is; elsewhere the pseudonym does.
    let id = ids.iter().next().unwrap();
    let offers = |settings: &[&str], customer: &str| {
        let (code, text) = said(&shop, &["lookup", customer, "--json"], settings);
        assert_eq!(code, 0, "{text}");
        let found: Value = serde_json::from_str(&text).unwrap();
        found["recommendations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|offer| offer["package_code"].to_string())
            .collect::<Vec<_>>()
    };
    let found: Value = serde_json::from_str(&said(&shop, &["lookup", id, "--json"], &KEYED).1).unwrap();
    let pseudonym = found["customer_id"].as_str().unwrap();
    assert!(is_pseudonym(pseudonym), "{found}");
    assert_eq!(offers(&[], pseudonym), offers(&KEYED, id));
    let (code, text) = said(&shop, &["lookup", "no-such-customer"], &KEYED);
    assert_eq!(code, 1, "{text}");
    shop.ok(&["privacy", "keygen", "--out", "other"]);
    let (code, text) = said(&shop, &["lookup", id], &[KEYED[0], "privacy.key_file=other"]);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains(&key_id) && text.contains("other key") || text.contains("the key at hand"),
        "{text}"
    );
    // A run under another key is not compared with one under this.
    let other = shop.run(&[KEYED[0], "privacy.key_file=other"]);
    assert_eq!(other.tables["rfm_migration"].rows, 0);
    let (code, text) = said(&shop, &["replay", "--out", "back"], &KEYED);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("pseudonyms"), "{text}");
}

#[test]
fn integer_ids_have_the_pseudonyms_of_their_digits() {
    let shop = with_key(Ids::Integer, 100);
    let integers = shop.run(&KEYED);
    let rows = batch(&purchases(100, 4), Ids::Integer);
    let text = arrow::compute::cast(rows.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
    write_parquet(&shop.path("dumps/all.parquet"), &crate::support::replace(&rows, "MSISDN", text));
    let texts = shop.run(&KEYED);
    assert_eq!(ids_of(&shop, &integers, "recommendations"), ids_of(&shop, &texts, "recommendations"));
}

#[test]
fn keys_that_protect_nothing_are_refused() {
    let shop = with_key(Ids::Integer, 50);
    for (settings, told) in [
        (vec!["privacy.pseudonymise=sha256"], "can be hashed in minutes"),
        (vec!["privacy.pseudonymise=keyed"], "privacy.key_file"),
        (vec!["privacy.pseudonymise=on"], "\"keyed\""),
        (vec!["privacy.pseudonymise=keyed", "privacy.key_file=nowhere"], "nowhere"),
        (vec!["privacy.pseudonymise=keyed", "privacy.key_env=PACKWISE_NO_SUCH_KEY"], "PACKWISE_NO_SUCH_KEY"),
        (
            vec![
                "privacy.pseudonymise=keyed",
                "privacy.key_env=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
            ],
            "takes the name",
        ),
    ] {
        let (code, text) = said(&shop, &["run"], &settings);
        assert_eq!(code, 2, "{settings:?}: {text}");
        assert!(text.contains(told), "{settings:?}: {text}");
        assert!(!text.contains("00112233"), "{text}");
    }
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(shop.path("key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, text) = said(&shop, &["run"], &KEYED);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("chmod 600 key") && text.contains("644"), "{text}");
}

#[test]
fn forgotten_customers_are_gone_from_old_runs_and_stay_out_of_new_ones() {
    for (ids, settings) in [(Ids::Phone, vec![]), (Ids::Integer, vec![]), (Ids::Phone, KEYED.to_vec())] {
        let shop = with_key(ids, 300);
        let publish = [&settings[..], &["neighbours.publish=true", "resources.buckets=8"]].concat();
        let plain = shop.run(&["output.path=plain"]);
        let customers = texts(&shop.table_in("plain", &plain, "customer_features"), "customer_id");
        let gone: Vec<&String> = customers.iter().step_by(97).collect();
        assert_eq!(gone.len(), 4);
        let (first, second) = (shop.run(&publish), shop.run(&publish));
        let unverified = shop.table(&first, "recommendations").num_rows();
        let list = gone.iter().map(|id| format!("{id}\n")).collect::<String>();
        shop.write("gone.txt", format!("customer_id\n{list}{list}no-such-customer\n"));
        let (code, text) = said(&shop, &["forget", "--customers", "gone.txt", "--json"], &settings);
        assert_eq!(code, 0, "{text}");
        let receipt: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&receipt["asked"], &receipt["forgotten"]), (&5.into(), &5.into()));
        assert_eq!(receipt["runs"].as_array().unwrap().len(), 2);
        assert!(!gone.iter().any(|id| names(&text, id)), "{text}");

        for run in [&first, &second] {
            let manifest = shop.path(&format!("out/runs/{}/manifest-1.json", run.run_id));
            let sealed: Manifest = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
            assert_eq!(sealed.sealed, 1);
            assert!(!shop.path(&format!("out/runs/{}/manifest.json", run.run_id)).exists());
            let left = ids_of(&shop, &sealed, "customer_features");
            assert_eq!(left.len(), customers.len() - gone.len());
            for table in tables::of_a_run().filter(|table| table.by_customer()) {
                for line in lines(&shop.table(&sealed, table.name)) {
                    assert!(
                        !line.split('|').any(|cell| gone.iter().any(|id| *id == cell)),
                        "{}: {line}",
                        table.name
                    );
                }
            }
            let (code, text) = said(&shop, &["runs", "verify", &run.run_id], &[]);
            assert_eq!(code, 0, "{text}");
        }
        // Nothing of the old files is left, nor an id in the clear anywhere beside the tables.
        for folder in ["out/_forgotten", "out/_log"] {
            let text = text_of(&shop.path(folder));
            gone.iter().for_each(|id| assert!(!names(&text, id), "{folder}: {id}"));
        }
        let (code, text) = said(&shop, &["lookup", gone[0]], &settings);
        assert_eq!(code, 1, "{text}");

        // The same input is no longer the same work, and the rows are left out and counted.
        let flags = [&publish[..], &[]].concat();
        let (code, text) = said(&shop, &["run", "--skip-if-fresh", "--json"], &flags);
        assert_eq!(code, 0, "{text}");
        let newest: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let newest = shop.manifest("out", newest["run_id"].as_str().unwrap());
        assert_eq!(newest.quality.customers as usize, customers.len() - gone.len());
        assert!(measure(&newest, "rows of forgotten customers").unwrap() > 0.0);
        assert!(shop.table(&newest, "recommendations").num_rows() < unverified);
        // Asked again, nothing is left to do.
        let (code, text) = said(&shop, &["forget", "--customers", "gone.txt"], &settings);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("No published run had any of them"), "{text}");
        if !settings.is_empty() {
            let (code, text) = said(&shop, &["run"], &[KEYED[0], "privacy.key_file=nowhere"]);
            assert_eq!(code, 2, "{text}");
            let (code, text) = said(&shop, &["run"], &[]);
            assert_eq!(code, 1, "nobody comes back because pseudonyms were turned off: {text}");
        }
    }
}

#[test]
fn a_request_to_forget_that_makes_no_sense_is_refused() {
    let shop = shop(Ids::Integer, 50);
    shop.run(&[]);
    shop.write("empty.txt", "customer_id\n\n");
    let (code, text) = said(&shop, &["forget", "--customers", "empty.txt"], &[]);
    assert_eq!(code, 2, "{text}");
    let (code, text) = said(&shop, &["forget", "--customers", "nowhere.txt"], &[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("nowhere.txt") && !shop.path("out/_forgotten").exists(), "{text}");
}
