//! Names for the 25 combinations of recency and frequency.
//!
//! A grid is a list of named rectangles. It must partition the 25 cells: a customer who falls into no
//! segment, or into two, would be missing from the campaigns or get two of them.

use super::cuts::{SCORES, Score};
use serde::Deserialize;
use std::ops::RangeInclusive;
use thiserror::Error;

/// A segment as the configuration gives it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentEntry {
    pub name: String,
    /// First and last recency score.
    pub r: [i64; 2],
    /// First and last frequency score.
    pub f: [i64; 2],
    /// What marketing should do about its customers.
    #[serde(default)]
    pub action: String,
}

/// A named rectangle of the grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub name: String,
    pub recency: RangeInclusive<i64>,
    pub frequency: RangeInclusive<i64>,
    pub action: String,
}

/// Segments that partition the 25 cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    segments: Vec<Segment>,
    /// By recency and frequency, from 0: a position in `segments`.
    cells: [[usize; SCORES]; SCORES],
}

/// Everything that is wrong with a grid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the grid of RFM segments has {} problem{}:{}",
    problems.len(),
    if problems.len() == 1 { "" } else { "s" },
    list(problems)
)]
pub struct GridError {
    pub problems: Vec<GridProblem>,
}

/// One thing that is wrong with a grid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GridProblem {
    #[error("segment {position} has no name")]
    Unnamed {
        /// From 1.
        position: usize,
    },
    #[error("the name \"{name}\" is given twice")]
    NamedTwice { name: String },
    #[error("{axis} = [{low}, {high}] of \"{segment}\" is not a first and a last score from 1 to 5")]
    NoRange { segment: String, axis: char, low: i64, high: i64 },
    #[error("the cell R{recency} F{frequency} is in no segment")]
    Uncovered { recency: u8, frequency: u8 },
    #[error("the cell R{recency} F{frequency} is in {} segments: {}", segments.len(), segments.join(", "))]
    Shared { recency: u8, frequency: u8, segments: Vec<String> },
}

