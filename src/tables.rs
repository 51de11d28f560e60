//! Every published table: columns, types, meaning, key and grain. Writers, readers, the manifest,
//! `docs/tables.md` and the tests all go by this contract.

mod value;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;
pub use value::*;

/// The type of a column, before it is known whether customer ids are integers or text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Int64 or text, as the input has it.
    Customer,
    Text,
    Integer,
    Float,
    Flag,
    /// Seconds, no time zone.
    Time,
    Date,
}

/// How customer ids are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CustomerType {
    Integer,
    Text,
}

impl CustomerType {
    pub fn data_type(self) -> DataType {
        match self {
            Self::Integer => DataType::Int64,
            Self::Text => DataType::Utf8,
        }
    }
}

/// One column of the contract.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub nullable: bool,
    pub meaning: &'static str,
}

/// One published table.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub name: &'static str,
    /// What one row is.
    pub grain: &'static str,
    /// Columns that identify a row.
    pub key: &'static [&'static str],
    pub columns: &'static [Column],
    /// Columns named after values of the data (a share for each channel) follow the fixed ones.
    pub open_ended: Option<&'static str>,
}

const fn column(name: &'static str, kind: Kind, meaning: &'static str) -> Column {
    Column { name, kind, nullable: false, meaning }
}

const fn maybe(name: &'static str, kind: Kind, meaning: &'static str) -> Column {
    Column { name, kind, nullable: true, meaning }
}

pub const CUSTOMER_ID: Column = column("customer_id", Kind::Customer, "the customer, as in the input");

pub const CUSTOMER_FEATURES: Table = Table {
    name: "customer_features",
    grain: "a customer",
    key: &["customer_id"],
    columns: &[
        CUSTOMER_ID,
        column("purchases", Kind::Integer, "purchases (rows that are not returns)"),
        column("active_days", Kind::Integer, "days with a purchase"),
        column("distinct_packages", Kind::Integer, "different packages bought"),
        column("units", Kind::Float, "pieces bought: sum of quantity, one a purchase without it"),
        column("revenue", Kind::Float, "money paid less returns, currency units"),
        column("average_purchase", Kind::Float, "revenue per purchase, currency units"),
        column("largest_purchase", Kind::Float, "largest amount of one row, currency units"),
        column("purchases_30d", Kind::Integer, "purchases in the last 30 days of the data"),
        column("revenue_30d", Kind::Float, "revenue of the last 30 days of the data, currency units"),
        column(
            "revenue_30d_share",
            Kind::Float,
            "share of the customer's revenue in the last 30 days, 0 to 1",
        ),
        column(
            "revenue_trend",
            Kind::Float,
            "last 30 days against the 30 before: (a − b) / (a + b), −1 to 1",
        ),
        column("first_purchase", Kind::Time, "time of the first row"),
        column("last_purchase", Kind::Time, "time of the last row"),
        column("recency_days", Kind::Integer, "days from the last row to the end of the data"),
        column("tenure_days", Kind::Integer, "days from the first row to the end of the data"),
        maybe("mean_gap_days", Kind::Float, "mean days between active days; null with fewer than two"),
        column("weekend_share", Kind::Float, "share of purchases on Saturday and Sunday, 0 to 1"),
        maybe("favourite_package", Kind::Text, "the package bought most often; ties to the first code"),
        column("favourite_share", Kind::Float, "its share of the purchases, 0 to 1"),
        maybe("mean_price_tier", Kind::Float, "mean fifth of the catalogue by price, 1 (cheap) to 5"),
        maybe("mean_validity_days", Kind::Float, "mean validity of what was bought, days"),
        maybe("mean_quota_mb_per_day", Kind::Float, "mean quota per day of validity, MB"),
        maybe("mean_speed_mbps", Kind::Float, "mean top speed of what was bought, Mbps"),
    ],
    open_ended: Some(
        "`channel_<name>_share` (of purchases), `service_<name>_share` and `charging_<name>_share` (of revenue)",
    ),
};

pub const CUSTOMER_PACKAGES: Table = Table {
    name: "customer_packages",
    grain: "a customer and a package",
    key: &["customer_id", "package_code"],
    columns: &[
        CUSTOMER_ID,
        column("package_code", Kind::Text, "the package"),
        column("times", Kind::Integer, "purchases of it; 0 if there are only returns"),
        column("revenue", Kind::Float, "money paid for it less returns, currency units"),
        column("first_purchase", Kind::Time, "time of the first row"),
        column("last_purchase", Kind::Time, "time of the last row"),
        column("weight", Kind::Float, "days with a purchase of it, each halved for every half-life since"),
        column("days", Kind::Integer, "days with a purchase of it"),
    ],
    open_ended: None,
};

