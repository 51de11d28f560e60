//! A predicate made ready to run, split by what its parts depend on.
//!
//! A predicate over packages alone is answered once for all packages, one over customers alone once a
//! customer. In a mixed one, every largest part that depends on only one of the two is answered there,
//! and the pairs only gather the answers: `package.service_type <> 'X' OR customer.segment = 1` costs a
//! pair two lookups of a bit instead of a comparison of text.

use super::columns::{Columns, OfferColumn, Relation};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Where a value of a formula comes from.
#[derive(Debug, Clone)]
pub(super) enum Input {
    /// Number of a column among [`CustomerColumns`].
    Customer(usize),
    /// Number of a term that was answered once a customer.
    Term(usize),
    /// One value a package.
    Package(ArrayRef),
    Offer(OfferColumn),
}

/// An expression over numbered inputs.
#[derive(Debug)]
pub(super) struct Formula {
    physical: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    pub(super) inputs: Vec<Input>,
}

/// A predicate by what it depends on.
#[derive(Debug)]
pub(super) enum Test {
    /// Whether each package stands.
    Packages(Vec<bool>),
    Customers(Formula),
    /// `terms` once a customer, then `formula` once a pair.
    Pairs {
        terms: Vec<Formula>,
        formula: Formula,
    },
}

/// The customer columns that any formula uses, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct CustomerColumns {
    pub(super) columns: Vec<(String, DataType)>,
}

impl CustomerColumns {
    fn number(&mut self, name: &str, data_type: &DataType) -> usize {
        self.columns.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.columns.push((name.to_owned(), data_type.clone()));
            self.columns.len() - 1
        })
    }
}

/// What compiling a predicate needs of the run.
pub(super) struct Compiler<'a> {
    pub(super) planner: &'a SessionState,
    pub(super) columns: &'a Columns,
    /// Row = package number.
    pub(super) packages: &'a RecordBatch,
    pub(super) used: CustomerColumns,
}

impl Compiler<'_> {
    /// Splits a boolean expression and makes it ready. One over packages alone is answered here.
    pub(super) fn test(&mut self, expression: Expr) -> Result<Test, DataFusionError> {
        match sole_relation(&expression) {
            Sole::Nothing | Sole::Of(Relation::Package) => {
                let answers = self.over_packages(expression)?;
                Ok(Test::Packages(kept(&answers)?.iter().map(|kept| kept == Some(true)).collect()))
            }
            Sole::Of(Relation::Customer) => Ok(Test::Customers(self.over_customers(expression)?)),
            Sole::Of(Relation::Offer) | Sole::Several => self.over_pairs(expression),
        }
    }

    /// A condition on customers, even if it names no column.
    pub(super) fn over_customers(&mut self, expression: Expr) -> Result<Formula, DataFusionError> {
        let Self { planner, columns, used, .. } = self;
        Formula::new(planner, expression, |column| {
            let data_type = type_of(columns, Relation::Customer, &column.name)?;
            Ok((Input::Customer(used.number(&column.name, data_type)), data_type.clone()))
        })
    }

    fn over_packages(&self, expression: Expr) -> Result<ArrayRef, DataFusionError> {
        let formula = Formula::new(self.planner, expression, |column| self.package_column(&column.name))?;
        let arrays = formula.inputs.iter().filter_map(|input| match input {
            Input::Package(values) => Some(values.clone()),
            _ => None,
        });
        formula.evaluate(arrays.collect(), self.packages.num_rows())
    }

    fn package_column(&self, name: &str) -> Result<(Input, DataType), DataFusionError> {
        let values = self.packages.column_by_name(name).ok_or_else(|| lost(name))?;
        Ok((Input::Package(values.clone()), values.data_type().clone()))
    }

    fn over_pairs(&mut self, expression: Expr) -> Result<Test, DataFusionError> {
        let mut parts: Vec<(Relation, Expr)> = Vec::new();
        let rest = expression.transform_down(|part| match sole_relation(&part) {
            _ if matches!(part, Expr::Column(_) | Expr::Literal(..)) => Ok(Transformed::no(part)),
            Sole::Of(relation @ (Relation::Package | Relation::Customer)) => {
                let name = Column::new(Some(PART), parts.len().to_string());
                parts.push((relation, part));
                Ok(Transformed::new(Expr::Column(name), true, TreeNodeRecursion::Jump))
            }
            // The branches of a CASE may guard each other, so they are not answered ahead.
            _ if matches!(part, Expr::Case(_)) => Ok(Transformed::new(part, false, TreeNodeRecursion::Jump)),
            _ => Ok(Transformed::no(part)),
        })?;
        let mut terms = Vec::new();
        let mut answered: Vec<(Input, DataType)> = Vec::with_capacity(parts.len());
        for (relation, part) in parts {
            answered.push(if relation == Relation::Package {
                let values = self.over_packages(part)?;
                let data_type = values.data_type().clone();
                (Input::Package(values), data_type)
            } else {
                let term = self.over_customers(part)?;
                let data_type = term.physical.data_type(&term.schema)?;
                terms.push(term);
                (Input::Term(terms.len() - 1), data_type)
            });
        }
        let Self { planner, columns, packages, used } = self;
        let formula = Formula::new(planner, rest.data, |column| {
            let table = column.relation.as_ref().map_or("", |relation| relation.table());
            if table == PART {
                let number = column.name.parse::<usize>().ok();
                return number.and_then(|n| answered.get(n)).cloned().ok_or_else(|| lost(&column.name));
            }
            let relation = Relation::of(table).ok_or_else(|| lost(&column.name))?;
            let data_type = type_of(columns, relation, &column.name)?;
            let input = match relation {
                Relation::Customer => Input::Customer(used.number(&column.name, data_type)),
                Relation::Package => Input::Package(
                    packages.column_by_name(&column.name).ok_or_else(|| lost(&column.name))?.clone(),
                ),
                Relation::Offer => {
                    let mut known = OfferColumn::ALL.into_iter();
                    Input::Offer(
                        known.find(|known| known.name() == column.name).ok_or_else(|| lost(&column.name))?,
                    )
                }
            };
            Ok((input, data_type.clone()))
        })?;
        Ok(Test::Pairs { terms, formula })
    }
}

