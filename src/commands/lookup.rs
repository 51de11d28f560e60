//! `packwise lookup`.

use super::render::{self, Align};
use super::{prepare, print};
use crate::cli::LookupArgs;
use crate::config::Config;
use crate::engine::workers;
use crate::error::Error;
use crate::pipeline;
use crate::privacy::pseudonyms::{KeyError, Pseudonyms, is_pseudonym};
use crate::published::PublishedRun;
use crate::recommendations::explain::{Explanation, Outcome};
use crate::runs::Output;
use crate::tables::{self, Table};
use arrow::array::RecordBatch;
use chrono::NaiveDateTime;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Rows of a table as JSON objects.
type Rows = Vec<Map<String, Value>>;

pub fn run(args: &LookupArgs, json: bool) -> Result<u8, Error> {
    let (config, _, engine) = prepare(&args.config, json)?;
    let output = Output::open(&config.output, engine.runtime.handle())?;
    let run = PublishedRun::open(&output, args.run.as_deref(), engine.memory.usable())?;
    let id = as_published(&run, &config, &args.customer)?;
    let customer = gather(&run, &id)?;
    let why = match &args.why {
        Some(package) => {
            let segments = run.manifest.quality.segments;
            Some(pipeline::explain(&config, &engine, segments, &id, package)?)
        }
        None => None,
    };
    let text = if json {
        let mut object = customer.json(&run.manifest.run_id);
        if let (Some(why), Some(fields)) = (&why, object.as_object_mut()) {
            fields.insert("why".to_owned(), serde_json::to_value(why).unwrap_or_default());
        }
        serde_json::to_string_pretty(&object).unwrap_or_default() + "\n"
    } else {
        why.map_or_else(|| customer.text(), |why| explained(&why))
    };
    print(text.as_bytes())?;
    Ok(0)
}

/// The customer as the run has it: in a run with pseudonyms that of the id, or the pseudonym itself.
fn as_published(run: &PublishedRun, config: &Config, customer: &str) -> Result<String, Error> {
    let Some(of_run) = &run.manifest.pseudonyms else { return Ok(customer.to_owned()) };
    if is_pseudonym(customer) {
        return Ok(customer.to_owned());
    }
    let Some(source) = &config.pseudonyms else { return Ok(customer.to_owned()) };
    let key = Pseudonyms::load(source)?;
    if key.key_id() != of_run {
        let (run, of_run, at_hand) = (run.manifest.run_id.clone(), of_run.clone(), key.key_id().to_owned());
        return Err(KeyError::OtherKey { run, of_run, at_hand }.into());
    }
    Ok(key.of(customer))
}

/// A customer's rows of every table about customers.
pub struct Customer {
    id: String,
    features: Map<String, Value>,
    segment: Map<String, Value>,
    /// What sets the segment apart.
    description: Option<String>,
    offers: Vec<Map<String, Value>>,
    packages: Vec<Map<String, Value>>,
    shortfall: Vec<Map<String, Value>>,
    /// What the customer is worth, with its RFM scores; empty if the run does not say.
    value: Map<String, Value>,
}

