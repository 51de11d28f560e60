//! Marketing policies through the real program: every offer is checked against every rule again, from the
//! published tables, by SQL that the program's own rules are not part of.

use crate::support::{Dice, Ids, Shop, floats, integers, shop, texts, write_parquet};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use packwise::runs::manifest::Manifest;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const TOP: usize = 4;
const CODES: [&str; 12] =
    ["P01", "P02", "P03", "P04", "P05", "P06", "P07", "P08", "P09", "P10", "P11", "P12"];
/// Conditions over one of the three, over two of them, and with values that may be null.
const ATOMS: [&str; 18] = [
    "customer.recency_days <= 40",
    "customer.weekend_share < 0.5",
    "customer.segment <> 1",
    "customer.mean_gap_days < 30",
    "customer.favourite_package IN ('P01', 'P05', 'P09', 'P11')",
    "customer.channel_app_share >= 0.3",
    "customer.last_purchase >= '2026-02-20'",
    "package.price < 40",
    "package.service_type <> 'VOICE'",
    "package.validity_days > 7 AND package.quota_mb > 400",
    "package.price_tier IN (1, 2, 4)",
    "package.price <= 2.5 * customer.average_purchase",
    "package.package_code <> customer.favourite_package",
    "abs(package.price_tier - customer.mean_price_tier) < 2.5",
    "offer.times < 2",
    "(offer.is_new OR offer.days_since_last > 20)",
    "offer.probability > 0.05 AND offer.expected_revenue > 0.5",
    "offer.rank <= 10",
];
const STAGES: [&str; 4] = ["eligibility", "applicability", "suitability", "contact"];