impl Formula {
    fn new(
        planner: &SessionState,
        expression: Expr,
        mut input_of: impl FnMut(&Column) -> Result<(Input, DataType), DataFusionError>,
    ) -> Result<Self, DataFusionError> {
        let (mut known, mut fields, mut inputs) = (Vec::<Column>::new(), Vec::new(), Vec::new());
        let numbered = expression.transform_down(|part| {
            let Expr::Column(column) = part else { return Ok(Transformed::no(part)) };
            let number = match known.iter().position(|other| *other == column) {
                Some(number) => number,
                None => {
                    let (input, data_type) = input_of(&column)?;
                    inputs.push(input);
                    fields.push(Field::new(known.len().to_string(), data_type, true));
                    known.push(column);
                    known.len() - 1
                }
            };
            let name = Column::new_unqualified(number.to_string());
            Ok(Transformed::new(Expr::Column(name), true, TreeNodeRecursion::Jump))
        })?;
        let schema = Arc::new(Schema::new(fields));
        let qualified = DFSchema::try_from(schema.as_ref().clone())?;
        let physical = planner.create_physical_expr(numbered.data, &qualified)?;
        Ok(Self { physical, schema, inputs })
    }

    /// The values for `rows` rows; `arrays` in the order of `inputs`.
    pub(super) fn evaluate(&self, arrays: Vec<ArrayRef>, rows: usize) -> Result<ArrayRef, DataFusionError> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?;
        self.physical.evaluate(&batch)?.into_array(rows)
    }
}

/// An answer as booleans.
pub(super) fn kept(answers: &ArrayRef) -> Result<&BooleanArray, DataFusionError> {
    answers.as_boolean_opt().ok_or_else(|| {
        DataFusionError::Plan(format!("the answer is {}, not true or false", answers.data_type()))
    })
}

/// The relation of parts that were answered ahead.
const PART: &str = "part";

enum Sole {
    Nothing,
    Of(Relation),
    Several,
}

