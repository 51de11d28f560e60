//! SQL text to a checked logical expression: one boolean expression over known columns, and nothing
//! whose answer depends on when or how often it is asked.

use super::columns::{Columns, Relation, kind, relations_of};
use super::entry::shorten;
use super::safety;
use crate::spelling::nearest;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::context::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::parser::DFParserBuilder;
use datafusion::sql::sqlparser::ast::{Expr as Sql, ExprWithAlias, Ident, visit_expressions};
use datafusion::sql::sqlparser::parser::ParserError;
use std::ops::ControlFlow;

/// Longer predicates than this nest deeper than a stack may hold.
const MOST_CHARACTERS: usize = 4_000;

/// What a predicate may speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    OfAll,
    OfCustomers,
}

/// What plans expressions: the functions of the engine, and neither tables nor files.
pub(super) fn planner() -> SessionState {
    SessionStateBuilder::new()
        .with_scalar_functions(SessionStateDefaults::default_scalar_functions())
        .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
        .with_window_functions(SessionStateDefaults::default_window_functions())
        .with_expr_planners(SessionStateDefaults::default_expr_planners())
        .build()
}

/// A predicate as messages show it.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shorten(text))
}

/// What the text alone shows to be wrong; empty if nothing.
pub(super) fn check(text: &str, speaks: Speaks) -> Vec<String> {
    match parse(text) {
        Ok(sql) => {
            let forbidden = safety::forbidden(&sql.expr, &planner());
            if forbidden.is_empty() { misnamed(&sql.expr, speaks) } else { forbidden }
        }
        Err(problem) => vec![problem],
    }
}

/// The logical expression of a text that passed [`check`], over the columns of a run.
pub(super) fn resolve(text: &str, columns: &Columns, planner: &SessionState) -> Result<Expr, Vec<String>> {
    let one = |problem: String| vec![problem];
    let sql = parse(text).map_err(one)?;
    let mut problems = Vec::new();
    each(&sql.expr, |part| {
        if let Sql::CompoundIdentifier(parts) = part
            && let [table, name] = parts.as_slice()
            && let Some(relation) = Relation::of(&plain(table))
            && columns.data_type(relation, &plain(name)).is_none()
        {
            let missing = format!("there is no column {}.{}", relation.text(), plain(name));
            problems.push(match columns.nearest(relation, &plain(name)) {
                Some(known) => format!("{missing}; did you mean {known}?"),
                None => format!("{missing}; `packwise policies check` lists the columns"),
            });
        }
    });
    if !problems.is_empty() {
        return Err(once(problems));
    }
    let told = |error: DataFusionError| vec![words(&error)];
    let schema = columns.qualified().map_err(told)?;
    let expression = planner.create_logical_expr_from_sql_expr(sql, &schema).map_err(told)?;
    if let Some(part) = safety::stranger(&expression) {
        return Err(vec![format!("`{part}` is not possible in a policy; use columns, values and functions")]);
    }
    let expression = safety::total(expression, planner).map_err(one)?;
    // Plans it once as a whole, so that messages about types show what was written.
    let planned = planner.create_physical_expr(expression.clone(), &schema).map_err(told)?;
    if let Some(problem) = safety::text_as_number(&planned, schema.as_arrow()) {
        return Err(vec![problem]);
    }
    let data_type = expression.get_type(&schema).map_err(told)?;
    match kind(&data_type) {
        "true/false" => Ok(expression),
        other => Err(vec![format!(
            "must be true or false, but it is {other}; compare it with something, as in package.price < 50"
        )]),
    }
}

/// What an error of the engine says, without the layers around it.
pub(super) fn words(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => words(inner),
        DataFusionError::Plan(text) | DataFusionError::NotImplemented(text) => first_line(text),
        DataFusionError::SQL(error, _) => match error.as_ref() {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => first_line(text),
            ParserError::RecursionLimitExceeded => "is nested too deeply".to_owned(),
        },
        other => first_line(other.strip_backtrace().trim_start_matches("Arrow error: ")),
    }
}

fn first_line(text: &str) -> String {
    shorten(text.lines().next().unwrap_or_default())
}

fn parse(text: &str) -> Result<ExprWithAlias, String> {
    if text.chars().count() > MOST_CHARACTERS {
        return Err(format!(
            "is longer than {MOST_CHARACTERS} characters; list packages with [[deny]] or [[allow]] instead"
        ));
    }
    let sql = DFParserBuilder::new(text).build().and_then(|mut parser| parser.parse_into_expr()).map_err(
        |error| match words(&error) {
            said if said.contains("found: ;") => "is more than one expression; take out the `;`".to_owned(),
            said if starts_with_a_verb(text) => {
                format!("must be the condition alone, without SELECT or WHERE: {said}")
            }
            said => format!("is not a SQL expression: {said}"),
        },
    )?;
    match &sql.alias {
        Some(alias) => Err(format!("must be one expression without a name; take out `{alias}`")),
        None => Ok(sql),
    }
}

fn starts_with_a_verb(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    ["select", "where", "if", "when"].contains(&first.to_ascii_lowercase().as_str())
}

