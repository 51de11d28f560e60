//! Plain words for what sets a segment apart from the whole base.
//!
//! A segment is told by the few features on which its mean is furthest from everybody's, measured
//! in standard deviations between customers (Cohen's d, 1988: 0.5 is a medium, 0.8 a large effect).

use thiserror::Error;

/// Below this many standard deviations nobody would notice the difference.
const NOTICEABLE: f64 = 0.5;
/// From this many on, the word in braces is said.
const STRONG: f64 = 1.0;
/// More than three traits are not remembered.
const TRAITS: usize = 3;

/// What is said of a segment that differs in nothing.
const AVERAGE: &str = "about average";

/// How to speak of one feature. A word in braces is said only of strong differences:
/// `spends {much} more` gives "spends more" or "spends much more".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureWords<'a> {
    pub name: &'a str,
    /// Of a segment above the average: `spends {much} more`.
    pub high: &'a str,
    /// Of a segment below the average: `spends {much} less`.
    pub low: &'a str,
}

/// One thing that sets a segment apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Trait {
    /// Position of the feature among those given.
    pub feature: usize,
    /// Segment mean minus overall mean, in standard deviations.
    pub difference: f64,
    pub phrase: String,
}

/// The statistics and the words must be about the same features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{words} features have words, but there are {segment} segment means, {overall} overall means and {deviations} standard deviations"
)]
pub struct DescribeError {
    pub words: usize,
    pub segment: usize,
    pub overall: usize,
    pub deviations: usize,
}

/// The at most three features that differ most, by half a standard deviation or more; the strongest
/// first, equal ones in the order given.
///
/// A feature whose mean or deviation is missing, or which does not vary, says nothing and is passed
/// over. Cost: one pass and a sort of the features.
pub fn distinguishing(
    words: &[FeatureWords<'_>],
    segment_mean: &[f64],
    overall_mean: &[f64],
    deviation: &[f64],
) -> Result<Vec<Trait>, DescribeError> {
    let lengths = [segment_mean.len(), overall_mean.len(), deviation.len()];
    if lengths.iter().any(|&length| length != words.len()) {
        let [segment, overall, deviations] = lengths;
        return Err(DescribeError { words: words.len(), segment, overall, deviations });
    }
    let mut differences = (0..words.len())
        .map(|feature| (feature, (segment_mean[feature] - overall_mean[feature]) / deviation[feature]))
        // A deviation of 0 gives an infinity or NaN, a negative one is no deviation.
        .filter(|&(feature, d)| d.is_finite() && d.abs() >= NOTICEABLE && deviation[feature] > 0.0)
        .collect::<Vec<_>>();
    // Stable: equal differences stay in order.
    differences.sort_by(|(_, a), (_, b)| b.abs().total_cmp(&a.abs()));
    differences.truncate(TRAITS);
    let traits = differences.into_iter().map(|(feature, difference)| {
        let wording = if difference > 0.0 { words[feature].high } else { words[feature].low };
        Trait { feature, difference, phrase: spoken(wording, difference.abs() >= STRONG) }
    });
    Ok(traits.collect())
}

/// The traits as one phrase, "spends much more, buys more often, prefers weekends"; "about average"
/// when there are none.
pub fn sentence(traits: &[Trait]) -> String {
    if traits.is_empty() {
        return AVERAGE.to_owned();
    }
    traits.iter().map(|each| each.phrase.as_str()).collect::<Vec<_>>().join(", ")
}

/// The wording with its words in braces said or left out, single spaces between what remains.
fn spoken(wording: &str, strong: bool) -> String {
    let mut said = String::new();
    let mut rest = wording;
    while let Some((before, (inside, after))) =
        rest.split_once('{').and_then(|(before, tail)| Some((before, tail.split_once('}')?)))
    {
        said.push_str(before);
        if strong {
            said.push_str(inside);
        }
        rest = after;
    }
    said.push_str(rest);
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [FeatureWords<'_>; 5] = [
        FeatureWords { name: "spend", high: "spends {much} more", low: "spends {much} less" },
        FeatureWords { name: "frequency", high: "buys {much} more often", low: "buys {much} less often" },
        FeatureWords { name: "weekend", high: "{strongly} prefers weekends", low: "avoids weekends" },
        FeatureWords { name: "recency", high: "has been away {much} longer", low: "bought {very} recently" },
        FeatureWords { name: "variety", high: "buys a {much} wider mix", low: "keeps to few packages" },
    ];

    fn describe(means: [f64; 5]) -> String {
        sentence(&distinguishing(&WORDS, &means, &[1.0; 5], &[2.0; 5]).unwrap())
    }

    #[test]
    fn the_three_strongest_are_told_strongest_first() {
        // In standard deviations: 1.5, 0.6, 0.8, -0.55, 0.1.
        assert_eq!(
            describe([4.0, 2.2, 2.6, -0.1, 1.2]),
            "spends much more, prefers weekends, buys more often"
        );
        assert_eq!(describe([-3.0, 1.0, 1.0, -1.5, 1.0]), "spends much less, bought very recently");
        assert_eq!(describe([1.0, 1.0, 5.0, 1.0, 0.0]), "strongly prefers weekends, keeps to few packages");
    }

    #[test]
    fn nothing_noticeable_is_about_average() {
        assert_eq!(describe([1.9, 0.1, 1.0, 1.0, 1.99]), "about average");
    }

    #[test]
    fn ties_keep_the_order_given_and_the_limits_are_inclusive() {
        assert_eq!(describe([2.0, 0.0, 2.0, 2.0, 2.0]), "spends more, buys less often, prefers weekends");
        assert_eq!(describe([3.0, 1.0, 1.0, 1.0, 1.0]), "spends much more");
    }

    #[test]
    fn features_without_a_spread_say_nothing() {
        let traits = distinguishing(
            &WORDS,
            &[9.0, f64::NAN, 9.0, 9.0, 9.0],
            &[1.0, 1.0, 9.0, 1.0, 1.0],
            &[0.0, 1.0, 0.0, -1.0, 1.0],
        );
        let traits = traits.unwrap();
        assert_eq!(traits.len(), 1);
        assert_eq!((traits[0].feature, traits[0].difference), (4, 8.0));
    }

    #[test]
    fn lengths_must_agree_and_stray_braces_are_text() {
        let error = distinguishing(&WORDS, &[1.0], &[1.0; 5], &[1.0; 5]).unwrap_err();
        assert_eq!((error.words, error.segment), (5, 1));
        assert_eq!(spoken("a } b { c", true), "a } b { c");
    }
}
