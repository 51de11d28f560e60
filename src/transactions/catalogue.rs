//! The catalogue: one row a package, with quantities as people write them.

use super::InputError;
use super::source::{csv_schema, is_csv};
use super::text_column::TextColumn;
use crate::config::resolve::{Catalogue as CatalogueConfig, Money};
use crate::engine::guard::{Guarded, guarded};
use crate::engine::input::Input;
use crate::engine::location;
use crate::quantities::{self, QuantityError, Volume, VolumeStep};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::HashMap;
use tokio::runtime::Handle;

/// A package as the catalogue describes it; what is not mapped or null is None.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Package {
    pub code: String,
    /// Minor units.
    pub price: Option<i64>,
    /// MB; infinite if unlimited.
    pub quota_mb: Option<f64>,
    pub max_speed_mbps: Option<f64>,
    pub min_speed_mbps: Option<f64>,
    pub service_type: Option<String>,
    pub charging_type: Option<String>,
    pub validity_days: Option<f64>,
    pub retired: bool,
}

/// Reads the catalogue, sorted by package code. Memory: all of it (it is small by nature).
pub fn read(config: &CatalogueConfig, money: &Money, runtime: &Handle) -> Result<Vec<Package>, InputError> {
    let mut packages: Vec<(Package, String)> = Vec::new();
    for file in location::list(&config.path, "catalogue", runtime)? {
        for batch in batches(&file, config, runtime)? {
            for package in parse(&batch?, &file.name, config, money)? {
                packages.push((package, file.name.clone()));
            }
        }
    }
    packages.sort_by(|(a, _), (b, _)| a.code.cmp(&b.code));
    if let Some(pair) = packages.windows(2).find(|pair| pair[0].0.code == pair[1].0.code) {
        return Err(InputError::DuplicatePackage { path: pair[1].1.clone(), code: pair[1].0.code.clone() });
    }
    if packages.is_empty() {
        return Err(InputError::EmptyCatalogue { path: config.path.clone() });
    }
    Ok(packages.into_iter().map(|(package, _)| package).collect())
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, InputError>>>;

fn batches(
    file: &location::InputFile,
    config: &CatalogueConfig,
    runtime: &Handle,
) -> Result<Batches, InputError> {
    let path = file.name.clone();
    let unreadable = move |source: Box<dyn std::error::Error + Send + Sync>| InputError::Unreadable {
        path: path.clone(),
        source,
    };
    let input = Input::open(file, runtime).map_err(|error| unreadable(error.into()))?;
    if is_csv(config.format, &file.name) {
        let schema = csv_schema(&input, file, config.delimiter)?;
        let bytes = input.unpacked(&file.name).map_err(|error| unreadable(error.into()))?;
        let reader = arrow::csv::ReaderBuilder::new(schema)
            .with_header(true)
            .with_delimiter(config.delimiter)
            .build(bytes)
            .map_err(|error| unreadable(error.into()))?;
        Ok(Box::new(Guarded::new(reader).map(move |batch| batch.map_err(&unreadable))))
    } else {
        let open = || {
            ParquetRecordBatchReaderBuilder::try_new(input).and_then(ParquetRecordBatchReaderBuilder::build)
        };
        let reader = guarded(open)
            .map_err(|error| unreadable(error.into()))?
            .map_err(|error| unreadable(error.into()))?;
        Ok(Box::new(Guarded::new(reader).map(move |batch| batch.map_err(&unreadable))))
    }
}

fn parse(
    batch: &RecordBatch,
    path: &str,
    config: &CatalogueConfig,
    money: &Money,
) -> Result<Vec<Package>, InputError> {
    let columns = &config.columns;
    let table = Named { batch, path };
    let code = table.text(&columns.package, "package")?;
    let optional = |name: &Option<String>, role: &str| -> Result<Option<TextColumn>, InputError> {
        name.as_ref().map(|name| table.text(name, role)).transpose()
    };
    let price = columns.price.as_ref().map(|name| table.number(name, "price")).transpose()?;
    let quota = optional(&columns.quota, "quota")?;
    let max_speed = optional(&columns.max_speed, "max_speed")?;
    let min_speed = optional(&columns.min_speed, "min_speed")?;
    let service_type = optional(&columns.service_type, "service_type")?;
    let charging_type = optional(&columns.charging_type, "charging_type")?;
    let validity = optional(&columns.validity, "validity")?;
    let retired = optional(&columns.retired, "retired")?;

    let mut packages = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let Some(name) = code.get(row).map(str::trim).filter(|name| !name.is_empty()) else {
            return Err(InputError::CatalogueValue {
                path: path.to_owned(),
                code: format!("(row {})", row + 1),
                column: columns.package.clone(),
                value: "null".into(),
                wanted: "a package code".into(),
            });
        };
        let bad = |column: &Option<String>, value: &str, wanted: String| InputError::CatalogueValue {
            path: path.to_owned(),
            code: name.to_owned(),
            column: column.clone().unwrap_or_default(),
            value: value.to_owned(),
            wanted,
        };
        let quantity = |values: &Option<TextColumn>,
                        column: &Option<String>,
                        parse: &dyn Fn(&str) -> Result<f64, QuantityError>| {
            match values.as_ref().and_then(|values| values.get(row)).map(str::trim) {
                None | Some("") => Ok(None),
                Some(text) => parse(text).map(Some).map_err(|error| bad(column, text, error.to_string())),
            }
        };
        let text = |values: &Option<TextColumn>| {
            let text = values.as_ref().and_then(|values| values.get(row)).map(str::trim)?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        let price = match price.as_ref().filter(|price| price.is_valid(row)) {
            None => None,
            Some(price) => {
                let value = price.as_primitive::<Float64Type>().value(row);
                if !(0.0..=1e12).contains(&value) {
                    return Err(bad(&columns.price, &value.to_string(), "a price of 0 or more".into()));
                }
                Some((value * money.scale()).round() as i64)
            }
        };
        packages.push(Package {
            code: name.to_owned(),
            price,
            quota_mb: quantity(&quota, &columns.quota, &|t| {
                let volume = quantities::parse_volume_mb(t, config.quota_unit, VolumeStep::default())?;
                Ok(match volume {
                    Volume::Megabytes(megabytes) => megabytes,
                    Volume::Unlimited => f64::INFINITY,
                })
            })?,
            max_speed_mbps: quantity(&max_speed, &columns.max_speed, &|t| {
                quantities::parse_speed_mbps(t, config.speed_unit)
            })?,
            min_speed_mbps: quantity(&min_speed, &columns.min_speed, &|t| {
                quantities::parse_speed_mbps(t, config.speed_unit)
            })?,
            service_type: text(&service_type),
            charging_type: text(&charging_type),
            validity_days: quantity(&validity, &columns.validity, &|t| {
                quantities::parse_duration_days(t, config.validity_unit)
            })?,
            retired: match text(&retired).map(|flag| flag.to_ascii_lowercase()) {
                None => false,
                Some(flag) => match flag.as_str() {
                    "true" | "1" | "yes" | "y" => true,
                    "false" | "0" | "no" | "n" => false,
                    other => return Err(bad(&columns.retired, other, "true or false".into())),
                },
            },
        });
    }
    Ok(packages)
}

/// Columns by the names of the configuration.
struct Named<'a> {
    batch: &'a RecordBatch,
    path: &'a str,
}

