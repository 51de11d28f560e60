//! What single policies do to the offers of a shop, what is said of a file that cannot be used, and the
//! commands that explain policies.

use crate::support::{Ids, Shop, assert_same, integers, lines, shop, texts};
use packwise::runs::manifest::Manifest;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const COMMON: [&str; 3] = ["policies.path=policies.toml", "recommendations.top=4", "segments.k=3"];

/// An entry of a policy file; its header is on the first line.
fn entry(kind: &str, name: &str, rest: &str) -> String {
    format!("[[{kind}]]\nname = \"{name}\"\nowner = \"Sales\"\n{rest}\n")
}

fn run(shop: &Shop, policies: &str, settings: &[&str]) -> Manifest {
    shop.write("policies.toml", policies);
    shop.run(&[&COMMON[..], settings].concat())
}

/// Offers by package.
fn counts(shop: &Shop, run: &Manifest) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for code in texts(&shop.table(run, "recommendations"), "package_code") {
        *counts.entry(code).or_default() += 1;
    }
    counts
}

/// Customer, package and who holds the offer back.
fn held(shop: &Shop, run: &Manifest) -> Vec<(String, String, String)> {
    let table = shop.table(run, "recommendations");
    let of = |name| texts(&table, name).into_iter();
    of("customer_id").zip(of("package_code")).zip(of("held_out")).map(|((a, b), c)| (a, b, c)).collect()
}

/// Within five standard deviations of a binomial count.
#[track_caller]
fn assert_share(found: usize, of: usize, share: f64) {
    let bound = 5.0 * (of as f64 * share * (1.0 - share)).sqrt();
    assert!((found as f64 - of as f64 * share).abs() < bound, "{found} of {of} are not {share}");
}

#[test]
fn control_groups_have_their_size_and_are_the_same_in_every_run() {
    let shop = shop(Ids::Phone, 2_000);
    let control = "[control]\nshare = 0.2\nkey = \"2026\"\n".to_owned();
    let policies =
        control + &entry("campaign", "spring", "packages = [\"P05\", \"P06\"]\ncontrol_share = 0.4");
    let first = run(&shop, &policies, &["resources.threads=1", "resources.buckets=1"]);
    let offers = held(&shop, &first);
    let who = |group: &str| -> BTreeSet<&String> {
        offers.iter().filter(|(_, _, held)| held == group).map(|(customer, _, _)| customer).collect()
    };
    let (global, spring) = (who("global"), who("spring"));
    assert_share(global.len(), 2_000, 0.2);
    assert_eq!(first.quality.offers.customers_held_out as usize, global.len());
    let of_campaign = |code: &str| code == "P05" || code == "P06";
    let asked: BTreeSet<&String> = offers
        .iter()
        .filter(|(customer, code, _)| of_campaign(code) && !global.contains(customer))
        .map(|(customer, _, _)| customer)
        .collect();
    assert!(asked.len() > 500);
    assert_share(spring.len(), asked.len(), 0.4);
    for (customer, code, held) in &offers {
        let group = match (global.contains(customer), spring.contains(customer) && of_campaign(code)) {
            (true, _) => "global",
            (false, true) => "spring",
            (false, false) => "∅",
        };
        assert_eq!(held, group, "{customer} {code}");
    }
    // The same groups with other offers, on other threads and buckets; another key draws others.
    let more = policies.clone() + &entry("deny", "gone", "packages = [\"P01\", \"P07\"]");
    let second = run(&shop, &more, &["resources.threads=3", "resources.buckets=32"]);
    let again = held(&shop, &second);
    assert_ne!(again, offers);
    let others: BTreeSet<&String> = again.iter().filter(|row| row.2 == "global").map(|row| &row.0).collect();
    assert_eq!(others, global);
    let apart =
        |row: &&(String, String, String)| row.2 == "∅" && of_campaign(&row.1) && spring.contains(&row.0);
    assert_eq!(again.iter().find(apart), None);
    let other = held(&shop, &run(&shop, &policies.replace("2026", "2027"), &[]));
    let others: BTreeSet<&String> = other.iter().filter(|row| row.2 == "global").map(|row| &row.0).collect();
    assert_ne!(others, global);
}

