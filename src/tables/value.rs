//! The tables of customer value.

use super::{CUSTOMER_ID, Kind, Table, column, maybe};

pub const PURCHASE_SUMMARY: Table = Table {
    name: "purchase_summary",
    grain: "a customer; null where it has only returns",
    key: &["customer_id"],
    columns: &[
        CUSTOMER_ID,
        maybe("first_purchase", Kind::Date, "day of the first purchase"),
        maybe("last_purchase", Kind::Date, "day of the last purchase"),
        maybe("frequency", Kind::Integer, "repeat purchases x: periods with a purchase after the first one"),
        maybe("recency", Kind::Integer, "t_x: periods from the first purchase to the last"),
        maybe("age", Kind::Integer, "T: periods from the first purchase to the end of the data"),
        maybe(
            "mean_value",
            Kind::Float,
            "mean money of a repeat purchase less returns, currency units; null without one",
        ),
        maybe("purchase_days", Kind::Integer, "days with a purchase"),
        maybe("revenue", Kind::Float, "money paid less returns, currency units"),
        column("time_unit", Kind::Text, "the period: day, week or month"),
    ],
    open_ended: None,
};

pub const RFM: Table = Table {
    name: "rfm",
    grain: "a customer who has bought",
    key: &["customer_id"],
    columns: &[
        CUSTOMER_ID,
        column("recency_score", Kind::Integer, "1 to 5, 5 bought last; equal values have equal scores"),
        column("frequency_score", Kind::Integer, "1 to 5 by days with a purchase"),
        column("monetary_score", Kind::Integer, "1 to 5 by revenue"),
        column("length_score", Kind::Integer, "1 to 5 by days from the first purchase to the last"),
        column("rfm", Kind::Integer, "the first three as one number, 111 to 555"),
        column(
            "segment_number",
            Kind::Integer,
            "number of the named segment, in the order of the configuration",
        ),
        column("segment", Kind::Text, "the named segment of recency and frequency"),
    ],
    open_ended: None,
};

pub const RFM_SCORES: Table = Table {
    name: "rfm_scores",
    grain: "a score of a measure (R, F, M or L), as it came out",
    key: &["measure", "score"],
    columns: &[
        column("measure", Kind::Text, "R recency (days), F purchases (days), M revenue, L length (days)"),
        column("score", Kind::Integer, "1 to 5"),
        maybe("above", Kind::Float, "values are strictly above this; null: no limit"),
        maybe("up_to", Kind::Float, "and up to this; null: no limit"),
        maybe("customers", Kind::Integer, "customers with the score; ties make scores unequal in size"),
        maybe("customer_share", Kind::Float, "their share, 0 to 1"),
    ],
    open_ended: None,
};

pub const RFM_SEGMENTS: Table = Table {
    name: "rfm_segments",
    grain: "a named segment of recency and frequency",
    key: &["segment_number"],
    columns: &[
        column("segment_number", Kind::Integer, "in the order of the configuration, from 1"),
        column("segment", Kind::Text, "its name"),
        maybe("customers", Kind::Integer, "customers in it"),
        maybe("customer_share", Kind::Float, "share of all customers, 0 to 1"),
        maybe("revenue", Kind::Float, "what they have paid, currency units"),
        maybe("revenue_share", Kind::Float, "share of all revenue"),
        maybe("mean_recency_days", Kind::Float, "mean days since the last purchase"),
        maybe("mean_purchase_days", Kind::Float, "mean days with a purchase"),
        maybe("mean_revenue", Kind::Float, "mean revenue of a customer, currency units"),
        maybe("mean_length_days", Kind::Float, "mean days from the first purchase to the last"),
        column("action", Kind::Text, "what to do, from the configuration"),
    ],
    open_ended: None,
};

pub const RFM_MIGRATION: Table = Table {
    name: "rfm_migration",
    grain: "a way from a segment of the run before to a segment of this one; empty for a first run",
    key: &["from_segment", "to_segment"],
    columns: &[
        maybe("from_segment", Kind::Text, "segment in the run before; null: a new customer"),
        maybe("to_segment", Kind::Text, "segment now; null: no longer in the data"),
        maybe("customers", Kind::Integer, "customers that went this way"),
        maybe("share", Kind::Float, "of all that come from the same place, 0 to 1"),
    ],
    open_ended: None,
};

