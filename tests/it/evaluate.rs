//! The backtest through the real program: what it publishes, that nothing but the past shows in it, and
//! the figures of published tables on a real shop.

use crate::support::{
    DAYS, Dice, FIRST_DAY, Ids, Purchase, Shop, batch, purchases, read_parquet, write_parquet,
};
use packwise::evaluate::report::Backtest;
use packwise::runs::Output;
use serde_json::{Value, json};
use std::path::Path;

const EVALUATE: [&str; 3] = ["evaluate", "-c", "packwise.toml"];

/// `packwise evaluate --json`: what it printed.
fn evaluate(shop: &Shop, more: &[&str]) -> Value {
    let arguments: Vec<&str> = EVALUATE.iter().chain(&["--json"]).chain(more).copied().collect();
    serde_json::from_str(&shop.ok(&arguments)).unwrap()
}

/// Rows into `files` files in turn.
fn dump(shop: &Shop, rows: &[Purchase], files: usize) {
    let _ = std::fs::remove_dir_all(shop.path("dumps"));
    for file in 0..files {
        let own: Vec<Purchase> = rows.iter().skip(file).step_by(files).cloned().collect();
        write_parquet(&shop.path(&format!("dumps/{file}.parquet")), &batch(&own, Ids::Integer));
    }
}

/// Without what differs between two evaluations of the same input.
fn stripped(mut report: Value) -> Value {
    report["backtest"]["id"] = Value::Null;
    report["evaluation"]["id"] = Value::Null;
    report["evaluation"]["seconds"] = Value::Null;
    report
}

/// A figure of a method over all customers of a cut-off.
fn figure(report: &Value, cutoff: usize, method: &str, k: u64, name: &str) -> f64 {
    let rows = report["evaluation"]["cutoffs"][cutoff]["judgements"].as_array().unwrap();
    let row = rows.iter().find(|row| row["method"] == method && row["grouping"] == "all" && row["k"] == k);
    row.unwrap_or_else(|| panic!("no row of {method} at {k}"))[name].as_f64().unwrap()
}