/// A policy file, and what the test needs to know of it.
#[derive(Default)]
struct Rules {
    text: String,
    /// Stage and condition.
    keeps: Vec<(&'static str, String)>,
    denied: Vec<&'static str>,
    allowed: Vec<&'static str>,
    apart: Vec<Vec<&'static str>>,
    /// Offers within 7 days.
    most: Option<usize>,
    /// What rests for 20 days after what.
    rest: Option<([&'static str; 2], &'static str)>,
    pinned: Option<&'static str>,
    /// Packages with the most customers that they may have together.
    caps: Vec<(Vec<&'static str>, usize)>,
}

impl Rules {
    fn add(&mut self, kind: &str, name: &str, rest: impl std::fmt::Display) {
        self.text += &format!("[[{kind}]]\nname = \"{name}\"\nowner = \"Sales\"\n{rest}\n");
    }

    fn keep(&mut self, stage: &'static str, condition: String) {
        let name = format!("rule {}", self.keeps.len());
        self.add("rule", &name, format_args!("stage = \"{stage}\"\nkeep = \"{condition}\""));
        self.keeps.push((stage, condition));
    }

    /// Rules that only take offers away.
    fn random(dice: &mut Dice, contacts: bool) -> Self {
        let mut rules = Self::default();
        let mut pick = |from: usize| dice.below(from as u64) as usize;
        for _ in 0..4 {
            let (a, b) = (ATOMS[pick(ATOMS.len())], ATOMS[pick(ATOMS.len())]);
            let condition = match pick(4) {
                0 => a.to_owned(),
                1 => format!("{a} OR {b}"),
                2 => format!("NOT ({a}) OR {b}"),
                _ => format!("NOT ({a} AND {b})"),
            };
            rules.keep(STAGES[pick(4)], condition);
        }
        rules.denied = vec![CODES[pick(12)]];
        let gone = format!("packages = {:?}", rules.denied);
        rules.add("deny", "gone", gone);
        if pick(2) == 0 {
            let left_out = pick(12);
            rules.allowed =
                CODES.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, c)| *c).collect();
            let (some, others) = rules.allowed.split_at(5);
            let texts = [format!("packages = {some:?}"), format!("packages = {others:?}")];
            rules.add("allow", "first range", &texts[0]);
            rules.add("allow", "second range", &texts[1]);
        }
        for (name, count) in [("small ones", 3), ("large ones", 4)] {
            let first = pick(12);
            let group: Vec<&str> = (0..count).map(|at| CODES[(first + at * 2) % 12]).collect();
            rules.add("never_together", name, format_args!("packages = {group:?}"));
            rules.apart.push(group);
        }
        // Of another day than the offers': takes nothing.
        rules.add("deny", "later", "packages = [\"P01\", \"P02\", \"P03\"]\nfrom = 2026-04-02");
        rules.add("deny", "earlier", "packages = [\"P04\", \"P05\", \"P06\"]\nto = 2026-03-31");
        if contacts {
            rules.text += "[contact_history]\npath = \"contacts.parquet\"\ncolumns = { customer = \"C\", package = \"P\", time = \"T\" }\n";
            rules.most = Some(3);
            rules.add("contact", "three a week", "max_offers = 3\ndays = 7");
            let rest = ([CODES[pick(12)], CODES[pick(12)]], CODES[pick(12)]);
            rules.rest = Some(rest);
            let lists = format!("offer = {:?}\nafter = [{:?}]\ndays = 20", rest.0, rest.1);
            rules.add("cooldown", "rest", lists);
        }
        rules
    }

    /// Rules that move offers, and limits over all customers.
    fn and_more(mut self, dice: &mut Dice, caps: bool) -> Self {
        let may_be_pinned = |code: &&&str| {
            !self.denied.contains(code) && (self.allowed.is_empty() || self.allowed.contains(code))
        };
        // The first six are denied on other days, and a pin without dates must not meet that.
        let free: Vec<&'static str> = CODES[6..].iter().filter(may_be_pinned).copied().collect();
        let pinned = free[dice.below(free.len() as u64) as usize];
        self.pinned = Some(pinned);
        self.add(
            "pin",
            "top",
            format_args!("packages = [{pinned:?}]\nwhere = \"customer.weekend_share > 0.2\""),
        );
        self.add("boost", "push", "packages = [\"P03\", \"P10\"]\nfactor = 3.0");
        if caps {
            for (name, group, most) in
                [("few", vec!["P01", "P02"], 60), ("some", vec!["P02", "P05", "P09"], 90)]
            {
                self.add("cap", name, format_args!("packages = {group:?}\nmax_customers = {most}"));
                self.caps.push((group, most));
            }
        }
        self.text += "[control]\nshare = 0.1\nkey = \"k\"\n";
        self.add("campaign", "spring", "packages = [\"P06\", \"P07\"]\ncontrol_share = 0.3");
        self
    }
}

type Lists = BTreeMap<String, Vec<String>>;
/// Customer, package and days since 1970.
type Contacts = BTreeSet<(String, &'static str, i64)>;
/// Offers are for 2026-04-01.
const OFFER_DAY: i64 = 20_544;

/// Some customers with up to six contacts in the last 30 days, and after the data.
fn contacts(shop: &Shop, customers: u32) -> Contacts {
    let mut dice = Dice::new(8);
    let mut contacts = Contacts::new();
    for customer in (0..customers).step_by(2) {
        for _ in 0..dice.below(7) {
            let day = OFFER_DAY + 2 - dice.below(30) as i64;
            contacts.insert((Ids::Digits.name(customer), CODES[dice.below(12) as usize], day));
        }
    }
    let days = contacts.iter().map(|(_, _, day)| crate::support::iso(day * 86_400 + 3_600));
    let text = |column: StringArray| Arc::new(column) as ArrayRef;
    let ids = Int64Array::from_iter_values(contacts.iter().map(|(id, _, _)| id.parse::<i64>().unwrap()));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("C", Arc::new(ids) as ArrayRef, true),
        ("P", text(StringArray::from_iter_values(contacts.iter().map(|(_, code, _)| *code))), true),
        ("T", text(StringArray::from_iter_values(days)), true),
    ]);
    write_parquet(&shop.path("contacts.parquet"), &batch.unwrap());
    contacts
}

fn offers(shop: &Shop, run: &Manifest) -> Lists {
    let table = shop.table(run, "recommendations");
    let (customers, codes) = (texts(&table, "customer_id"), texts(&table, "package_code"));
    let ranks = integers(&table, "rank");
    let mut lists = Lists::new();
    for (row, (customer, code)) in customers.into_iter().zip(codes).enumerate() {
        let list = lists.entry(customer).or_default();
        list.push(code);
        assert_eq!(ranks.value(row), list.len() as i64, "ranks count from 1");
    }
    lists
}