pub const CUSTOMER_VALUE: Table = Table {
    name: "customer_value",
    grain: "a customer who has bought",
    key: &["customer_id"],
    columns: &[
        CUSTOMER_ID,
        maybe(
            "probability_alive",
            Kind::Float,
            "probability of still being a customer; null without a model",
        ),
        maybe("expected_purchases_1m", Kind::Float, "expected purchases in the next month of 30.4375 days"),
        maybe("expected_purchases_3m", Kind::Float, "in the next 3 months"),
        maybe("expected_purchases_6m", Kind::Float, "in the next 6 months"),
        maybe("expected_purchases_12m", Kind::Float, "in the next 12 months"),
        maybe("expected_spend_1m", Kind::Float, "expected spend in the next month, currency units"),
        maybe("expected_spend_3m", Kind::Float, "in the next 3 months"),
        maybe("expected_spend_6m", Kind::Float, "in the next 6 months"),
        maybe("expected_spend_12m", Kind::Float, "in the next 12 months"),
        maybe("value", Kind::Float, "discounted expected spend of the months of the value, currency units"),
        column("value_months", Kind::Integer, "months that the value is of"),
        maybe("tier", Kind::Text, "tier of value; null without values"),
        column("value_segment", Kind::Integer, "segment by behaviour and value, see value_segments"),
    ],
    open_ended: Some(
        "`<matrix>_quadrant`, the quadrant in each strategic matrix; null if nobody has a value on an axis",
    ),
};

pub const VALUE_MODELS: Table = Table {
    name: "value_models",
    grain: "a parameter of a model; one row with a note for a model that could not be fitted",
    key: &["model", "parameter"],
    columns: &[
        column("model", Kind::Text, "BG/NBD, MBG/NBD or Gamma-Gamma"),
        maybe("parameter", Kind::Text, "r, alpha, a, b; p, q, v"),
        maybe("estimate", Kind::Float, "maximum likelihood; alpha in time units, v in currency units"),
        maybe("standard_error", Kind::Float, "null where the data set no limit"),
        column("time_unit", Kind::Text, "the period: day, week or month"),
        maybe("log_likelihood", Kind::Float, "of all customers fitted to"),
        maybe("gradient_norm", Kind::Float, "steepest slope left, per customer"),
        maybe("condition_number", Kind::Float, "of the information matrix; null if it is singular"),
        maybe("converged", Kind::Flag, "the search ended at a top"),
        column("customers", Kind::Integer, "customers fitted to"),
        maybe("tuples", Kind::Integer, "distinct histories among them"),
        column("note", Kind::Text, "what the data leave open, or why there is no model"),
    ],
    open_ended: None,
};

pub const VALUE_BACKTEST: Table = Table {
    name: "value_backtest",
    grain: "a method and what it predicts, over the held-out days of a sample",
    key: &["method", "target"],
    columns: &[
        column("method", Kind::Text, "model, own rate or last period"),
        column("target", Kind::Text, "purchases or spend (currency units)"),
        column("known_until", Kind::Date, "last day that the methods knew"),
        column("days", Kind::Integer, "days predicted"),
        column("customers", Kind::Integer, "customers of the sample"),
        column("predicted", Kind::Float, "total predicted"),
        column("actual", Kind::Float, "total that came"),
        maybe("bias_percent", Kind::Float, "(predicted − actual) / actual in per cent"),
        column("mae", Kind::Float, "mean absolute error a customer"),
        column("rmse", Kind::Float, "root mean squared error a customer"),
        maybe("correlation", Kind::Float, "Pearson correlation of predicted and actual"),
        maybe("auc", Kind::Float, "probability that a buyer ranks above a non-buyer"),
        maybe("recalibration", Kind::Float, "the factor that would have made the total right; never applied"),
        maybe("recalibrated_rmse", Kind::Float, "the error that it would have left"),
    ],
    open_ended: None,
};

