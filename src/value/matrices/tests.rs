//! Reading matrices from a configuration, and where the limits of their axes are.

use super::*;

const COLUMNS: [Column<'_>; 3] = [
    Column { name: "revenue", steps: 100.0 },
    Column { name: "mean_quota_mb_per_day", steps: 1_000.0 },
    Column { name: "tenure_days", steps: 1.0 },
];

/// The matrices of the embedded configuration.
fn defaults() -> Vec<MatrixEntry> {
    let config: toml::Table = include_str!("../../../config/default.toml").parse().expect("TOML");
    config["value"]["matrices"].clone().try_into().expect("matrices")
}

#[test]
fn the_default_matrices_are_those_of_the_documentation() {
    let matrices = Matrix::resolve(&defaults(), &COLUMNS).expect("complete");
    let quadrants = |matrix: &Matrix| matrix.quadrants.clone().map(|quadrant| quadrant.name);
    assert_eq!(matrices.len(), 2);
    assert_eq!(quadrants(&matrices[0]), ["Incubator", "Sniper Zone", "Risk Area", "Star Client"]);
    assert_eq!(quadrants(&matrices[1]), ["Newbie", "Loyal", "High Potential", "Champion"]);
    let usage = matrices[0].quadrants.clone().map(|quadrant| (quadrant.strategy, quadrant.uplift));
    let text = |strategy: &str, uplift| (strategy.to_owned(), uplift);
    assert_eq!(
        usage,
        [
            text("nurture", None),
            text("upsell", Some(Uplift::Upsell)),
            text("cross-sell", Some(Uplift::CrossSell)),
            text("retention", None)
        ]
    );
    assert!(matrices.iter().flat_map(|matrix| &matrix.axes).all(|axis| axis.threshold == Threshold::Median));
    assert_eq!(matrices[0].axes[1].steps, 1_000.0);
}

#[test]
fn every_problem_is_told_at_once() {
    let mut entries = defaults();
    let first = &mut entries[0];
    first.x.column = "revenues".to_owned();
    first.y.threshold = ThresholdEntry::Word("mean".to_owned());
    first.quadrants[1].name = first.quadrants[0].name.clone();
    first.quadrants[1].high_y = first.quadrants[0].high_y;
    first.quadrants[2].strategy = " ".to_owned();
    first.quadrants[3].scenario = "free".to_owned();
    entries[1].name = entries[0].name.clone();
    entries[1].x.threshold = ThresholdEntry::Number(f64::NAN);
    let error = Matrix::resolve(&entries, &COLUMNS).expect_err("many problems");
    let expected = [
        "axis x of \"Revenue × Usage\" names the column \"revenues\"; take one of revenue, mean_quota_mb_per_day, tenure_days",
        "axis y of \"Revenue × Usage\" has the threshold \"mean\"; take \"median\" or a number",
        "the quadrant \"Star Client\" of \"Revenue × Usage\" is given twice",
        "quadrant 3 of \"Revenue × Usage\" has no strategy",
        "the scenario of \"Incubator\" in \"Revenue × Usage\" is \"free\"; take \"upsell\", \"cross-sell\" or \"none\"",
        "\"Revenue × Usage\" has 0 quadrants with high_x = true, high_y = false; give one",
        "\"Revenue × Usage\" has 2 quadrants with high_x = true, high_y = true; give one",
        "the matrix \"Revenue × Usage\" is given twice",
        "axis x of \"Revenue × Usage\" has the threshold NaN; take \"median\" or a number",
    ];
    let told: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told, expected);
    assert!(error.to_string().starts_with("the matrices have 9 problems:\n  axis x"), "{error}");
}

#[test]
fn a_threshold_is_a_number_or_a_word_and_unknown_keys_are_refused() {
    let read = |text: &str| toml::Value::Table(text.parse().expect("TOML")).try_into::<AxisEntry>();
    let axis = |threshold: &str| format!("column = \"revenue\"\nlabel = \"R\"\nthreshold = {threshold}");
    let number = |value| ThresholdEntry::Number(value);
    assert_eq!(read(&axis("20")).map(|axis| axis.threshold), Ok(number(20.0)));
    assert_eq!(read(&axis("0.5")).map(|axis| axis.threshold), Ok(number(0.5)));
    assert_eq!(
        read(&axis("\"median\"")).map(|axis| axis.threshold),
        Ok(ThresholdEntry::Word("median".to_owned()))
    );
    assert!(read(&axis("20\nunits = 3")).is_err());
}

#[test]
fn limits_are_medians_of_those_who_have_a_value_or_the_number_set() {
    let mut axis =
        Axis { column: "c".to_owned(), label: "C".to_owned(), threshold: Threshold::Median, steps: 1_000.0 };
    let mut values = Histogram::new();
    assert_eq!(axis.limit(&values), None);
    let given = [Some(0.5), Some(0.1), None, Some(f64::NAN), Some(0.25), Some(0.9)];
    given.iter().filter_map(|value| axis.quantise(*value)).for_each(|value| values.add(value, 1));
    assert_eq!(axis.limit(&values), Some(250), "the lower of the two in the middle");
    axis.threshold = Threshold::Value(0.3);
    assert_eq!(axis.limit(&values), Some(300));
    assert_eq!(axis.limit(&Histogram::new()), None, "nothing to be above it");
    assert_eq!(axis.quantise(Some(0.3)), Some(300), "a value equal to the threshold is not above it");
}