/// Why a package is offered, or not, for a person.
fn explained(why: &Explanation) -> String {
    let Explanation { customer_id, package_code, score, .. } = why;
    let mut text = match &why.outcome {
        Outcome::Offered { rank, held_out: None } => {
            format!("{package_code} is offered to customer {customer_id} at rank {rank}\n")
        }
        Outcome::Offered { rank, held_out: Some(group) } => format!(
            "{package_code} has rank {rank} for customer {customer_id}, but is held out for the control group {group}\n"
        ),
        Outcome::Refused { rule } => {
            let place = if rule.line > 0 { format!(", line {}", rule.line) } else { String::new() };
            format!(
                "{package_code} is not offered to customer {customer_id}: the rule {} of {} refuses it ({}{place})\n",
                rule.name,
                rule.owner,
                rule.stage.text()
            )
        }
        Outcome::OtherKind => format!(
            "{package_code} is not offered to customer {customer_id}: recommendations.novelty asks for the other kind\n"
        ),
        Outcome::Outranked => format!(
            "{package_code} is not offered to customer {customer_id}: no rule refuses it, but other packages rank higher or take its slots\n"
        ),
    };
    text.push_str(&format!(
        "It is number {} of {} packages before any rule; the customer buys it with probability {}\n",
        why.place,
        why.packages,
        render::percent(*score)
    ));
    if why.consulted > 0 {
        text.push_str(&format!("{} of the {} nearest neighbours buy it\n", why.neighbours, why.consulted));
    }
    if let Some(package) = &why.because_of {
        text.push_str(&format!("It goes with {package}, which the customer buys\n"));
    }
    let mut rows: Vec<Vec<String>> =
        why.factors.iter().map(|(name, value)| vec![(*name).to_owned(), format!("{value:+.3}")]).collect();
    rows.push(vec!["sum: what it is ranked by".to_owned(), format!("{:+.3}", why.utility)]);
    if let Some(last) = why.last_offer_utility {
        rows.push(vec!["the last offer made".to_owned(), format!("{last:+.3}")]);
    }
    text.push_str(&render::heading("Factors"));
    text + &render::table(&[("factor", Align::Left), ("ln odds", Align::Right)], rows)
}

/// The tables that say something of one customer, the slowest to read first, and that of segments.
const TABLES: [&Table; 8] = [
    &tables::RECOMMENDATIONS,
    &tables::CUSTOMER_FEATURES,
    &tables::CUSTOMER_VALUE,
    &tables::CUSTOMER_PACKAGES,
    &tables::CUSTOMER_SEGMENTS,
    &tables::RFM,
    &tables::RECOMMENDATION_SHORTFALLS,
    &tables::SEGMENT_PROFILES,
];

/// Reads everything about one customer, several tables at once.
pub fn gather(run: &PublishedRun, id: &str) -> Result<Customer, Error> {
    let threads = workers::for_each(run.readers(), TABLES.len(), Vec::new, |found, number| {
        let name = TABLES[number].name;
        let is_of_segments = name == tables::SEGMENT_PROFILES.name;
        let batches = if is_of_segments { run.table(name)? } else { run.customer(name, id)? };
        found.push((name, rows(&batches)?));
        Ok::<(), Error>(())
    })?;
    let mut found: BTreeMap<&str, Rows> = threads.into_iter().flatten().collect();
    let mut of = |table: &Table| found.remove(table.name).unwrap_or_default();
    let Some(features) = of(&tables::CUSTOMER_FEATURES).pop() else {
        return Err(Error::UnknownCustomer { customer: id.to_owned(), run: run.manifest.run_id.clone() });
    };
    let by = |rows: &mut Rows, column: &str, descending: bool| {
        rows.sort_by(|a, b| {
            let of = |row: &Map<String, Value>| row.get(column).and_then(Value::as_f64).unwrap_or(0.0);
            if descending { of(b).total_cmp(&of(a)) } else { of(a).total_cmp(&of(b)) }
        });
    };
    let mut offers = of(&tables::RECOMMENDATIONS);
    by(&mut offers, "rank", false);
    let mut packages = of(&tables::CUSTOMER_PACKAGES);
    by(&mut packages, "weight", true);
    let segment = of(&tables::CUSTOMER_SEGMENTS).pop().unwrap_or_default();
    let mut value = of(&tables::CUSTOMER_VALUE).pop().unwrap_or_default();
    let rfm = of(&tables::RFM).pop().unwrap_or_default();
    value.extend(
        rfm.into_iter().filter(|(column, _)| column == "rfm" || column == "segment").map(|(column, cell)| {
            (if column == "segment" { "rfm_segment".to_owned() } else { column }, cell)
        }),
    );
    Ok(Customer {
        id: id.to_owned(),
        description: describe(&of(&tables::SEGMENT_PROFILES), segment.get("segment")),
        features,
        segment,
        offers,
        packages,
        shortfall: of(&tables::RECOMMENDATION_SHORTFALLS),
        value,
    })
}

/// The description of a segment.
fn describe(profiles: &Rows, segment: Option<&Value>) -> Option<String> {
    let profile = profiles.iter().find(|row| segment.is_some() && row.get("segment") == segment)?;
    profile.get("description")?.as_str().map(str::to_owned)
}

