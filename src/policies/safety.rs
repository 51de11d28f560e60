//! What a predicate may not contain, and what keeps it from failing on data that nobody foresaw.
//!
//! A run over millions of customers must not stop at one of them: dividing by zero and converting what
//! cannot be converted give null, and null counts as false.

use super::columns::kind;
use super::entry::shorten;
use super::predicate::{each, once, words};
use crate::spelling::nearest;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, Operator, TryCast, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Literal};
use datafusion::sql::sqlparser::ast::{Expr as Sql, Value};
use std::sync::Arc;

/// Parts that could read other data, or answer differently the next time.
pub(super) fn forbidden(sql: &Sql, planner: &SessionState) -> Vec<String> {
    let mut problems = Vec::new();
    each(sql, |part| match part {
        Sql::Subquery(_) | Sql::Exists { .. } | Sql::InSubquery { .. } => {
            problems
                .push("a subquery is not possible in a policy; use the columns that there are".to_owned());
        }
        Sql::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
            problems.push(format!("`{value}` stands for a value that nobody fills in; write the value"));
        }
        Sql::Function(function) => {
            let name = function.name.to_string().to_lowercase();
            if function.over.is_some() || planner.window_functions().contains_key(&name) {
                problems.push(format!("the window function `{name}` is not possible in a policy"));
            } else if planner.aggregate_functions().contains_key(&name) {
                problems.push(format!("`{name}` sums up many rows; a policy sees one offer at a time"));
            } else if let Some(known) = planner.scalar_functions().get(&name) {
                if known.signature().volatility != Volatility::Immutable {
                    problems.push(format!(
                        "`{name}` gives another answer each time, so no run could be repeated; \
                         from and to hold the dates of a rule"
                    ));
                }
            } else {
                let mut names: Vec<&str> = planner.scalar_functions().keys().map(String::as_str).collect();
                names.sort_unstable();
                problems.push(match nearest(&name, names) {
                    Some(known) => format!("there is no function `{name}`; did you mean `{known}`?"),
                    None => format!("there is no function `{name}`"),
                });
            }
        }
        _ => {}
    });
    once(problems)
}

/// Anything but columns, values, operators and functions that always answer the same. A second look at
/// what was planned: only what is known to be harmless passes.
pub(super) fn stranger(expression: &Expr) -> Option<String> {
    let mut found = None;
    let walked = expression.apply(|part| {
        let harmless = match part {
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::BinaryExpr(_)
            | Expr::Like(_)
            | Expr::SimilarTo(_)
            | Expr::Not(_)
            | Expr::IsNotNull(_)
            | Expr::IsNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Negative(_)
            | Expr::Between(_)
            | Expr::Case(_)
            | Expr::Cast(_)
            | Expr::TryCast(_)
            | Expr::InList(_) => true,
            Expr::ScalarFunction(call) => call.func.signature().volatility == Volatility::Immutable,
            _ => false,
        };
        if harmless {
            return Ok(TreeNodeRecursion::Continue);
        }
        found = Some(shorten(&part.to_string()));
        Ok(TreeNodeRecursion::Stop)
    });
    walked.err().map(|error| words(&error)).or(found)
}

/// The expression with nulls in place of failures: a divisor of 0 becomes null, and `cast` becomes
/// `try_cast`. A written value that cannot be converted is a problem.
pub(super) fn total(expression: Expr, planner: &SessionState) -> Result<Expr, String> {
    let mut unreadable = None;
    let changed = expression.transform_up(|part| match part {
        Expr::BinaryExpr(mut division)
            if matches!(division.op, Operator::Divide | Operator::Modulo) && may_be_zero(&division.right) =>
        {
            let Some(nullif) = planner.scalar_functions().get("nullif") else {
                return Ok(Transformed::no(Expr::BinaryExpr(division)));
            };
            let zero = Expr::Literal(ScalarValue::Int64(Some(0)), None);
            division.right = Box::new(nullif.call(vec![*division.right, zero]));
            Ok(Transformed::yes(Expr::BinaryExpr(division)))
        }
        Expr::Cast(cast) => match *cast.expr {
            Expr::Literal(value, metadata) => match value.cast_to(cast.field.data_type()) {
                Ok(converted) => Ok(Transformed::yes(Expr::Literal(converted, metadata))),
                Err(error) => {
                    unreadable.get_or_insert_with(|| words(&error));
                    Ok(Transformed::no(Expr::Literal(value, metadata)))
                }
            },
            other => {
                Ok(Transformed::yes(Expr::TryCast(TryCast { expr: Box::new(other), field: cast.field })))
            }
        },
        other => Ok(Transformed::no(other)),
    });
    match unreadable {
        Some(problem) => Err(problem),
        None => changed.map(|changed| changed.data).map_err(|error| words(&error)),
    }
}