#[test]
fn caps_are_kept_and_minima_are_reached() {
    let shop = shop(Ids::Digits, 600);
    let free = counts(&shop, &run(&shop, "", &[]));
    let sum = |counts: &BTreeMap<String, u64>, codes: &[&str]| -> u64 {
        codes.iter().map(|code| counts.get(*code).copied().unwrap_or(0)).sum()
    };
    let few = ["P01", "P02"];
    assert!(sum(&free, &few) > 150 && sum(&free, &["P12"]) < 300, "{free:?}");
    let policies = entry("cap", "few", "packages = [\"P01\", \"P02\"]\nmax_customers = 100")
        + &entry("cap", "many", "packages = [\"P12\"]\nmin_customers = 350")
        + &entry("cap", "paid", "packages = [\"P07\"]\nbudget = 20\ncost = 0.5");
    for settings in [&["resources.threads=1", "resources.buckets=1"][..], &["resources.buckets=16"]] {
        let run = run(&shop, &policies, settings);
        let capped = counts(&shop, &run);
        // Not fewer than there may be: that would be money left lying.
        assert_eq!(sum(&capped, &few), 100);
        assert_eq!(sum(&capped, &["P07"]), 40);
        assert!(sum(&capped, &["P12"]) >= 350, "{capped:?}");
        assert_eq!(capped.values().sum::<u64>(), free.values().sum::<u64>(), "others take the places");
        let told: Vec<(f64, f64)> =
            run.quality.offers.caps.iter().map(|cap| (cap.unconstrained, cap.offers)).collect();
        let of = |codes: &[&str]| (sum(&free, codes) as f64, sum(&capped, codes) as f64);
        assert_eq!(told, [of(&few), of(&["P12"]), of(&["P07"])]);
    }
}

#[test]
fn boosts_raise_pins_lead_and_other_days_change_nothing() {
    let shop = shop(Ids::Digits, 400);
    let ranks_of = |run: &Manifest, code: &str| -> BTreeMap<String, i64> {
        let table = shop.table(run, "recommendations");
        let rows = texts(&table, "customer_id").into_iter().zip(texts(&table, "package_code"));
        let rows = rows.zip(integers(&table, "rank").iter().flatten().collect::<Vec<_>>());
        rows.filter(|((_, known), _)| known == code).map(|((customer, _), rank)| (customer, rank)).collect()
    };
    let all = ["recommendations.top=12"];
    let plain = run(&shop, "", &all);
    let boosted = run(&shop, &entry("boost", "push", "packages = [\"P10\"]\nfactor = 4"), &all);
    let (before, after) = (ranks_of(&plain, "P10"), ranks_of(&boosted, "P10"));
    assert_eq!((before.len(), after.len()), (400, 400));
    assert!(after.iter().all(|(customer, rank)| *rank <= before[customer]));
    assert!(after.values().sum::<i64>() < before.values().sum::<i64>());

    let pin = entry("pin", "top", "packages = [\"P10\", \"P03\"]\nwhere = \"customer.weekend_share > 0.3\"");
    let pinned = run(&shop, &pin, &["recommendations.novelty=repeat-only"]);
    let features = shop.table(&pinned, "customer_features");
    let weekend = crate::support::floats(&features, "weekend_share");
    let chosen: BTreeSet<String> = texts(&features, "customer_id")
        .into_iter()
        .zip(weekend.iter().flatten())
        .filter(|(_, share)| *share > 0.3)
        .map(|(customer, _)| customer)
        .collect();
    assert!((50..350).contains(&chosen.len()));
    let (first, second) = (ranks_of(&pinned, "P10"), ranks_of(&pinned, "P03"));
    assert!(chosen.iter().all(|customer| first[customer] == 1 && second[customer] == 2));

    let later = [
        ("deny", "packages = [\"P01\", \"P05\"]"),
        ("allow", "packages = [\"P02\"]"),
        ("rule", "stage = \"suitability\"\nkeep = \"package.price < 5\""),
        ("boost", "packages = [\"P10\"]\nfactor = 9"),
        ("pin", "packages = [\"P02\"]"),
        ("never_together", "packages = [\"P01\", \"P02\", \"P03\"]"),
        ("cap", "packages = [\"P01\"]\nmax_customers = 1"),
        ("campaign", "packages = [\"P01\"]\ncontrol_share = 1.0"),
    ];
    // The last day of the data is 2026-03-31; offers are for the day after it.
    let file = |dates: &str| -> String {
        later.iter().map(|(kind, rest)| entry(kind, kind, &format!("{rest}\n{dates}"))).collect()
    };
    let offers = |policies: &str| lines(&shop.table(&run(&shop, policies, &[]), "recommendations"));
    let without = offers("");
    assert_same(
        "over",
        &offers(&file("to = 2026-03-31").replace("[\"P02\"]", "[\"P02\", \"P04\"]")),
        &without,
    );
    assert_same("to come", &offers(&file("from = 2026-04-02")), &without);
    assert_ne!(
        offers(&entry("deny", "d", "packages = [\"P01\"]\nfrom = 2026-04-01\nto = 2026-04-01")),
        without
    );
}

