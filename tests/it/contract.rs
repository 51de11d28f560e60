//! The house rules that code cannot enforce by itself.

use packwise::config::{Layers, load};
use packwise::tables;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `UPDATE_DOCS=1` writes the page anew.
#[test]
fn the_page_of_tables_is_that_of_the_code() {
    let path = root().join("docs/tables.md");
    let page = tables::documentation();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "docs/tables.md is out of date: UPDATE_DOCS=1 cargo test --release contract");
}

#[test]
fn tables_have_keys_names_and_meanings_of_their_own() {
    for table in tables::ALL {
        let mut names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        assert!(table.key.iter().all(|key| names.contains(key)), "{}", table.name);
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{}", table.name);
        assert!(table.columns.iter().all(|column| !column.meaning.is_empty()), "{}", table.name);
        // A reader finds the customer where the writers put the bloom filter.
        if table.by_customer() {
            assert_eq!(table.columns[0].name, "customer_id", "{}", table.name);
        }
    }
}

/// Every key of the defaults can be set on the command line to its own value, and is then said to be.
#[test]
fn every_default_can_be_set_and_resolves() {
    let layers = Layers::defaults().unwrap();
    let mut settings: Vec<String> =
        layers.entries().iter().map(|(key, value, _)| format!("{key}={value}")).collect();
    assert!(settings.len() > 70, "{}", settings.len());
    settings.push("transactions.path=dumps".into());
    let (config, resolved) = load(None, &settings).unwrap();
    assert_eq!(config.recommendations.top, 10);
    assert_eq!(config.transactions.path, "dumps");
    assert!(resolved.entries().iter().all(|(_, _, source)| source == "--set"));
}

/// Every key in `config/default.toml` has a comment of its own, above it or beside it.
#[test]
fn every_default_is_documented() {
    let text = std::fs::read_to_string(root().join("config/default.toml")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut documented = false;
    for (number, line) in lines.iter().enumerate() {
        if line.starts_with('#') {
            documented = true;
        } else if line.starts_with("[[") {
            // The comment above the first entry of a list speaks of all of them.
            let first = lines.iter().position(|other| other == line).unwrap_or(number);
            documented = first > 0 && lines[first - 1].starts_with('#');
        } else if line.trim().is_empty() || line.starts_with('[') {
            documented =
                line.starts_with("[transactions.columns]") || line.starts_with("[catalogue.columns]");
        } else {
            let above = documented || lines[..number].iter().rev().take(3).any(|line| line.starts_with('#'));
            assert!(above || line.contains(" # "), "line {}: {line}", number + 1);
        }
    }
}

#[test]
fn the_examples_load() {
    for name in ["config/telco.toml", "config/retail.toml"] {
        let (config, _) = load(Some(&root().join(name)), &[]).unwrap();
        assert!(config.resources.memory >= 1 << 30, "{name}");
    }
    let (telco, _) = load(Some(&root().join("config/telco.toml")), &[]).unwrap();
    assert_eq!(telco.transactions.columns.customer, "MSISDN");
    assert_eq!(telco.catalogue.unwrap().columns.validity.as_deref(), Some("VALIDITY"));
    let (retail, _) = load(Some(&root().join("config/retail.toml")), &[]).unwrap();
    assert!(retail.catalogue.is_none());
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|ending| ending == "rs") => found.push(path),
            false => {}
        }
    }
}

/// SQL is a file in `sql/` or a constant, never put together from text.
#[test]
fn no_sql_is_put_together_in_the_sources() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    assert!(files.len() > 50);
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let words: String = text.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
        for maker in ["format!(", "push_str(", "write!("] {
            for rest in words.split(maker).skip(1).map(str::trim_start) {
                let rest = rest.trim_start_matches(['&', '"', ' ', '\\']);
                let sql = ["select ", "insert ", "delete ", "create table", "copy ", "where ", "group by"];
                let found = sql.iter().any(|word| rest.starts_with(word));
                assert!(!found, "{}: {maker}{:.60}", path.display(), rest);
            }
        }
    }
}