pub const VALUE_CALIBRATION: Table = Table {
    name: "value_calibration",
    grain: "a tenth of the sample by what the model predicts",
    key: &["target", "tenth"],
    columns: &[
        column("target", Kind::Text, "purchases or spend (currency units)"),
        column(
            "tenth",
            Kind::Integer,
            "1 has the lowest predictions; tenths that ties leave empty are absent",
        ),
        maybe("above", Kind::Float, "predictions are above this"),
        maybe("customers", Kind::Integer, "customers in it"),
        maybe("mean_predicted", Kind::Float, "mean prediction"),
        maybe("mean_actual", Kind::Float, "mean of what came"),
        maybe("actual_share", Kind::Float, "share of all that came"),
    ],
    open_ended: None,
};

pub const VALUE_SEGMENTS: Table = Table {
    name: "value_segments",
    grain: "a segment of customers alike in behaviour and future value",
    key: &["segment"],
    columns: &[
        column("segment", Kind::Integer, "1 has the most revenue per customer"),
        maybe("customers", Kind::Integer, "customers in it"),
        maybe("customer_share", Kind::Float, "share of all customers, 0 to 1"),
        maybe("revenue", Kind::Float, "what they have paid, currency units"),
        maybe("revenue_share", Kind::Float, "share of the present revenue"),
        maybe("value", Kind::Float, "what they are expected to pay, currency units"),
        maybe("value_share", Kind::Float, "share of the future value"),
        maybe("description", Kind::Text, "what sets the segment apart, in words"),
    ],
    open_ended: None,
};

pub const VALUE_SEGMENT_SWEEP: Table =
    Table { name: "value_segment_sweep", columns: super::SEGMENT_SWEEP.columns, ..super::SEGMENT_SWEEP };

pub const VALUE_TIERS: Table = Table {
    name: "value_tiers",
    grain: "a tier of value, the best first",
    key: &["tier"],
    columns: &[
        column("tier", Kind::Text, "its name"),
        maybe("above", Kind::Float, "values are strictly above this, currency units; null: the rest"),
        column("share_asked_for", Kind::Float, "share of the customers in the configuration"),
        maybe("customers", Kind::Integer, "customers in it; ties make better tiers smaller"),
        maybe("customer_share", Kind::Float, "share of all customers with a value, 0 to 1"),
        maybe("value", Kind::Float, "sum of their values, currency units"),
        maybe("value_share", Kind::Float, "share of all value"),
    ],
    open_ended: None,
};

pub const MATRICES: Table = Table {
    name: "matrices",
    grain: "a quadrant of a strategic matrix",
    key: &["matrix", "quadrant"],
    columns: &[
        column("matrix", Kind::Text, "the matrix"),
        column("quadrant", Kind::Text, "the quadrant"),
        column("strategy", Kind::Text, "what to do with its customers"),
        column("x", Kind::Text, "column of customer_features"),
        column("high_x", Kind::Flag, "strictly above the threshold; missing values are low"),
        maybe("x_threshold", Kind::Float, "in the unit of the column"),
        column("y", Kind::Text, "column of customer_features"),
        column("high_y", Kind::Flag, "strictly above the threshold"),
        maybe("y_threshold", Kind::Float, "in the unit of the column"),
        maybe("customers", Kind::Integer, "customers in it"),
        maybe("customer_share", Kind::Float, "share of all customers, 0 to 1"),
        maybe("revenue", Kind::Float, "what they have paid, currency units"),
        maybe("revenue_share", Kind::Float, "share of all revenue"),
        maybe("revenue_at_stake", Kind::Float, "their revenue where the strategy is to keep it"),
        maybe("without_x", Kind::Integer, "customers that are low for want of a value"),
        maybe("without_y", Kind::Integer, "the same on the other axis"),
    ],
    open_ended: None,
};

pub const MATRIX_SCENARIOS: Table = Table {
    name: "matrix_scenarios",
    grain: "a quadrant and an assumed conversion: nothing here is measured",
    key: &["matrix", "quadrant", "conversion"],
    columns: &[
        column("matrix", Kind::Text, "the matrix"),
        column("quadrant", Kind::Text, "the quadrant"),
        column("strategy", Kind::Text, "its strategy"),
        column("conversion", Kind::Float, "assumed share of customers who take an offer"),
        column("uplift", Kind::Float, "assumed growth of their revenue, as a share"),
        maybe("customers_converted", Kind::Integer, "customers × conversion"),
        maybe("extra_revenue", Kind::Float, "revenue × conversion × uplift, currency units"),
        column("assumed", Kind::Flag, "always true"),
    ],
    open_ended: None,
};
