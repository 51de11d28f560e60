//! The figures of customer value that the manifest carries.

use serde::{Deserialize, Serialize};

/// What a run says of the worth of its base. Money in currency units.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ValueFigures {
    /// The purchase model that values come from.
    pub model: String,
    /// Unit of the model's times; horizons are months.
    pub time_unit: String,
    /// Months whose discounted spend is the value.
    pub months: u32,
    pub monthly_discount: f64,
    /// Customers who have bought, and who have bought again.
    pub customers: u64,
    pub repeat_customers: u64,
    /// Expected customers who are still there; None without a purchase model.
    pub alive: Option<f64>,
    /// Expected purchases of all in 1, 3, 6 and 12 months.
    pub expected_purchases: Option<[f64; 4]>,
    /// Sum of the values; None without money or without a spend model.
    pub value: Option<f64>,
    pub parameters: Vec<ModelFigures>,
    /// What a model could not do or leaves open.
    pub notes: Vec<String>,
    /// The backtest: last day that the models knew, days after it, customers of the sample.
    pub holdout_end: String,
    pub holdout_days: i64,
    pub holdout_customers: u64,
    pub purchase_bias_percent: Option<f64>,
    pub purchase_correlation: Option<f64>,
    pub spend_bias_percent: Option<f64>,
    /// Of telling who buys at all.
    pub auc: Option<f64>,
    /// How well the named segments told who would buy, 0 to 1.
    pub segments_cramers_v: Option<f64>,
    pub rfm: Vec<SegmentLine>,
    pub tiers: Vec<TierLine>,
    pub value_segments: usize,
}

impl ValueFigures {
    /// Takes out the lines that the tables leave out: whether each named segment and each tier is.
    pub fn leave_out(&mut self, segments: &[bool], tiers: &[bool]) {
        fn keep<T>(lines: &mut Vec<T>, hidden: &[bool]) {
            let mut hidden = hidden.iter();
            lines.retain(|_| !hidden.next().copied().unwrap_or(false));
        }
        keep(&mut self.rfm, segments);
        keep(&mut self.tiers, tiers);
    }
}

/// A parameter of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelFigures {
    pub model: String,
    pub parameter: String,
    pub estimate: f64,
}

/// A named segment of recency and frequency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentLine {
    pub name: String,
    pub customers: u64,
    pub customer_share: f64,
    pub revenue_share: f64,
    pub action: String,
}

/// A tier of value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TierLine {
    pub name: String,
    pub above: Option<f64>,
    pub customers: u64,
    pub value: f64,
    pub value_share: f64,
}