/// Every pair of a customer and a package in the order of utility (from a run of all packages without
/// policies), with whether each condition holds.
fn judged(shop: &Shop, all: &Manifest, rules: &Rules) -> BTreeMap<String, Vec<(String, Vec<bool>)>> {
    let keeps: Vec<String> =
        rules.keeps.iter().map(|(_, keep)| format!("coalesce({keep}, false)::int")).collect();
    let sql = format!(
        "WITH offer AS (SELECT r.customer_id AS id, r.package_code AS code, r.rank, r.score AS probability, \
           r.price, r.expected_revenue, r.is_new, coalesce(p.times, 0) AS times, \
           date '2026-03-31' - p.last_purchase::date AS days_since_last FROM recommendations r \
           LEFT JOIN customer_packages p ON p.customer_id = r.customer_id AND p.package_code = r.package_code), \
         customer AS (SELECT f.*, s.segment FROM customer_features f JOIN customer_segments s USING (customer_id)) \
         SELECT offer.id, offer.code, {} FROM offer JOIN customer ON customer.customer_id = offer.id \
         JOIN packages package ON package.package_code = offer.code ORDER BY offer.id, offer.rank",
        keeps.join(", ")
    );
    let csv = shop.ok(&["query", "-c", "packwise.toml", "--run", &all.run_id, "--format", "csv", &sql]);
    let mut judged = BTreeMap::<String, Vec<_>>::new();
    for line in csv.lines().skip(1) {
        let mut cells = line.split(',').map(str::to_owned);
        let (id, code) = (cells.next().unwrap(), cells.next().unwrap());
        judged.entry(id).or_default().push((code, cells.map(|cell| cell == "1").collect()));
    }
    judged
}

/// The rules that are not conditions, for one customer.
struct Others<'a> {
    rules: &'a Rules,
    recent: Vec<(&'static str, i64)>,
}

impl<'a> Others<'a> {
    fn of(rules: &'a Rules, contacts: &Contacts, id: &str) -> Self {
        let own = contacts.iter().filter(|(customer, _, _)| customer == id);
        Self { rules, recent: own.map(|(_, code, day)| (*code, OFFER_DAY - day)).collect() }
    }

    fn eligible(&self, code: &str) -> bool {
        let Rules { denied, allowed, .. } = self.rules;
        !denied.contains(&code) && (allowed.is_empty() || allowed.contains(&code))
    }

    fn rested(&self, code: &str) -> bool {
        self.rules.rest.is_none_or(|(offer, after)| {
            !offer.contains(&code)
                || !self.recent.iter().any(|(known, ago)| *known == after && (0..=20).contains(ago))
        })
    }

    fn apart(&self, code: &str, list: &[String]) -> bool {
        let meets = |group: &Vec<&str>| {
            group.contains(&code) && list.iter().any(|other| other != code && group.contains(&other.as_str()))
        };
        !self.rules.apart.iter().any(meets)
    }

    fn left(&self) -> usize {
        let counted = self.recent.iter().filter(|(_, ago)| (0..7).contains(ago)).count();
        self.rules.most.map_or(usize::MAX, |most| most.saturating_sub(counted))
    }
}

/// What the rules leave of the rankings.
fn expected(
    judged: &BTreeMap<String, Vec<(String, Vec<bool>)>>,
    rules: &Rules,
    contacts: &Contacts,
) -> Lists {
    let list = |(id, ranking): (&String, &Vec<(String, Vec<bool>)>)| {
        let others = Others::of(rules, contacts, id);
        let mut list: Vec<String> = Vec::new();
        for (code, keeps) in ranking {
            let stands = keeps.iter().all(|keep| *keep) && others.eligible(code) && others.rested(code);
            if list.len() < TOP && stands && others.apart(code, &list) {
                list.push(code.clone());
            }
        }
        list.truncate(others.left());
        (id.clone(), list)
    };
    judged.iter().map(list).filter(|(_, list)| !list.is_empty()).collect()
}

/// Every customer has as many offers as asked for, or a row that says how many.
fn assert_counted(shop: &Shop, run: &Manifest, offers: &Lists) {
    let ids = texts(&shop.table(run, "customer_features"), "customer_id");
    let table = shop.table(run, "recommendation_shortfalls");
    let (made, wanted) = (integers(&table, "offers"), integers(&table, "wanted"));
    let short: BTreeMap<String, i64> =
        texts(&table, "customer_id").into_iter().zip(made.iter().flatten()).collect();
    assert_eq!(short.len(), table.num_rows(), "a customer has two shortfalls");
    assert!(wanted.iter().flatten().all(|wanted| wanted == TOP as i64));
    for id in ids {
        let count = offers.get(&id).map_or(0, Vec::len);
        let told = short.get(&id).map_or(TOP, |made| *made as usize);
        assert_eq!(count, told, "customer {id}");
        assert!(count < TOP || !short.contains_key(&id), "customer {id} lacks nothing");
    }
}