fn sole_relation(expression: &Expr) -> Sole {
    let mut sole = Sole::Nothing;
    for column in expression.column_refs() {
        let relation = column.relation.as_ref().and_then(|relation| Relation::of(relation.table()));
        sole = match (sole, relation) {
            (Sole::Nothing, Some(relation)) => Sole::Of(relation),
            (Sole::Of(known), Some(relation)) if known == relation => Sole::Of(known),
            _ => return Sole::Several,
        };
    }
    sole
}

fn type_of<'a>(
    columns: &'a Columns,
    relation: Relation,
    name: &str,
) -> Result<&'a DataType, DataFusionError> {
    columns.data_type(relation, name).ok_or_else(|| lost(name))
}

/// Names are checked before anything is compiled, so this is a defect if it is ever seen.
fn lost(name: &str) -> DataFusionError {
    DataFusionError::Plan(format!("column {name} was lost on the way"))
}

#[cfg(test)]
mod tests {
    use super::super::predicate;
    use super::super::tests::{customer_schema, packages};
    use super::*;

    fn test(keep: &str) -> Test {
        let packages = packages();
        let planner = predicate::planner();
        let columns = Columns::new(&packages.schema(), &customer_schema());
        let expression = predicate::resolve(keep, &columns, &planner).unwrap();
        let used = CustomerColumns::default();
        Compiler { planner: &planner, columns: &columns, packages: &packages, used }.test(expression).unwrap()
    }

    fn stands(keep: &str) -> Vec<bool> {
        match test(keep) {
            Test::Packages(stands) => stands,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn predicates_over_packages_alone_are_answered_at_once_and_null_counts_as_false() {
        assert_eq!(stands("package.price < 10"), [false, false, true, true, true, false]);
        assert_eq!(stands("NOT package.price < 10"), [true, true, false, false, false, false]);
        assert_eq!(
            stands("package.price < 10 OR package.price IS NULL"),
            [false, false, true, true, true, true]
        );
        assert_eq!(stands("package.service_type <> 'DATA'"), [false, false, true, true, true, false]);
        assert_eq!(stands("NOT package.retired"), [true, true, true, true, false, true]);
        assert_eq!(stands("package.package_code LIKE 'DAT%'"), [true, true, false, false, false, false]);
        assert_eq!(stands("true"), [true; 6]);
        assert_eq!(stands("1 > 2"), [false; 6]);
    }

    /// (customer terms, inputs that are booleans of packages, inputs in all) of a mixed predicate.
    fn parts(keep: &str) -> (usize, usize, usize) {
        let Test::Pairs { terms, formula } = test(keep) else { panic!("{keep} is not mixed") };
        let is_answer = |input: &Input| match input {
            Input::Package(values) => *values.data_type() == DataType::Boolean,
            _ => false,
        };
        (terms.len(), formula.inputs.iter().filter(|input| is_answer(input)).count(), formula.inputs.len())
    }

    #[test]
    fn predicates_are_classified_by_the_columns_they_use() {
        let Test::Customers(formula) = test("customer.segment = 1 AND customer.purchases > 3") else {
            panic!("not over customers alone")
        };
        assert_eq!(formula.inputs.len(), 2);
        assert_eq!(parts("offer.is_new"), (0, 0, 1));
        assert_eq!(parts("offer.price < package.price"), (0, 0, 2));
        assert_eq!(parts("customer.segment = package.price_tier"), (0, 0, 2));
    }

    #[test]
    fn the_largest_parts_of_one_relation_are_answered_ahead() {
        assert_eq!(parts("package.service_type <> 'DATA' OR customer.segment = 1"), (1, 1, 2));
        let both = "(package.price > 3 AND NOT package.retired) OR (customer.segment = 1 AND offer.rank < 9)";
        assert_eq!(parts(both), (1, 1, 3));
        assert_eq!(parts("offer.price <= 2 * customer.average_purchase"), (1, 0, 2));
        // A bare column is gathered as it is.
        assert_eq!(parts("offer.price <= customer.average_purchase"), (0, 0, 2));
        // A CASE may guard its branches.
        let guarded = "CASE WHEN package.price > 3 THEN customer.segment = 1 ELSE offer.is_new END";
        assert_eq!(parts(guarded), (0, 0, 3));
    }
}