pub const CUSTOMER_SEGMENTS: Table = Table {
    name: "customer_segments",
    grain: "a customer",
    key: &["customer_id"],
    columns: &[
        CUSTOMER_ID,
        column("segment", Kind::Integer, "the segment, 1 has the most revenue per customer"),
        column("distance", Kind::Float, "distance to the segment's centre in scaled features"),
        column("margin", Kind::Float, "how much farther the second nearest centre is, in the same unit"),
    ],
    open_ended: None,
};

pub const SEGMENT_PROFILES: Table = Table {
    name: "segment_profiles",
    grain: "a segment",
    key: &["segment"],
    columns: &[
        column("segment", Kind::Integer, "the segment"),
        maybe("customers", Kind::Integer, "customers in it"),
        maybe("customer_share", Kind::Float, "share of all customers, 0 to 1"),
        maybe("revenue", Kind::Float, "revenue, currency units"),
        maybe("revenue_share", Kind::Float, "share of all revenue"),
        maybe("revenue_per_customer", Kind::Float, "currency units"),
        maybe("purchases_per_customer", Kind::Float, "purchases per customer"),
        maybe("mean_recency_days", Kind::Float, "mean days since the last purchase"),
        maybe("high_revenue", Kind::Flag, "whether its customers are examples for others"),
        maybe("description", Kind::Text, "what sets the segment apart, in words"),
        maybe("top_packages", Kind::Text, "the three packages bought most often"),
    ],
    open_ended: None,
};

pub const SEGMENT_SWEEP: Table = Table {
    name: "segment_sweep",
    grain: "a number of segments that was tried",
    key: &["k"],
    columns: &[
        column("k", Kind::Integer, "number of segments"),
        column("silhouette", Kind::Float, "mean silhouette of the sample, −1 to 1"),
        column("standard_error", Kind::Float, "standard error of it over the parts of the sample"),
        column("inertia", Kind::Float, "mean squared distance to the nearest centre, in the sample"),
        column("iterations", Kind::Integer, "iterations of k-means"),
        column("chosen", Kind::Flag, "the number that the run uses"),
    ],
    open_ended: None,
};

pub const NEIGHBOUR_CANDIDATES: Table = Table {
    name: "neighbour_candidates",
    grain: "a customer whose purchases are an example for others",
    key: &["customer_id"],
    columns: &[
        CUSTOMER_ID,
        column("segment", Kind::Integer, "the candidate's segment"),
        column("packages", Kind::Integer, "different packages bought"),
    ],
    open_ended: None,
};

pub const CUSTOMER_NEIGHBOURS: Table = Table {
    name: "customer_neighbours",
    grain: "a customer and one of the customers most similar to it (if neighbours.publish is true)",
    key: &["customer_id", "rank"],
    columns: &[
        CUSTOMER_ID,
        column("rank", Kind::Integer, "1 is the most similar"),
        column("neighbour_id", Kind::Customer, "the candidate"),
        column("distance", Kind::Float, "Euclidean distance of the similarity vectors"),
    ],
    open_ended: None,
};

pub const RECOMMENDATIONS: Table = Table {
    name: "recommendations",
    grain: "an offer to a customer",
    key: &["customer_id", "rank"],
    columns: &[
        CUSTOMER_ID,
        column("rank", Kind::Integer, "1 is the best offer"),
        column("package_code", Kind::Text, "what to offer"),
        column(
            "score",
            Kind::Float,
            "probability that the customer buys it in the coming window, given that it buys anything",
        ),
        maybe("price", Kind::Float, "catalogue price, else the mean amount paid for it; currency units"),
        maybe("expected_revenue", Kind::Float, "score × price, currency units"),
        column("is_new", Kind::Flag, "the customer has never bought it"),
        column("segment", Kind::Integer, "the customer's segment"),
        column(
            "source",
            Kind::Text,
            "what speaks most for it: own habit, neighbours, bought together, or popularity",
        ),
        column("neighbours_with_package", Kind::Integer, "neighbours that bought it"),
        column("neighbours_consulted", Kind::Integer, "neighbours asked"),
        maybe("because_of", Kind::Text, "the package of the customer's own that speaks most for it"),
        column("utility", Kind::Float, "what offers are ranked by: the sum of the factors that follow"),
        column("factor_own_habit", Kind::Float, "ln odds from the customer's own purchases of it"),
        column("factor_neighbours", Kind::Float, "ln odds from what similar customers buy"),
        column("factor_bought_together", Kind::Float, "ln odds from what goes with the customer's packages"),
        column("factor_popularity", Kind::Float, "ln odds from how well it sells, with the base rate"),
        column("factor_price", Kind::Float, "ln odds from its price, and the price weight of the objective"),
        column("factor_policy", Kind::Float, "ln of what policies multiply the odds by"),
        maybe(
            "held_out",
            Kind::Text,
            "the control group that keeps it from the customer: global, or a campaign; not to be sent",
        ),
        column("reason", Kind::Text, "why, in a sentence"),
    ],
    open_ended: None,
};