#[test]
fn everything_is_printed_and_published() {
    let shop = Shop::open(900);
    let said = shop.ok(&[&EVALUATE[..], &["--cutoffs", "2", "--window", "2w", "--at", "1,3,5,10"]].concat());
    for text in [
        "Purchases in the 14 days after a cut-off; 900 customers, all of the input",
        "2026-03-03: ",
        "2026-03-17: ",
        "most popular",
        "TIFU-KNN",
        "packwise leads by",
        "Means at 10 offers over the cut-offs.",
        "95 % interval",
        "Most recall: ",
        "Neighbours: recall ",
        "Index: every candidate was compared",
        "published out/evaluations/",
    ] {
        assert!(said.contains(text), "{text} is not in:\n{said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 150), "{said}");

    let id = said.lines().last().unwrap().rsplit('/').next().unwrap();
    let folder = shop.path("out/evaluations").join(id);
    for chart in ["recall_by_k.svg", "accuracy_revenue.svg"] {
        let chart = std::fs::read_to_string(folder.join(chart)).unwrap();
        assert!(chart.starts_with("<svg") && chart.contains("packwise"), "{chart}");
    }
    let report: Value =
        serde_json::from_slice(&std::fs::read(folder.join("evaluation.json")).unwrap()).unwrap();
    assert_eq!(report["backtest"]["id"], id);
    assert_eq!(report["backtest"]["cutoffs"], json!(["2026-03-03", "2026-03-17"]));
    let judgements = |cutoff: &Value| cutoff["judgements"].as_array().unwrap().len();
    let rows: usize = report["evaluation"]["cutoffs"].as_array().unwrap().iter().map(judgements).sum();
    let parts = read_parquet(&folder.join("evaluation/part-00000.parquet"));
    assert_eq!(parts.iter().map(|part| part.num_rows()).sum::<usize>(), rows);
    // Tastes are planted: what sells best says little of a customer.
    let recall = |method| figure(&report, 1, method, 3, "recall");
    assert!(recall("packwise") > recall("most popular") + 0.05, "{said}");

    // The newest is what a run takes along, and it is the one with the larger id.
    let second = evaluate(&shop, &["--cutoffs", "1", "--window", "14d", "--at", "1,3", "--no-baselines"]);
    let newest = second["backtest"]["id"].as_str().unwrap();
    assert!(newest > id);
    assert_eq!(last_evaluation(&shop).unwrap().id, newest);
    assert_eq!(second["backtest"]["best_other"][0], "EASE");
    let printed = std::fs::read(shop.path("out/evaluations").join(newest).join("evaluation.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&printed).unwrap(), second);
    assert!(shop.runs().is_empty(), "an evaluation is no run");
}

fn last_evaluation(shop: &Shop) -> Option<Backtest> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let output = Output::open(shop.path("out").to_str().unwrap(), runtime.handle()).unwrap();
    output.last_evaluation().unwrap()
}

#[test]
fn an_evaluation_is_there_when_its_json_is() {
    let shop = Shop::open(300);
    assert_eq!(last_evaluation(&shop), None);
    let window = ["--cutoffs", "1", "--window", "14d", "--at", "1,3", "--no-baselines"];
    let first = evaluate(&shop, &window);
    shop.write("out/evaluations/29990101T000000Z-00000000/recall_by_k.svg", "");
    let newest = last_evaluation(&shop).unwrap();
    assert_eq!(newest.id, first["backtest"]["id"].as_str().unwrap());
    assert_eq!(serde_json::to_value(&newest).unwrap(), first["backtest"]);
}

#[test]
fn threads_files_and_the_order_of_rows_do_not_show() {
    let shop = Shop::new();
    let mut rows = purchases(700, 3);
    dump(&shop, &rows, 1);
    let window = ["--cutoffs", "2", "--window", "14d", "--at", "1,3,5"];
    let baskets = ["--protocol", "last-basket", "--at", "1,3,5", "--min-days", "3"];
    let both =
        |more: &[&str]| [&window[..], &baskets].map(|plan| stripped(evaluate(&shop, &[plan, more].concat())));
    let plain = both(&["--threads", "1"]);
    let mut dice = Dice::new(5);
    for at in (1..rows.len()).rev() {
        rows.swap(at, dice.below(at as u64 + 1) as usize);
    }
    dump(&shop, &rows, 5);
    let other = both(&["--threads", "3", "--set", "resources.buckets=7"]);
    assert!(plain == other, "not the same:\n{}\n{}", plain[0]["backtest"], other[0]["backtest"]);
    // Such a comparison can fail.
    rows.pop();
    dump(&shop, &rows, 5);
    assert!(plain != both(&["--threads", "3"]));
}

#[test]
fn what_came_after_the_window_does_not_show() {
    let shop = Shop::new();
    let mut rows = purchases(800, 6);
    dump(&shop, &rows, 2);
    let plan = ["--window", "14d", "--at", "1,3,5", "--cutoffs"];
    let before = evaluate(&shop, &[&plan[..], &["1"]].concat());

    // Two more weeks in which everybody turns to other packages, channels and prices.
    let mut dice = Dice::new(8);
    let mut later: Vec<Purchase> = purchases(1_000, 7).into_iter().take(2_000).collect();
    for row in &mut later {
        row.seconds = (FIRST_DAY + DAYS + dice.below(14) as i64) * 86_400 + 60;
        row.package = "P12";
        row.channel = Some("SHOP");
        row.cents *= 3;
    }
    later[0].seconds = (FIRST_DAY + DAYS + 14) * 86_400 - 1;
    rows.extend(later);
    dump(&shop, &rows, 3);
    let after = evaluate(&shop, &[&plan[..], &["2"]].concat());
    let of = |report: &Value| report["evaluation"]["cutoffs"][0].clone();
    assert_eq!(of(&before)["cutoff"], "2026-03-17");
    assert_eq!(
        of(&before)["judgements"].as_array().unwrap().len(),
        of(&after)["judgements"].as_array().unwrap().len()
    );
    for (a, b) in
        of(&before)["judgements"].as_array().unwrap().iter().zip(of(&after)["judgements"].as_array().unwrap())
    {
        assert_eq!(a, b);
    }
    assert_eq!(of(&before), of(&after));
    assert_ne!(of(&before)["judgements"], after["evaluation"]["cutoffs"][1]["judgements"]);
}

#[test]
fn last_baskets_with_and_without_a_filter() {
    let shop = Shop::open(600);
    let plan = ["--protocol", "last-basket", "--at", "1,3,5"];
    let all = evaluate(&shop, &plan);
    let few = evaluate(&shop, &[&plan[..], &["--min-days", "6", "--max-rows-per-day-sd", "2"]].concat());
    assert_eq!(all["evaluation"]["protocol"], "last-basket");
    assert_eq!(all["backtest"]["cutoffs"], json!(["last basket"]));
    let tested = |report: &Value| report["backtest"]["tested"].as_u64().unwrap();
    assert!(tested(&few) > 50 && tested(&few) < tested(&all), "{} {}", tested(&few), tested(&all));
    let said = few["evaluation"]["customers"].as_str().unwrap();
    assert!(said.starts_with("600 customers") && said.ends_with("are left by the filter"), "{said}");
    for method in ["packwise", "popular, published", "UP-CF@r, published settings, without validation"] {
        assert!(figure(&few, 0, method, 3, "ndcg_full") > 0.1, "{method}");
    }
    let said = shop.ok(&[&EVALUATE[..], &plan, &["--no-baselines"]].concat());
    assert!(said.contains("full NDCG") && !said.contains("published settings"), "{said}");
}

/// One purchase of each of so many customers, all on the days from `first`.
fn once(customers: u32, first: i64, days: u64) -> Vec<Purchase> {
    let mut dice = Dice::new(2);
    let row = |customer| Purchase {
        customer,
        package: ["P01", "P02", "P03"][customer as usize % 3],
        seconds: (FIRST_DAY + first + dice.below(days) as i64) * 86_400,
        channel: None,
        cents: 500,
        quantity: 1.0,
    };
    (0..customers).map(row).collect()
}

/// Exit code 2, one clear sentence, and nothing published.
fn refused(shop: &Shop, more: &[&str], said: &str) {
    let output = shop.packwise(&[&EVALUATE[..], more].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{more:?}: {error}");
    assert!(error.contains(said), "{more:?} said {error}");
    assert!(output.stdout.is_empty());
    assert!(!shop.path("out/evaluations").exists(), "{more:?} published");
}

#[test]
fn what_cannot_be_tested_is_refused() {
    let shop = Shop::open(60);
    refused(&shop, &["--cutoffs", "40"], "is outside the data, which goes from 2026-01-0");
    refused(&shop, &["--cutoffs", "0"], "0 is not in 1..=520");
    refused(&shop, &["--cutoffs", "1", "--customers", "7"], "fewer than the 20 offers of a list");
    refused(&shop, &["--at", "0"], "\"0\" is not a number from 1 to 1000");
    refused(&shop, &["--at", "5,3"], "5 comes before 3, numbers must ascend");
    refused(&shop, &["--window", "0"], "0 days are not a whole number of days");
    refused(&shop, &["--window", "soon"], "soon");
    refused(&shop, &["--protocol", "x"], "possible values: window, last-basket");
    refused(&shop, &["--min-days", "5"], "go with --protocol last-basket");
    refused(&shop, &["--protocol", "last-basket", "--cutoffs", "2"], "go with --protocol window");
    refused(&shop, &["--customers", "0"], "0 is not in 1..");
    let nobody = ["--protocol", "last-basket", "--min-days", "1000"];
    refused(&shop, &nobody, "no customer has three baskets or more");

    let shop = Shop::new();
    let mut rows = once(50, 0, 5);
    rows.extend(once(90, 25, 5).into_iter().skip(50));
    dump(&shop, &rows, 1);
    let nobody = "bought anything in the 10 days after it";
    refused(&shop, &["--cutoffs", "1", "--window", "10d"], nobody);
    refused(&shop, &["--protocol", "last-basket"], "no customer has three baskets or more");
}

/// The figures that Romanov et al. (RecSys 2023) publish for Ta-Feng, and packwise beside them.
#[test]
fn published_figures_of_tafeng() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/tafeng/transactions.parquet");
    if !file.is_file() {
        eprintln!("skipped: {} is not there", file.display());
        return;
    }
    let shop = Shop::new();
    let path = format!("transactions.path={}", file.display());
    let mut arguments = vec!["--protocol", "last-basket"];
    arguments.extend(["--min-days", "5", "--min-package-rows", "10", "--max-rows-per-day-sd", "2"]);
    for setting in [
        path.as_str(),
        "transactions.columns.customer=customer_id",
        "transactions.columns.package=package_code",
        "transactions.columns.time=buy_date",
        "transactions.columns.channel=channel",
        "transactions.columns.amount=price",
        "transactions.columns.quantity=quantity",
        "resources.memory=2GiB",
    ] {
        arguments.extend(["--set", setting]);
    }
    let report = evaluate(&shop, &arguments);
    let left = "32,266 customers, all of the input; \
                7,358 of them, 11,202 packages and 368,951 purchases are left by the filter";
    assert_eq!(report["evaluation"]["customers"], left);
    assert_eq!(report["backtest"]["tested"], 7_357);
    for (method, recall, ndcg) in [
        ("popular, published", 0.0863, 0.0939),
        ("TIFU-KNN, published settings, without validation", 0.1360, 0.1178),
        ("UP-CF@r, published settings, without validation", 0.1365, 0.1155),
    ] {
        let found = ["recall", "ndcg_full"].map(|name| figure(&report, 0, method, 10, name));
        assert!(
            (found[0] - recall).abs() < 0.0005 && (found[1] - ndcg).abs() < 0.0005,
            "{method}: {found:?}"
        );
    }
    assert!(figure(&report, 0, "packwise", 10, "recall") > 0.165);
    assert!(figure(&report, 0, "packwise", 10, "ndcg_full") > 0.130);
}