pub(super) fn rows(batches: &[RecordBatch]) -> Result<Vec<Map<String, Value>>, Error> {
    let failed = |source| Error::Arrow { action: "read the customer's rows", source };
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::JsonArray>(Vec::new());
    for batch in batches {
        writer.write(batch).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    let bytes = writer.into_inner();
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| failed(arrow::error::ArrowError::JsonError(error.to_string())))
}

/// Money with two decimals.
fn price(value: Option<&Value>) -> String {
    value.and_then(Value::as_f64).map_or_else(|| "–".to_owned(), |price| render::money(price, ""))
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "–".into(),
        Some(Value::String(text)) => match NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S") {
            Ok(time) => time.format("%Y-%m-%d %H:%M:%S").to_string(),
            Err(_) => text.clone(),
        },
        Some(Value::Bool(flag)) => if *flag { "yes" } else { "no" }.into(),
        Some(Value::Number(number)) => match number.as_i64() {
            Some(integer) => integer.to_string(),
            None => format!("{:.3}", number.as_f64().unwrap_or(f64::NAN)),
        },
        Some(other) => other.to_string(),
    }
}

impl Customer {
    fn json(&self, run: &str) -> Value {
        serde_json::json!({
            "run_id": run,
            "customer_id": self.id,
            "features": self.features,
            "segment": self.segment,
            "segment_description": self.description,
            "packages": self.packages,
            "recommendations": self.offers,
            "shortfall": self.shortfall,
            "value": self.value,
        })
    }

    /// The offers alone, for the demo.
    pub fn offers_text(&self, most: usize) -> String {
        let rows = self
            .offers
            .iter()
            .take(most)
            .map(|row| {
                let of = |column: &str| shown(row.get(column));
                vec![
                    of("rank"),
                    of("package_code"),
                    of("score"),
                    price(row.get("price")),
                    of("is_new"),
                    of("reason"),
                ]
            })
            .collect();
        render::table(
            &[
                ("rank", Align::Right),
                ("package", Align::Left),
                ("score", Align::Right),
                ("price", Align::Right),
                ("new", Align::Left),
                ("reason", Align::Left),
            ],
            rows,
        )
    }

    fn text(&self) -> String {
        let features = self.features.iter().filter(|(column, _)| *column != "customer_id");
        let features = features.map(|(column, value)| vec![column.clone(), shown(Some(value))]).collect();
        let packages = self
            .packages
            .iter()
            .map(|row| {
                let of = |column: &str| shown(row.get(column));
                vec![
                    of("package_code"),
                    of("times"),
                    price(row.get("revenue")),
                    of("last_purchase"),
                    of("weight"),
                ]
            })
            .collect();
        let mut text = format!(
            "Customer {} is in segment {}: {}\n",
            self.id,
            shown(self.segment.get("segment")),
            self.description.as_deref().unwrap_or("about average")
        );
        text.push_str(&render::heading("Offers"));
        text.push_str(&self.offers_text(usize::MAX));
        for row in &self.shortfall {
            let of = |column: &str| shown(row.get(column));
            text.push_str(&format!("{} of {} offers: {}\n", of("offers"), of("wanted"), of("reason")));
        }
        text.push_str(&render::heading("Packages bought"));
        text.push_str(&render::table(
            &[
                ("package", Align::Left),
                ("times", Align::Right),
                ("revenue", Align::Right),
                ("last", Align::Left),
                ("weight", Align::Right),
            ],
            packages,
        ));
        if !self.value.is_empty() {
            let value = self.value.iter().filter(|(column, _)| *column != "customer_id");
            let value = value.map(|(column, value)| vec![column.clone(), shown(Some(value))]).collect();
            text.push_str(&render::heading("Value"));
            text.push_str(&render::table(&[("figure", Align::Left), ("value", Align::Right)], value));
        }
        text.push_str(&render::heading("Features"));
        text.push_str(&render::table(&[("feature", Align::Left), ("value", Align::Right)], features));
        text
    }
}