pub const RECOMMENDATION_SHORTFALLS: Table = Table {
    name: "recommendation_shortfalls",
    grain: "a customer with fewer offers than asked for",
    key: &["customer_id"],
    columns: &[
        CUSTOMER_ID,
        column("offers", Kind::Integer, "offers made"),
        column("wanted", Kind::Integer, "offers asked for"),
        column("reason", Kind::Text, "which rules took how many candidates"),
    ],
    open_ended: None,
};

pub const POLICY_FUNNEL: Table = Table {
    name: "policy_funnel",
    grain: "a rule that can take offers, in the order of application",
    key: &["position"],
    columns: &[
        column("position", Kind::Integer, "order of application, from 1"),
        column("rule", Kind::Text, "its name"),
        column(
            "stage",
            Kind::Text,
            "eligibility, applicability, suitability, contact, list, capacity or control",
        ),
        column("owner", Kind::Text, "who answers for it"),
        maybe("offers_in", Kind::Integer, "offers that it was asked about"),
        maybe("offers_out", Kind::Integer, "offers that it let pass"),
        maybe("removed", Kind::Integer, "offers that it took"),
        maybe("revenue_removed", Kind::Float, "expected revenue of what it took, currency units"),
        maybe("customers", Kind::Integer, "customers who lost an offer to it"),
    ],
    open_ended: None,
};

pub const PACKAGES: Table = Table {
    name: "packages",
    grain: "a package of the catalogue, or seen in the transactions without one",
    key: &["package_code"],
    columns: &[
        column("package_code", Kind::Text, "the package"),
        maybe("price", Kind::Float, "catalogue price, else the mean amount paid; currency units"),
        maybe("price_tier", Kind::Integer, "fifth of the catalogue by price, 1 (cheap) to 5"),
        maybe("quota_mb", Kind::Float, "quota, MB (1 GB = 1,024 MB); infinite if unlimited"),
        maybe("max_speed_mbps", Kind::Float, "top speed, Mbps"),
        maybe("min_speed_mbps", Kind::Float, "guaranteed speed, Mbps"),
        maybe("service_type", Kind::Text, "as in the catalogue"),
        maybe("charging_type", Kind::Text, "as in the catalogue"),
        maybe("validity_days", Kind::Float, "validity, days (a month is 30)"),
        column("retired", Kind::Flag, "marked so in the catalogue, or not bought for the configured days"),
        maybe("purchases", Kind::Integer, "purchases"),
        maybe("customers", Kind::Integer, "customers that bought it"),
        maybe("revenue", Kind::Float, "revenue less returns, currency units"),
        maybe("last_purchase", Kind::Date, "last day it was bought"),
    ],
    open_ended: None,
};

pub const QUARANTINE: Table = Table {
    name: "quarantine",
    grain: "a rejected transaction",
    key: &[],
    columns: &[
        maybe("file", Kind::Text, "the input file; null if the row was rejected after the shuffle"),
        maybe("row", Kind::Integer, "its row in the file, from 1"),
        column("reason", Kind::Text, "why it was rejected"),
        maybe("customer_id", Kind::Text, "as in the input"),
        maybe("package_code", Kind::Text, "as in the input"),
        maybe("time", Kind::Text, "as in the input"),
        maybe("channel", Kind::Text, "as in the input"),
        maybe("amount", Kind::Text, "as in the input"),
        maybe("quantity", Kind::Text, "as in the input"),
    ],
    open_ended: None,
};

pub const DATA_QUALITY: Table = Table {
    name: "data_quality",
    grain: "a figure of the data-quality report",
    key: &["measure"],
    columns: &[
        column("measure", Kind::Text, "what was measured"),
        maybe("value", Kind::Float, "the figure"),
        maybe("text", Kind::Text, "the figure where it is not a number"),
        maybe("share", Kind::Float, "share of the rows read, where it is a count of rows"),
    ],
    open_ended: None,
};