/// A run with the file must fail with all of `told` in its message, and leave nothing behind.
#[track_caller]
fn refused(shop: &Shop, policies: &str, settings: &[&str], code: i32, told: &[&str]) {
    shop.write("policies.toml", policies);
    let mut arguments = vec!["run", "-c", "packwise.toml"];
    COMMON.iter().chain(settings).for_each(|setting| arguments.extend(["--set", setting]));
    let output = shop.packwise(&arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{policies}{message}");
    for part in told {
        assert!(message.contains(part), "{policies}{message} does not have {part:?}");
    }
    assert!(shop.runs().is_empty() && !message.contains("panicked"), "{message}");
    assert_eq!(left(shop, "scratch"), Vec::<String>::new(), "{policies}");
    // What was written before the columns were known is no run, and the next run clears it.
    let unfinished = left(shop, "out/runs");
    assert!(unfinished.len() <= 1, "{policies} leaves {unfinished:?}");
    assert!(unfinished.iter().all(|id| !shop.path(&format!("out/runs/{id}/manifest.json")).exists()));
}

/// What is in a folder besides the lock and the journal from which the next run may go on.
fn left(shop: &Shop, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(shop.path(folder)).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != ".packwise.lock" && name != "packwise-unfinished").collect()
}

#[test]
fn files_that_cannot_be_used_are_refused_with_name_and_line() {
    let shop = shop(Ids::Integer, 60);
    let keep = |keep: &str| entry("rule", "thrift", &format!("stage = \"suitability\"\nkeep = \"{keep}\""));
    let at = "line 5, [[rule]] \"thrift\", keep = ";
    refused(&shop, &keep("package.prise < 4"), &[], 2, &[at, "did you mean package.price?"]);
    refused(&shop, &keep("max(package.price) < 4"), &[], 2, &[at, "`max`"]);
    refused(&shop, &keep("package.price < (SELECT 1)"), &[], 2, &[at, "subquery"]);
    refused(&shop, &keep("customer.last_purchase < now()"), &[], 2, &[at, "`now`"]);
    refused(&shop, &keep("package.price"), &[], 2, &[at, "true or false"]);
    let deny = entry("deny", "gone", "packages = [\"P01\",\n  \"P1\"]");
    refused(&shop, &deny, &[], 2, &["line 5, [[deny]] \"gone\"", "\"P1\"", "did you mean \"P01\"?"]);
    let both = entry("pin", "top", "packages = [\"P02\"]") + &entry("deny", "gone", "packages = [\"P02\"]");
    refused(&shop, &both, &[], 2, &["line 4, [[pin]] \"top\"", "[[deny]] \"gone\" (line 5)"]);
    refused(&shop, "[[deny]]\nname = \"gone\npackages = 1\n", &[], 2, &["line 2", "not valid TOML"]);
    refused(&shop, &(keep("package.prise < 4") + &keep("true")), &[], 2, &["line 7", "take another"]);
    let history = |path: &str| {
        entry("contact", "rest", "max_offers = 1\ndays = 7")
            + &format!("[contact_history]\npath = \"{path}\"\n")
            + "columns = { customer = \"C\", package = \"P\", time = \"T\" }\n"
    };
    refused(&shop, &history("sent.csv"), &[], 3, &["contact history", "sent.csv"]);
    shop.write("sent.csv", "C,P,SENT_AT\n1,P01,2026-03-01\n");
    refused(&shop, &history("sent.csv"), &[], 3, &["contact_history.columns.time", "`T`"]);
    let rest = history("sent.csv");
    let without = rest.split_once("[contact_history]").map_or("", |(entry, _)| entry);
    refused(&shop, without, &[], 2, &["line 1, [[contact]] \"rest\"", "[contact_history]"]);
    let most = entry("deny", "gone", "packages = [\"P01\"]");
    let cap = most + &entry("cap", "many", "packages = [\"P12\"]\nmin_customers = 61");
    refused(&shop, &cap, &[], 2, &["`many` (line 5 of the policy file)", "at least 61"]);
    let slots = ["recommendations.slots.repeat=2", "recommendations.slots.explore=2"];
    refused(&shop, &cap.replace("61", "1"), &slots, 2, &["recommendations.slots"]);
    let good = run(&shop, &cap.replace("61", "1"), &[]);
    assert_eq!(left(&shop, "out/runs"), [good.run_id]);
}