fn list(problems: &[GridProblem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

impl Grid {
    /// A grid of the segments in the order given. Refused with every problem there is unless they
    /// partition the 25 cells; a range that is none still counts for the cells that it names.
    pub fn new(entries: &[SegmentEntry]) -> Result<Self, GridError> {
        let mut problems = named(entries);
        for entry in entries {
            for (axis, [low, high]) in [('r', entry.r), ('f', entry.f)] {
                if !(1 <= low && low <= high && high <= SCORES as i64) {
                    problems.push(GridProblem::NoRange { segment: entry.name.clone(), axis, low, high });
                }
            }
        }
        let mut cells = [[0; SCORES]; SCORES];
        for recency in Score::all() {
            for frequency in Score::all() {
                let [r, f] = [recency, frequency].map(Score::get);
                let holding: Vec<usize> =
                    (0..entries.len()).filter(|position| holds(&entries[*position], r, f)).collect();
                match holding.as_slice() {
                    [only] => cells[recency.index()][frequency.index()] = *only,
                    [] => problems.push(GridProblem::Uncovered { recency: r, frequency: f }),
                    several => {
                        let segments = several.iter().map(|position| entries[*position].name.clone());
                        problems.push(GridProblem::Shared {
                            recency: r,
                            frequency: f,
                            segments: segments.collect(),
                        });
                    }
                }
            }
        }
        if !problems.is_empty() {
            return Err(GridError { problems });
        }
        let segments = entries.iter().map(|entry| Segment {
            name: entry.name.clone(),
            recency: entry.r[0]..=entry.r[1],
            frequency: entry.f[0]..=entry.f[1],
            action: entry.action.clone(),
        });
        Ok(Self { segments: segments.collect(), cells })
    }

    /// Where the segment of two scores is in [`Self::segments`].
    pub fn place(&self, recency: Score, frequency: Score) -> usize {
        self.cells[recency.index()][frequency.index()]
    }

    /// In the order of the configuration.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

/// Names that are missing or come twice.
fn named(entries: &[SegmentEntry]) -> Vec<GridProblem> {
    let mut problems = Vec::new();
    for (position, entry) in entries.iter().enumerate() {
        if entry.name.trim().is_empty() {
            problems.push(GridProblem::Unnamed { position: position + 1 });
        } else if entries[..position].iter().filter(|before| before.name == entry.name).count() == 1 {
            problems.push(GridProblem::NamedTwice { name: entry.name.clone() });
        }
    }
    problems
}

fn holds(entry: &SegmentEntry, recency: u8, frequency: u8) -> bool {
    let within = |[low, high]: [i64; 2], score: u8| (low..=high).contains(&i64::from(score));
    within(entry.r, recency) && within(entry.f, frequency)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &str, r: [i64; 2], f: [i64; 2]) -> SegmentEntry {
        SegmentEntry { name: name.to_owned(), r, f, action: String::new() }
    }

    /// The segments of the embedded configuration.
    fn defaults() -> Vec<SegmentEntry> {
        let config: toml::Table = include_str!("../../../config/default.toml").parse().expect("TOML");
        config["value"]["rfm"]["segments"].clone().try_into().expect("segments")
    }

    #[test]
    fn the_default_grid_is_the_published_one() {
        let grid = Grid::new(&defaults()).expect("a partition");
        let name = |r: u8, f: u8| {
            let place = grid.place(Score::new(r).expect("1 to 5"), Score::new(f).expect("1 to 5"));
            grid.segments()[place].name.as_str()
        };
        // Rows are recency 1 to 5, columns frequency 1 to 5.
        let expected = [
            ["Hibernating", "Hibernating", "At Risk", "At Risk", "Cannot Lose"],
            ["Hibernating", "Hibernating", "At Risk", "At Risk", "Cannot Lose"],
            ["About to Sleep", "About to Sleep", "Need Attention", "Loyal", "Loyal"],
            ["Promising", "Potential Loyalist", "Potential Loyalist", "Loyal", "Loyal"],
            ["New", "Potential Loyalist", "Potential Loyalist", "Champions", "Champions"],
        ];
        for (r, row) in (1..).zip(&expected) {
            for (f, segment) in (1..).zip(row) {
                assert_eq!(name(r, f), *segment, "R{r} F{f}");
            }
        }
        assert_eq!(grid.segments().len(), 10);
        assert!(grid.segments().iter().all(|segment| segment.action.len() > 20), "an action for each");
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let error = Grid::new(&[
            entry("All but one", [1, 5], [1, 4]),
            entry("", [1, 4], [5, 5]),
            entry("Twice", [1, 1], [1, 2]),
            entry("Twice", [3, 2], [0, 1]),
        ]);
        let error = error.expect_err("not a partition");
        let shared = |f: u8| GridProblem::Shared {
            recency: 1,
            frequency: f,
            segments: vec!["All but one".to_owned(), "Twice".to_owned()],
        };
        let range = |axis, low, high| GridProblem::NoRange { segment: "Twice".to_owned(), axis, low, high };
        assert_eq!(
            error.problems,
            [
                GridProblem::Unnamed { position: 2 },
                GridProblem::NamedTwice { name: "Twice".to_owned() },
                range('r', 3, 2),
                range('f', 0, 1),
                shared(1),
                shared(2),
                GridProblem::Uncovered { recency: 5, frequency: 5 },
            ]
        );
        let text = error.to_string();
        assert!(text.starts_with("the grid of RFM segments has 7 problems:\n  segment 2 has"), "{text}");
        assert!(text.contains("the cell R1 F2 is in 2 segments: All but one, Twice"), "{text}");
        assert_eq!(Grid::new(&[]).expect_err("nothing").problems.len(), 25);
    }

    #[test]
    fn a_grid_of_one_segment_is_a_grid() {
        let grid = Grid::new(&[entry("Everybody", [1, 5], [1, 5])]).expect("a partition");
        assert!(Score::all().iter().all(|r| grid.place(*r, *r) == 0));
    }

    #[test]
    fn a_key_that_is_not_known_is_refused() {
        let typo =
            "name = \"A\"\nr = [1, 5]\nf = [1, 5]\nactoin = \"\"".parse::<toml::Table>().expect("TOML");
        let error = toml::Value::Table(typo).try_into::<SegmentEntry>().expect_err("a typing error");
        assert!(error.to_string().contains("actoin"), "{error}");
    }

    proptest! {
        /// Rectangles are accepted exactly if every cell is in one of them; a cell is then its segment's.
        #[test]
        fn only_partitions_are_taken(
            cut_r in 1_i64..=5,
            cut_f in 1_i64..=5,
            moved in prop::option::of((0_usize..4, -1_i64..=1)),
        ) {
            let mut entries = vec![
                entry("a", [1, cut_r], [1, cut_f]),
                entry("b", [1, cut_r], [cut_f + 1, 5]),
                entry("c", [cut_r + 1, 5], [1, cut_f]),
                entry("d", [cut_r + 1, 5], [cut_f + 1, 5]),
            ];
            entries.retain(|each| each.r[0] <= 5 && each.f[0] <= 5);
            if let Some((which, by)) = moved {
                let which = which % entries.len();
                entries[which].r[1] += by;
            }
            let covering = |r: u8, f: u8| entries.iter().filter(|each| holds(each, r, f)).count();
            let ranges = entries.iter().all(|each| {
                [each.r, each.f].iter().all(|[low, high]| 1 <= *low && low <= high && *high <= 5)
            });
            let partition = (1..=5).all(|r| (1..=5).all(|f| covering(r, f) == 1));
            match Grid::new(&entries) {
                Ok(grid) => {
                    prop_assert!(partition && ranges);
                    for r in Score::all() {
                        for f in Score::all() {
                            let segment = &grid.segments()[grid.place(r, f)];
                            prop_assert!(segment.recency.contains(&i64::from(r.get())));
                            prop_assert!(segment.frequency.contains(&i64::from(f.get())));
                        }
                    }
                }
                Err(_) => prop_assert!(!partition || !ranges),
            }
        }
    }
}