fn may_be_zero(divisor: &Expr) -> bool {
    match divisor {
        Expr::Literal(value, _) => ScalarValue::new_zero(&value.data_type()).is_ok_and(|zero| zero == *value),
        _ => true,
    }
}

/// The engine turns text into a number where the two are compared, and fails on the first text that is
/// none. Whoever means it writes `try_cast`.
pub(super) fn text_as_number(planned: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<String> {
    if let Some(cast) = planned.downcast_ref::<CastExpr>() {
        let from = cast.expr().data_type(schema).unwrap_or(DataType::Null);
        let to = kind(cast.cast_type());
        if cast.expr().is::<Literal>() {
            // A written value: it can be converted now and then always can, or never.
            let nothing = RecordBatch::new_empty(Arc::new(schema.clone()));
            return planned.evaluate(&nothing).err().map(|error| words(&error));
        }
        if kind(&from) == "text" && to != "text" {
            return Some(format!(
                "compares text with a value of type {to}; write that value as text in single quotation marks"
            ));
        }
    }
    planned.children().into_iter().find_map(|child| text_as_number(child, schema))
}

#[cfg(test)]
mod tests {
    use super::super::contacts::ContactHistory;
    use super::super::tests::{compiled, complaint, customers, rule};
    use super::super::{Pairs, STANDS};
    use arrow::array::Int64Array;

    fn told(keep: &str) -> String {
        complaint(&rule("r", "suitability", keep))
    }

    #[test]
    fn what_reads_other_data_or_changes_its_answer_is_refused() {
        for (keep, wanted) in [
            ("package.price IN (SELECT 1)", "a subquery is not possible"),
            ("EXISTS (SELECT 1)", "a subquery is not possible"),
            ("package.price > (SELECT max(x) FROM t)", "a subquery is not possible"),
            ("package.price = ANY (SELECT 1)", "not possible"),
            ("max(package.price) > 1", "`max` sums up many rows"),
            ("count(*) > 1", "`count` sums up many rows"),
            ("sum(package.price) OVER () > 1", "the window function `sum`"),
            ("row_number() > 1", "the window function `row_number`"),
            ("random() < 0.5", "`random` gives another answer each time"),
            ("uuid() = 'x'", "`uuid` gives another answer each time"),
            ("now() > customer.last_purchase", "`now` gives another answer each time"),
            ("CURRENT_DATE > customer.last_purchase", "`current_date` gives another answer each time"),
            ("current_timestamp > customer.last_purchase", "gives another answer each time"),
            ("package.price > $1", "`$1` stands for a value that nobody fills in"),
            ("package.price > ?", "stands for a value"),
            ("@x > 1", "@x"),
        ] {
            let told = told(keep);
            assert!(told.contains(wanted), "{keep}: {told}");
        }
    }

    #[test]
    fn comparing_text_with_a_number_is_refused() {
        assert!(
            told("customer.favourite_package = 5").contains("compares text with a value of type integer")
        );
        assert!(told("package.price = 'cheap'").contains("Cannot cast string 'cheap'"));
        assert!(told("customer.last_purchase > '2026-13-01'").contains("2026-13-01"));
        assert!(told("customer.last_purchase > DATE '2026-13-01'").contains("2026-13-01"));
        assert_eq!(told("customer.last_purchase > '2026-01-01'"), "");
        assert_eq!(told("customer.last_purchase > DATE '2026-01-01' AND package.price_tier = 2.5"), "");
    }

    /// Whether a customer with segment 0 is offered anything.
    fn stands(keep: &str) -> bool {
        let policies = compiled(&rule("r", "suitability", keep), ContactHistory::empty());
        let pairs = Pairs {
            customers: &[0],
            packages: &[0],
            probability: &[0.1],
            price: &[1.0],
            times: &[0],
            days_since_last: &[-1],
            rank: &[1],
        };
        let mut verdicts = Vec::new();
        let ids = Int64Array::from(vec![1]);
        policies.judge(&customers(&[(0, 0.0, None)]), &ids, &pairs, &mut verdicts).unwrap();
        verdicts == [STANDS]
    }

    #[test]
    fn dividing_by_zero_and_impossible_casts_give_null() {
        for keep in
            ["100 / customer.segment > 0", "100 % customer.segment = 0", "1.5 / customer.weekend_share > 0"]
        {
            assert!(!stands(keep), "{keep}");
            assert!(stands(&format!("({keep}) IS NULL")), "{keep}");
        }
        assert!(stands("100 / 0 > offer.rank OR true"));
        assert!(stands("100 / 3 = 33"));
        assert!(stands("cast(package.service_type AS INT) IS NULL AND cast('5' AS INT) = 5"));
        assert!(stands(
            "customer.segment * 9223372036854775807 = 0 AND offer.rank * 9223372036854775807 > 0"
        ));
    }
}
