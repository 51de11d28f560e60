//! What predicates can speak of: columns of the customer, of the package, and of the offer.

use crate::spelling::nearest;
use crate::tables::{self, Table};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, TableReference};
use datafusion::error::DataFusionError;
use std::sync::Arc;

/// The three things that a column can belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    Customer,
    Package,
    Offer,
}

impl Relation {
    pub const ALL: [Self; 3] = [Self::Customer, Self::Package, Self::Offer];

    /// As predicates write it, before the dot.
    pub fn text(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Package => "package",
            Self::Offer => "offer",
        }
    }

    /// The relation of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|relation| relation.text() == name)
    }
}

/// A column of the offer, known once packages are scored for a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfferColumn {
    Probability,
    Price,
    ExpectedRevenue,
    IsNew,
    Times,
    DaysSinceLast,
    Rank,
}

impl OfferColumn {
    pub(super) const ALL: [Self; 7] = [
        Self::Probability,
        Self::Price,
        Self::ExpectedRevenue,
        Self::IsNew,
        Self::Times,
        Self::DaysSinceLast,
        Self::Rank,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Probability => "probability",
            Self::Price => "price",
            Self::ExpectedRevenue => "expected_revenue",
            Self::IsNew => "is_new",
            Self::Times => "times",
            Self::DaysSinceLast => "days_since_last",
            Self::Rank => "rank",
        }
    }

    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Probability | Self::Price | Self::ExpectedRevenue => DataType::Float64,
            Self::IsNew => DataType::Boolean,
            Self::Times | Self::DaysSinceLast | Self::Rank => DataType::Int64,
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Probability => "probability that the customer buys it in the coming window",
            Self::Price => "what it costs, currency units; null if unknown",
            Self::ExpectedRevenue => "probability × price, currency units; null if the price is unknown",
            Self::IsNew => "the customer has never bought it",
            Self::Times => "how often the customer bought it",
            Self::DaysSinceLast => "days since the customer last bought it; null if never",
            Self::Rank => {
                "place by what offers are ranked by, with boosts and pins, before any rule; 1 is the best"
            }
        }
    }
}

/// A column for people: what to write, what it holds, what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsableColumn {
    /// With its relation: `customer.segment`.
    pub name: String,
    /// `text`, `integer`, `float`, `true/false`, `date`, `time`.
    pub kind: &'static str,
    /// Empty if it is named after values of the data.
    pub meaning: &'static str,
}

/// The columns of one run.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    schemas: [SchemaRef; 3],
}

impl Columns {
    /// From the schemas of the packages and of the customers.
    pub(super) fn new(packages: &Schema, customers: &Schema) -> Self {
        let offers: Vec<Field> = OfferColumn::ALL
            .iter()
            .map(|column| Field::new(column.name(), column.data_type(), true))
            .collect();
        Self {
            schemas: [Arc::new(customers.clone()), Arc::new(packages.clone()), Arc::new(Schema::new(offers))],
        }
    }

    fn schema(&self, relation: Relation) -> &Schema {
        &self.schemas[relation as usize]
    }

    /// The type of a column, None if there is none of that name.
    pub(super) fn data_type(&self, relation: Relation, name: &str) -> Option<&DataType> {
        Some(self.schema(relation).field_with_name(name).ok()?.data_type())
    }

    /// The name that is spelt most like one that is not there.
    pub(super) fn nearest(&self, relation: Relation, name: &str) -> Option<String> {
        let of =
            |relation: Relation| self.schema(relation).fields().iter().map(|field| field.name().as_str());
        if let Some(elsewhere) = Relation::ALL.into_iter().find(|other| of(*other).any(|known| known == name))
        {
            return Some(format!("{}.{name}", elsewhere.text()));
        }
        nearest(name, of(relation)).map(|known| format!("{}.{known}", relation.text()))
    }

    /// All columns, qualified by their relation.
    pub(super) fn qualified(&self) -> Result<DFSchema, DataFusionError> {
        let fields = Relation::ALL.into_iter().flat_map(|relation| {
            let fields = self.schema(relation).fields().iter();
            fields.map(move |field| {
                let field = Arc::new(field.as_ref().clone().with_nullable(true));
                (Some(TableReference::bare(relation.text())), field)
            })
        });
        DFSchema::new_with_metadata(fields.collect(), std::collections::HashMap::new())
    }

    /// Every column with its type and meaning, by relation.
    pub(super) fn usable(&self) -> Vec<UsableColumn> {
        let columns = Relation::ALL.into_iter().flat_map(|relation| {
            self.schema(relation).fields().iter().map(move |field| UsableColumn {
                name: format!("{}.{}", relation.text(), field.name()),
                kind: kind(field.data_type()),
                meaning: meaning(relation, field.name()),
            })
        });
        columns.collect()
    }
}

/// Relations that have a column of this name in every run, as `relation.name`.
pub(super) fn relations_of(name: &str) -> Vec<String> {
    Relation::ALL
        .into_iter()
        .filter(|relation| !meaning(*relation, name).is_empty())
        .map(|relation| format!("{}.{name}", relation.text()))
        .collect()
}

fn meaning(relation: Relation, name: &str) -> &'static str {
    let of = |tables: &[Table]| {
        let mut columns = tables.iter().flat_map(|table| table.columns);
        columns.find(|column| column.name == name).map_or("", |column| column.meaning)
    };
    match relation {
        Relation::Customer => of(&[tables::CUSTOMER_FEATURES, tables::CUSTOMER_SEGMENTS]),
        Relation::Package => of(&[tables::PACKAGES]),
        Relation::Offer => {
            let mut columns = OfferColumn::ALL.into_iter();
            columns.find(|column| column.name() == name).map_or("", OfferColumn::meaning)
        }
    }
}

/// A type in the words of the policy file.
pub(super) fn kind(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Dictionary(_, values) => kind(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Boolean => "true/false",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Timestamp(_, _) => "time",
        DataType::Null => "null",
        other if other.is_integer() => "integer",
        other if other.is_numeric() => "float",
        _ => "other",
    }
}