/// Names that are not of the form `customer.column`, `package.column` or `offer.column`.
fn misnamed(sql: &Sql, speaks: Speaks) -> Vec<String> {
    let mut problems = Vec::new();
    each(sql, |part| {
        let parts = match part {
            Sql::Identifier(name) => std::slice::from_ref(name),
            Sql::CompoundIdentifier(parts) => parts.as_slice(),
            _ => return,
        };
        match parts {
            [name] if name.quote_style == Some('"') => problems.push(format!(
                "\"{}\" would be a column; text goes in single quotation marks: '{}'",
                name.value, name.value
            )),
            [name] => {
                let name = plain(name);
                let known = relations_of(&name);
                problems.push(if known.is_empty() {
                    format!("`{name}` needs its table: customer.{name}, package.{name} or offer.{name}")
                } else {
                    format!("`{name}` needs its table: write {}", known.join(" or "))
                });
            }
            [table, name] => match Relation::of(&plain(table)) {
                Some(Relation::Package | Relation::Offer) if speaks == Speaks::OfCustomers => {
                    problems.push(format!(
                        "`{}.{}` is not of the customer; this condition can use customer columns only",
                        table.value, name.value
                    ))
                }
                Some(_) => {}
                None => {
                    let likely =
                        nearest(&plain(table), Relation::ALL.map(Relation::text)).unwrap_or("customer");
                    problems.push(format!(
                        "`{}` is not known, only customer, package and offer; did you mean {likely}.{}?",
                        table.value, name.value
                    ));
                }
            },
            _ => problems.push(format!("`{part}` has too many dots; write table.column")),
        }
    });
    once(problems)
}

pub(super) fn each(sql: &Sql, mut visit: impl FnMut(&Sql)) {
    let _ = visit_expressions(sql, |part| {
        visit(part);
        ControlFlow::<()>::Continue(())
    });
}

/// A name as the engine compares it: small letters unless it is quoted.
fn plain(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() }
}

pub(super) fn once(mut problems: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    problems
}

#[cfg(test)]
mod tests {
    use super::super::tests::{complaint, customer_schema, packages, problems, rule};
    use super::*;

    fn told(keep: &str) -> String {
        complaint(&rule("r", "suitability", keep))
    }

    #[test]
    fn what_is_not_one_boolean_expression_is_refused() {
        for (keep, wanted) in [
            ("1; DROP TABLE x", "is more than one expression; take out the `;`"),
            ("true;", "is more than one expression"),
            ("SELECT 1", "must be the condition alone, without SELECT or WHERE"),
            ("where package.price > 1", "must be the condition alone"),
            ("package.price >", "is not a SQL expression: Expected: an expression"),
            ("package.price > 1 AS cheap", "take out `cheap`"),
            ("package.price + 1", "must be true or false, but it is float"),
            ("NULL", "must be true or false, but it is null"),
            ("package.service_type", "must be true or false, but it is text"),
        ] {
            let told = told(keep);
            assert!(
                told.contains(wanted) && told.contains("line 5, [[rule]] \"r\", keep = "),
                "{keep}: {told}"
            );
        }
    }

    #[test]
    fn names_are_checked_with_the_nearest_one() {
        for (keep, wanted) in [
            (
                "customer.weekend_shre > 1",
                "no column customer.weekend_shre; did you mean customer.weekend_share?",
            ),
            ("customer.service_type = 'x'", "did you mean package.service_type?"),
            ("customer.zzzzzzzzzzzz > 1", "`packwise policies check` lists the columns"),
            ("service_type = 'x'", "`service_type` needs its table: write package.service_type"),
            ("price > 1", "write package.price or offer.price"),
            ("foo > 1", "`foo` needs its table: customer.foo, package.foo or offer.foo"),
            ("customers.segment = 1", "did you mean customer.segment?"),
            ("package.service_type = \"DATA\"", "text goes in single quotation marks: 'DATA'"),
            ("a.b.c > 1", "`a.b.c` has too many dots"),
            ("coalece(package.price, 0) > 1", "there is no function `coalece`; did you mean `coalesce`?"),
        ] {
            let told = told(keep);
            assert!(told.contains(wanted), "{keep}: {told}");
        }
        let both = problems(&rule(
            "r",
            "contact",
            "customer.segmen = 1 AND package.pric > 1 AND customer.segmen = 2",
        ));
        assert_eq!(both.len(), 2, "each name once: {both:?}");
    }

    #[test]
    fn conditions_of_pins_speak_of_customers_only() {
        let pin =
            "[[pin]]\nname = \"n\"\nowner = \"o\"\npackages = [\"SOC1-3\"]\nwhere = \"package.price > 3\"\n";
        assert!(complaint(pin).contains(
            "line 5, [[pin]] \"n\", where = \"package.price > 3\": `package.price` is not of the customer"
        ));
    }

    #[test]
    fn every_column_can_be_written_as_it_is_listed() {
        let columns = Columns::new(&packages().schema(), &customer_schema());
        let usable = columns.usable();
        assert_eq!(usable.len(), customer_schema().fields().len() + packages().num_columns() + 7);
        for column in &usable {
            let keep = format!("{} IS NOT NULL", column.name);
            assert_eq!(told(&keep), "", "{keep}");
            assert_ne!(column.kind, "other");
        }
        assert!(told("Customer.SEGMENT = 1").is_empty());
    }

    #[test]
    fn long_and_deep_predicates_are_refused_and_do_not_overflow_the_stack() {
        let long = vec!["customer.segment = 1"; 150].join(" OR ");
        assert_eq!(told(&long), "");
        assert!(
            told(&vec!["customer.segment = 1"; 300].join(" OR ")).contains("is longer than 4000 characters")
        );
        let deep = format!("{}true{}", "(".repeat(1_900), ")".repeat(1_900));
        assert!(told(&deep).contains("nested too deeply"), "{}", told(&deep));
        assert_eq!(told(&vec!["true"; 490].join(" OR ")), "");
    }
}