#[test]
fn check_lists_rules_and_simulate_compares_them() {
    let shop = shop(Ids::Digits, 300);
    let policies = |arguments: &[&str]| {
        let mut all = vec!["policies", "-c", "packwise.toml"];
        COMMON.iter().for_each(|setting| all.extend(["--set", setting]));
        shop.packwise(&[&all, arguments].concat())
    };
    let said = |arguments: &[&str]| {
        let output = policies(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let rule = entry("rule", "cheap", "stage = \"suitability\"\nkeep = \"package.price < 80\"");
    shop.write("policies.toml", &rule);
    // Before there is a run, only the form can be checked.
    assert!(said(&["check"]).contains("1 rule can be read"));
    let published = run(&shop, &rule, &[]);
    let checked = said(&["check"]);
    for told in
        ["cheap", "suitability", "Sales", "customer.recency_days", "offer.probability", &published.run_id]
    {
        assert!(checked.contains(told), "{checked} does not have {told}");
    }
    let later = rule.clone() + &entry("deny", "later", "packages = [\"P01\"]\nfrom = 2027-01-01");
    shop.write("later.toml", later);
    let json: Value = serde_json::from_str(&said(&["--json", "--policies", "later.toml", "check"])).unwrap();
    let in_force: Vec<_> = json["rules"].as_array().unwrap().iter().map(|rule| &rule["in_force"]).collect();
    assert_eq!(in_force, [false, true], "{json}");
    shop.write("bad.toml", rule.replace("price", "prise"));
    let output = policies(&["--policies", "bad.toml", "check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 5, [[rule]] \"cheap\""));

    let counts = counts(&shop, &published);
    let (most, offers) = counts.iter().max_by_key(|(_, count)| **count).unwrap();
    let gone = rule.clone() + &entry("deny", "gone", &format!("packages = [\"{most}\"]"));
    shop.write("gone.toml", &gone);
    let simulated =
        |file| -> Value { serde_json::from_str(&said(&["--json", "--policies", file, "simulate"])).unwrap() };
    let changed = simulated("gone.toml");
    let taken = changed["changed"]["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == "gone");
    assert!(taken.unwrap()["removed"].as_u64().unwrap() >= *offers, "{changed}");
    let offered = |side: &str| changed[side]["packages_offered"].as_u64().unwrap();
    assert_eq!((offered("now"), offered("changed")), (counts.len() as u64, counts.len() as u64 - 1));
    assert_eq!(changed["now"]["offers"], counts.values().sum::<u64>());
    let unchanged = simulated("policies.toml");
    assert_eq!(unchanged["now"], unchanged["changed"]);
    let text = said(&["--policies", "gone.toml", "simulate"]);
    assert!(text.contains("gone") && text.contains("Nothing was published"), "{text}");
    assert_eq!(shop.runs(), [published.run_id], "simulate publishes nothing");
    // What simulate foretold is what a run does.
    let now = run(&shop, &gone, &[]);
    assert!(!texts(&shop.table(&now, "recommendations"), "package_code").contains(most));
    assert_eq!(now.quality.offers.offers, changed["changed"]["offers"].as_u64().unwrap());
    assert_eq!(now.quality.offers.expected_revenue, changed["changed"]["expected_revenue"].as_f64().unwrap());
}

#[test]
fn why_says_the_rank_the_rule_or_what_ranks_higher() {
    let shop = shop(Ids::Digits, 200);
    let policies = entry("deny", "withdrawn", "packages = [\"P03\"]")
        + &entry(
            "rule",
            "thrift",
            "stage = \"suitability\"\nkeep = \"offer.price <= customer.average_purchase\"",
        )
        + &entry("boost", "push", "packages = [\"P02\"]\nfactor = 2");
    let run = run(&shop, &policies, &[]);
    let offers = held(&shop, &run);
    let scores = crate::support::floats(&shop.table(&run, "recommendations"), "score");
    let full = |id: &str| offers.iter().filter(|row| row.0 == id).count() == 4;
    let id = &offers.iter().rev().find(|row| full(&row.0)).unwrap().0;
    let why = |arguments: &[&str]| {
        let mut all = vec!["lookup", "-c", "packwise.toml"];
        COMMON.iter().for_each(|setting| all.extend(["--set", setting]));
        shop.packwise(&[&all, arguments].concat())
    };
    let mut outcomes = BTreeSet::new();
    for (code, cents) in crate::support::PACKAGES {
        let output = why(&["--json", id, "--why", code]);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let why = &said["why"];
        let (outcome, number) = (&why["outcome"], |name: &str| why[name].as_f64().unwrap());
        let factors = why["factors"].as_array().unwrap().iter().map(|factor| factor[1].as_f64().unwrap());
        assert!((factors.sum::<f64>() - number("utility")).abs() < 1e-9, "{why}");
        match offers.iter().position(|row| row.0 == *id && row.1 == code) {
            Some(row) => {
                let rank = row - offers.iter().position(|row| row.0 == *id).unwrap() + 1;
                assert_eq!(outcome["offered"]["rank"], rank, "{why}");
                // JSON may move the last digit.
                assert!((number("score") - scores.value(row)).abs() < 1e-12, "{why}");
                outcomes.insert("offered");
            }
            None if outcome == "outranked" => {
                assert!(number("utility") <= number("last_offer_utility"), "{why}");
                outcomes.insert("outranked");
            }
            None => {
                let rule = &outcome["refused"]["rule"];
                let price = said["features"]["average_purchase"].as_f64().unwrap();
                let refuses = if code == "P03" { "withdrawn" } else { "thrift" };
                assert_eq!(rule["name"], refuses, "{why}");
                assert!(code == "P03" || cents as f64 / 100.0 > price, "{code} {price}");
                outcomes.insert(refuses);
            }
        }
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["offered", "outranked", "thrift", "withdrawn"]);
    let said = String::from_utf8(why(&[id, "--why", "P03"]).stdout).unwrap();
    assert!(said.contains("the rule withdrawn of Sales refuses it (eligibility, line 1)"), "{said}");
    for (arguments, code, told) in [
        ([id.as_str(), "--why", "P3"], 2, "did you mean P03?"),
        (["nobody", "--why", "P03"], 1, "customer nobody is not in run"),
    ] {
        let output = why(&arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(told), "{message}");
    }
    assert_eq!(shop.runs().len(), 1, "nothing is published");
}