/// Each rule gets what the one before let through, and the last lets through what is to be sent.
fn assert_funnel(shop: &Shop, run: &Manifest) {
    let table = shop.table(run, "policy_funnel");
    let column = |name| integers(&table, name);
    let (position, into, out, removed) =
        (column("position"), column("offers_in"), column("offers_out"), column("removed"));
    for row in 0..table.num_rows() {
        assert_eq!(position.value(row), row as i64 + 1);
        assert_eq!(into.value(row) - removed.value(row), out.value(row));
        assert!(row == 0 || into.value(row) == out.value(row - 1), "row {row}");
        assert!(column("customers").value(row) <= removed.value(row) && removed.value(row) >= 0);
        assert!(floats(&table, "revenue_removed").value(row) >= 0.0);
    }
    let table = shop.table(run, "recommendations");
    let sent = texts(&table, "held_out").iter().filter(|group| *group == "∅").count();
    assert_eq!(out.value(out.len() - 1), sent as i64);
}

fn marketed(customers: u32) -> (Shop, Manifest, Contacts) {
    let shop = shop(Ids::Digits, customers);
    let contacts = contacts(&shop, customers);
    let all = shop.run(&["recommendations.top=12", "segments.k=3"]);
    (shop, all, contacts)
}

fn run(shop: &Shop, policies: &str, settings: &[&str]) -> Manifest {
    shop.write("policies.toml", policies);
    let top = format!("recommendations.top={TOP}");
    shop.run(&[&["policies.path=policies.toml", &top, "segments.k=3"], settings].concat())
}

#[test]
fn rules_leave_exactly_the_best_offers_that_none_of_them_refuses() {
    let (shop, all, contacts) = marketed(500);
    let mut dice = Dice::new(21);
    let (mut short, mut full) = (0, 0);
    for file in 0..10 {
        let rules = Rules::random(&mut dice, file % 2 == 0);
        let run = run(&shop, &rules.text, &[]);
        let (found, wanted) =
            (offers(&shop, &run), expected(&judged(&shop, &all, &rules), &rules, &contacts));
        let differs = |id: &&String| found.get(*id) != wanted.get(*id);
        if let Some(id) = wanted.keys().chain(found.keys()).find(differs) {
            panic!("{}\ncustomer {id}: {:?}, not {:?}", rules.text, found.get(id), wanted.get(id));
        }
        assert_counted(&shop, &run, &found);
        assert_funnel(&shop, &run);
        short += wanted.values().filter(|list| list.len() < TOP).count();
        full += wanted.values().filter(|list| list.len() == TOP).count();
    }
    assert!(short > 200 && full > 200, "{short} short and {full} full lists prove little");
}

#[test]
fn nothing_that_moves_offers_gets_past_a_rule() {
    let (shop, all, contacts) = marketed(500);
    let mut dice = Dice::new(22);
    for (file, settings) in [
        &[][..],
        &["recommendations.novelty=new-only"],
        &["recommendations.slots.repeat=2", "recommendations.slots.explore=2"],
        &["recommendations.objective=revenue"],
        &["recommendations.novelty=repeat-only"],
    ]
    .into_iter()
    .enumerate()
    {
        let mut rules = Rules::random(&mut dice, file % 2 == 0);
        // Boosts and prices give other ranks than those that the conditions are checked with.
        while rules.text.contains("offer.rank") {
            rules = Rules::random(&mut dice, file % 2 == 0);
        }
        let rules = rules.and_more(&mut dice, file % 2 == 1);
        let run = run(&shop, &rules.text, settings);
        let (found, judged) = (offers(&shop, &run), judged(&shop, &all, &rules));
        for (id, list) in &found {
            let others = Others::of(&rules, &contacts, id);
            assert!(list.len() <= others.left(), "customer {id}");
            for code in list {
                let (_, keeps) = judged[id].iter().find(|(known, _)| known == code).unwrap();
                let pinned = rules.pinned == Some(code.as_str());
                let stands = |((stage, _), keep): (&(&str, String), &bool)| {
                    *keep || pinned && matches!(*stage, "suitability" | "contact")
                };
                assert!(rules.keeps.iter().zip(keeps).all(stands), "{}\n{id} {code} {keeps:?}", rules.text);
                assert!(others.eligible(code) && (others.rested(code) || pinned), "{id} {code}");
                assert!(others.apart(code, list), "{id} {code}");
            }
        }
        for (group, most) in &rules.caps {
            let made = found.values().flatten().filter(|code| group.contains(&code.as_str())).count();
            assert!(made <= *most, "{made} offers of {group:?}");
        }
        assert_counted(&shop, &run, &found);
        assert_funnel(&shop, &run);
    }
}