pub const EVALUATION: Table = Table {
    name: "evaluation",
    grain: "a method's offers to a group of customers at a cut-off, as far as rank k (written by `evaluate`)",
    key: &["cutoff", "method", "grouping", "customer_group", "k"],
    columns: &[
        column("protocol", Kind::Text, "window or last-basket"),
        column("cutoff", Kind::Text, "the last day that was seen, or last basket"),
        column("method", Kind::Text, "what made the offers"),
        column("grouping", Kind::Text, "all, segment, baskets before, or channel"),
        column("customer_group", Kind::Text, "the group"),
        column("k", Kind::Integer, "offers that count"),
        column("customers", Kind::Integer, "customers tested"),
        maybe("precision", Kind::Float, "offers that were bought, over k"),
        maybe("recall", Kind::Float, "share of what was bought that had been offered"),
        maybe("hit_rate", Kind::Float, "share of customers that bought an offer"),
        maybe("ndcg", Kind::Float, "discounted gain over the best that k places can hold"),
        maybe("ndcg_full", Kind::Float, "discounted gain over the best for the whole truth"),
        maybe("map", Kind::Float, "mean average precision"),
        maybe("repeat_recall", Kind::Float, "recall of packages bought before"),
        maybe("explore_recall", Kind::Float, "recall of packages never bought before"),
        maybe("repeat_share_of_truth", Kind::Float, "share of what was bought that had been bought before"),
        maybe("repeat_share_of_list", Kind::Float, "share of the offers that had been bought before"),
        maybe("revenue_recall", Kind::Float, "share of the money that was paid for offers"),
        maybe("upsell_recall", Kind::Float, "recall of packages dearer than the customer usually buys"),
        maybe("coverage", Kind::Float, "share of the packages that anybody was offered"),
        maybe("gini", Kind::Float, "inequality of the packages' shares of the offers, 0 to 1"),
        maybe("novelty", Kind::Float, "mean −log2 of the share of customers that had the offered package"),
        maybe("same_for_all", Kind::Float, "share of customers that get the most frequent list"),
    ],
    open_ended: None,
};

/// Every published table, in the order of the pipeline.
pub const ALL: &[Table] = &[
    DATA_QUALITY,
    QUARANTINE,
    PACKAGES,
    CUSTOMER_FEATURES,
    CUSTOMER_PACKAGES,
    SEGMENT_SWEEP,
    CUSTOMER_SEGMENTS,
    SEGMENT_PROFILES,
    NEIGHBOUR_CANDIDATES,
    CUSTOMER_NEIGHBOURS,
    RECOMMENDATIONS,
    RECOMMENDATION_SHORTFALLS,
    POLICY_FUNNEL,
    PURCHASE_SUMMARY,
    RFM,
    RFM_SCORES,
    RFM_SEGMENTS,
    RFM_MIGRATION,
    CUSTOMER_VALUE,
    VALUE_MODELS,
    VALUE_BACKTEST,
    VALUE_CALIBRATION,
    VALUE_SEGMENTS,
    VALUE_SEGMENT_SWEEP,
    VALUE_TIERS,
    MATRICES,
    MATRIX_SCENARIOS,
    EVALUATION,
];

/// The tables of every run: all but the one that `evaluate` writes.
pub fn of_a_run() -> impl Iterator<Item = &'static Table> {
    ALL.iter().filter(|table| table.name != EVALUATION.name)
}

impl Table {
    /// The Arrow schema of the fixed columns.
    pub fn schema(&self, customers: CustomerType) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(|c| c.field(customers)).collect::<Vec<_>>()))
    }

    /// Whether the rows are sorted by customer, so that a lookup can go to one file.
    pub fn by_customer(&self) -> bool {
        self.key.first() == Some(&"customer_id")
    }
}

impl Column {
    pub fn field(&self, customers: CustomerType) -> Field {
        let data_type = match self.kind {
            Kind::Customer => customers.data_type(),
            Kind::Text => DataType::Utf8,
            Kind::Integer => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::Flag => DataType::Boolean,
            Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, None),
            Kind::Date => DataType::Date32,
        };
        Field::new(self.name, data_type, self.nullable)
    }
}

/// `docs/tables.md`: the contract as a page.
pub fn documentation() -> String {
    let mut page = String::from(
        "# Published tables\n\nWritten from `src/tables.rs`; a test keeps the two equal. Every table is a folder of Parquet \
         files under `runs/<run id>/`; tables with a customer are sorted by it within and across their files. \
         Money is in currency units, computed from exact integer minor units.\n",
    );
    for table in ALL {
        page.push_str(&format!("\n## {}\n\nOne row is {}.", table.name, table.grain));
        if !table.key.is_empty() {
            page.push_str(&format!(" Key: {}.", table.key.join(", ")));
        }
        page.push_str("\n\n| column | type | null | meaning |\n|---|---|---|---|\n");
        for column in table.columns {
            let kind = match column.kind {
                Kind::Customer => "integer or text",
                Kind::Text => "text",
                Kind::Integer => "integer",
                Kind::Float => "float",
                Kind::Flag => "boolean",
                Kind::Time => "timestamp",
                Kind::Date => "date",
            };
            let null = if column.nullable { "yes" } else { "" };
            page.push_str(&format!("| {} | {kind} | {null} | {} |\n", column.name, column.meaning));
        }
        if let Some(more) = table.open_ended {
            page.push_str(&format!("\nThen {more}.\n"));
        }
    }
    page
}