impl Named<'_> {
    fn column(&self, name: &str, role: &str) -> Result<&ArrayRef, InputError> {
        self.batch.column_by_name(name).ok_or_else(|| {
            InputError::missing_column(
                self.path,
                name,
                &format!("catalogue.columns.{role}"),
                &self.batch.schema(),
            )
        })
    }

    fn text(&self, name: &str, role: &str) -> Result<TextColumn, InputError> {
        TextColumn::new(self.column(name, role)?)
            .map_err(|source| InputError::Unreadable { path: self.path.to_owned(), source: source.into() })
    }

    fn number(&self, name: &str, role: &'static str) -> Result<ArrayRef, InputError> {
        let column = self.column(name, role)?;
        let cast = cast(column, &DataType::Float64).map_err(|_| self.not_a_number(name, role, column))?;
        if cast.null_count() > column.null_count() {
            return Err(self.not_a_number(name, role, column));
        }
        Ok(cast)
    }

    fn not_a_number(&self, name: &str, role: &'static str, column: &ArrayRef) -> InputError {
        InputError::WrongType {
            path: self.path.to_owned(),
            column: name.to_owned(),
            role,
            found: column.data_type().to_string(),
            wanted: "a number in every row",
        }
    }
}

/// The fifth of the catalogue by price that every package is in: 1 (cheapest) to 5; None without a
/// price. Equal prices are in the same fifth: that of the cheapest of them.
pub fn price_tiers(packages: &[Package]) -> Vec<Option<i64>> {
    let mut prices: Vec<i64> = packages.iter().filter_map(|package| package.price).collect();
    prices.sort_unstable();
    let mut first: HashMap<i64, usize> = HashMap::new();
    for (position, price) in prices.iter().enumerate() {
        first.entry(*price).or_insert(position);
    }
    packages
        .iter()
        .map(|package| {
            let position = first.get(&package.price?)?;
            Some((position * 5 / prices.len()) as i64 + 1)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn price_tiers_are_fifths_and_equal_prices_share_one() {
        let packages: Vec<Package> = [Some(10), Some(20), Some(20), Some(20), Some(50), None]
            .into_iter()
            .map(|price| Package { price, ..Package::default() })
            .collect();
        assert_eq!(price_tiers(&packages), vec![Some(1), Some(2), Some(2), Some(2), Some(5), None]);
    }
}
