//! The arguments of `packwise evaluate`.

use super::ConfigArgs;
use crate::quantities::{DurationUnit, parse_duration_days};
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What is predicted: the days after a cut-off, or each customer's last basket
    #[arg(long, value_enum, default_value_t = ProtocolName::Window)]
    pub protocol: ProtocolName,
    /// Rolling cut-offs, one window apart (3)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=520))]
    pub cutoffs: Option<u32>,
    /// The window after a cut-off, such as 28d or 4w (recommendations.window_days)
    #[arg(long, value_name = "DAYS", value_parser = whole_days)]
    pub window: Option<u32>,
    /// Offers that count, ascending
    #[arg(long, value_name = "K,K,…", default_value = "1,3,5,10,20", value_parser = ascending)]
    pub at: Ascending,
    /// Customers in the sample, by hash
    #[arg(long, value_name = "COUNT", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub customers: u64,
    /// Test packwise and its variants only, not the baselines
    #[arg(long)]
    pub no_baselines: bool,
    /// Last baskets: only customers with at least so many days with purchases
    #[arg(long, value_name = "DAYS")]
    pub min_days: Option<usize>,
    /// Last baskets: only packages with at least so many rows
    #[arg(long, value_name = "ROWS")]
    pub min_package_rows: Option<usize>,
    /// Last baskets: only customers whose rows a day are below the mean plus so many standard deviations
    #[arg(long, value_name = "NUMBER", value_parser = deviations)]
    pub max_rows_per_day_sd: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    Window,
    LastBasket,
}

/// Positive numbers, each larger than the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ascending(pub Vec<usize>);

fn ascending(text: &str) -> Result<Ascending, String> {
    let numbers = text.split(',').map(|part| match part.trim().parse::<usize>() {
        Ok(number @ 1..=1000) => Ok(number),
        _ => Err(format!("{part:?} is not a number from 1 to 1000")),
    });
    let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    match numbers.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => Err(format!("{} comes before {}, numbers must ascend", pair[0], pair[1])),
        None => Ok(Ascending(numbers)),
    }
}

fn whole_days(text: &str) -> Result<u32, String> {
    let days = parse_duration_days(text, DurationUnit::Days).map_err(|error| error.to_string())?;
    if days.fract() == 0.0 && (1.0..=3650.0).contains(&days) {
        Ok(days as u32)
    } else {
        Err(format!("{days} days are not a whole number of days from 1 to 3650"))
    }
}

fn deviations(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("not a finite number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_evaluate_are_read_or_refused() {
        assert_eq!(ascending("1,5, 10").unwrap().0, [1, 5, 10]);
        for bad in ["", "0", "5,3", "3,3", "1,x", "1001"] {
            assert!(ascending(bad).is_err(), "{bad}");
        }
        assert_eq!((whole_days("28d"), whole_days("4w"), whole_days("7")), (Ok(28), Ok(28), Ok(7)));
        for bad in ["0", "0d", "36 hours", "20 years", "soon", "-3"] {
            assert!(whole_days(bad).is_err(), "{bad}");
        }
        assert!(deviations("2").is_ok() && deviations("nan").is_err());
    }
}
