//! Recall as it is for the queries that will be asked, and the least effort that reaches it.
//!
//! The queries are all customers and the pool is the best of them, so queries are out of distribution
//! for the index. Measured on members of the pool, a graph that finds 81 % of the neighbours looks as if
//! it found 98 %. So calibration takes a sample of the customers who will be looked up.

use super::cells::Cells;
use super::exact::Exact;
use super::graph::{Graph, GraphOptions};
use super::hnsw::Hnsw;
use super::index::{IndexError, NeighbourIndex, Neighbours, SearchError, Tunable, check_points};
use super::lists::{self, Lists};

/// Auto searches a pool exactly up to this many values (points × dimensions), 4,096 points of 16: there
/// an exact lookup takes some 12 µs, twice one in cells, and misses nothing. A size, not a stopwatch,
/// so that the choice is the same on every machine.
pub const EXACT_UP_TO: usize = 1 << 16;

/// What to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IndexKind {
    /// Exact for a small pool, else cells.
    #[default]
    Auto,
    Exact,
    Cells,
    Graph,
    Hnsw,
}

impl std::fmt::Display for IndexKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Exact => "exact",
            Self::Cells => "cells",
            Self::Graph => "graph",
            Self::Hnsw => "hnsw",
        })
    }
}

/// Queries like those that will be asked.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Row-major, in the dimensions of the pool.
    pub queries: &'a [f32],
    /// The pool position of each query that is a member, else [`super::index::NOTHING`].
    pub exclude: Option<&'a [u32]>,
}

/// Those who will ask.
#[derive(Clone, Copy, Debug)]
pub struct Askers<'a> {
    /// Some of them, others than recall is measured on: row-major, in the dimensions of the pool.
    pub rows: &'a [f32],
    /// All of them.
    pub count: u64,
}

/// What is wanted of the index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BuildOptions {
    pub kind: IndexKind,
    /// Neighbours that will be asked.
    pub k: usize,
    /// Share of the true `k` nearest that must be found on average, above 0 and up to 1. At 1 the
    /// answers are exact whatever the kind, except for graphs.
    pub recall_wanted: f64,
    pub seed: u64,
    pub threads: usize,
    /// The shape of the graph, for those that are one.
    pub graph: GraphOptions,
}

/// The mean share of true neighbours found, over a sample of queries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recall {
    pub mean: f64,
    /// Of the mean, over queries.
    pub standard_error: f64,
    pub queries: usize,
}

impl Recall {
    /// The lower end of a 95 % interval.
    pub fn lower(&self) -> f64 {
        self.mean - 1.96 * self.standard_error
    }

    /// Compares answers to the same queries. A neighbour counts when it is as near as the last of the
    /// true ones, so that another of several at one distance is no mistake. A query without true
    /// neighbours counts as answered.
    pub fn of(found: &Neighbours, exact: &Neighbours) -> Self {
        let queries = exact.queries();
        let share = |query: usize| {
            let Some(&last) = exact.of(query).1.last() else { return 1.0 };
            let hits = found.of(query).1.iter().take_while(|&&distance| distance <= last).count();
            hits as f64 / exact.of(query).1.len() as f64
        };
        let n = queries.max(1) as f64;
        let mean = (0..queries).map(share).sum::<f64>() / n;
        let squares: f64 = (0..queries).map(|query| (share(query) - mean).powi(2)).sum();
        Self { mean, standard_error: (squares / (n - 1.0).max(1.0) / n).sqrt(), queries }
    }
}

/// The recall of an index on a sample whose exact answers are known.
pub fn recall(
    index: &dyn NeighbourIndex,
    sample: Sample,
    exact: &Neighbours,
    threads: usize,
) -> Result<Recall, SearchError> {
    Ok(Recall::of(&search_on_threads(index, sample, exact.k(), threads)?, exact))
}

/// Answers a sample on several threads, each with a run of the queries; the same as one call.
pub fn search_on_threads(
    index: &dyn NeighbourIndex,
    sample: Sample,
    k: usize,
    threads: usize,
) -> Result<Neighbours, SearchError> {
    let dims = index.dims();
    let part = (sample.queries.len() / dims).div_ceil(threads.max(1)).max(1);
    let run = |(number, queries): (usize, &[f32])| {
        let range = number * part..number * part + queries.len() / dims;
        // A wrong number of exclusions is refused by the index, which knows how to say it.
        let exclude = sample.exclude.map(|all| all.get(range).unwrap_or(&[]));
        let mut out = Neighbours::new();
        index.search(queries, k, exclude, &mut out).map(|()| out)
    };
    let run = &run;
    let parts: Vec<Result<Neighbours, SearchError>> = std::thread::scope(|scope| {
        let chunks = sample.queries.chunks(part * dims).enumerate();
        let handles: Vec<_> = chunks.map(|chunk| scope.spawn(move || run(chunk))).collect();
        let joined = handles.into_iter().map(|handle| handle.join());
        joined.map(|answer| answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut all = Neighbours::new();
    all.begin(k);
    for part in parts {
        all.append(&part?);
    }
    Ok(all)
}

/// The effort that was found for a wanted recall, left set on the index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    pub effort: usize,
    pub recall: Recall,
    /// Whether the lower end of the interval is at or above what was wanted.
    pub reached: bool,
}

/// Finds the least effort whose recall on the sample is `wanted` with a margin: doubling until the
/// lower end of the 95 % interval reaches it, then bisection to within 3 %. When no effort does, the
/// greatest is kept and `reached` is false. `exact` holds the sample's true answers.
pub fn calibrate(
    index: &mut dyn Tunable,
    sample: Sample,
    exact: &Neighbours,
    wanted: f64,
    threads: usize,
) -> Result<Calibration, SearchError> {
    let most = index.most_effort();
    let mut attempt = |effort: usize| -> Result<Calibration, SearchError> {
        index.set_effort(effort);
        let recall = Recall::of(&search_on_threads(index, sample, exact.k(), threads)?, exact);
        Ok(Calibration { effort, recall, reached: recall.lower() >= wanted })
    };
    // A sample cannot promise perfection: nothing missed in it may still be missed elsewhere.
    let mut best = attempt(if wanted >= 1.0 { most } else { 1 })?;
    let mut too_little = best.effort;
    while !best.reached && best.effort < most {
        too_little = best.effort;
        best = attempt((best.effort * 2).min(most))?;
    }
    while best.reached && best.effort - too_little > (best.effort / 32).max(1) {
        let middle = attempt(too_little.midpoint(best.effort))?;
        if middle.reached {
            best = middle;
        } else {
            too_little = middle.effort;
        }
    }
    index.set_effort(best.effort);
    Ok(best)
}

/// The same for lists, first of the cells by themselves.
pub fn calibrate_lists(
    lists: &mut Lists,
    sample: Sample,
    exact: &Neighbours,
    wanted: f64,
    threads: usize,
) -> Result<Calibration, SearchError> {
    lists.tune_cells(|cells| calibrate(cells, sample, exact, wanted, threads))?;
    calibrate(lists, sample, exact, wanted, threads)
}

/// An index ready to answer, and how it came to be.
pub struct BuiltIndex {
    pub index: Box<dyn NeighbourIndex>,
    /// Never `Auto`.
    pub kind: IndexKind,
    /// On the sample; 1 without a measurement for exact search.
    pub measured_recall: Recall,
    /// Whether the lower end of the recall's interval is at or above what was wanted.
    pub reached: bool,
    /// How far cells are probed or width of the graph search; `None` for exact search.
    pub effort: Option<usize>,
    /// One sentence for the run's summary.
    pub why: String,
}

/// Builds the index that is asked for over row-major `points` of `dims` columns and calibrates it on
/// the sample. Cells get lists where so many will ask that these are worth their making. Nothing depends on a clock.
pub fn build(
    points: &[f32],
    dims: usize,
    sample: Sample,
    askers: Option<Askers>,
    options: &BuildOptions,
) -> Result<BuiltIndex, IndexError> {
    let BuildOptions { kind, k, recall_wanted: wanted, seed, threads, graph } = *options;
    let n = check_points(points, dims)?;
    // Written so that NaN fails it.
    if !(wanted > 0.0 && wanted <= 1.0) {
        let expected = "above 0 and at most 1";
        return Err(IndexError::Option { option: "recall", value: wanted, expected });
    }
    let chosen = match kind {
        IndexKind::Auto if n * dims <= EXACT_UP_TO => IndexKind::Exact,
        IndexKind::Auto => IndexKind::Cells,
        asked => asked,
    };
    let exact = Exact::build(points, dims)?;
    if chosen == IndexKind::Exact {
        let queries = sample.queries.len() / dims;
        let why = match kind {
            IndexKind::Auto => {
                format!("exact: {n} points of {dims} dimensions are few enough to compare all")
            }
            _ => format!("exact, as asked: {n} points of {dims} dimensions"),
        };
        return Ok(BuiltIndex {
            index: Box::new(exact),
            kind: chosen,
            measured_recall: Recall { mean: 1.0, standard_error: 0.0, queries },
            reached: true,
            effort: None,
            why,
        });
    }
    if sample.queries.len() < dims {
        return Err(IndexError::Option { option: "sample", value: 0.0, expected: "at least one query" });
    }
    let truth = search_on_threads(&exact, sample, k, threads).map_err(IndexError::Sample)?;
    drop(exact);
    let tune = |index: &mut dyn Tunable| {
        calibrate(index, sample, &truth, wanted, threads).map_err(IndexError::Sample)
    };
    let width = |found: &Calibration| format!("searches {} wide", found.effort);
    let (index, found, how): (Box<dyn NeighbourIndex>, Calibration, String) = match chosen {
        IndexKind::Graph => {
            let mut graph = Graph::build(points, dims, graph, seed, threads)?;
            let found = tune(&mut graph)?;
            (Box::new(graph), found, width(&found))
        }
        IndexKind::Hnsw => {
            let mut graph = Hnsw::build(points, dims, graph)?;
            let found = tune(&mut graph)?;
            (Box::new(graph), found, width(&found))
        }
        _ => {
            let mut cells = Cells::build(points, dims, None, seed, threads)?;
            let within = |share: f32| format!("probes within {share:.3} of the distance found so far");
            if let Some(askers) = askers.filter(|askers| lists::are_worth(n, askers.count, k)) {
                let mut lists = Lists::build(cells, askers.rows, k, seed, threads)?;
                let found = calibrate_lists(&mut lists, sample, &truth, wanted, threads);
                let found = found.map_err(IndexError::Sample)?;
                let (heads, share, probes) = (lists.heads(), lists.share(), within(lists.cells_share()));
                let how = format!(
                    "goes through lists of what is near {heads} places within {share:.3}, then {probes}"
                );
                (Box::new(lists), found, how)
            } else {
                let found = tune(&mut cells)?;
                let how = within(found.effort as f32 / cells.most_effort() as f32);
                (Box::new(cells), found, how)
            }
        }
    };
    Ok(BuiltIndex {
        why: why(kind, chosen, n, &how, wanted, &found),
        index,
        kind: chosen,
        measured_recall: found.recall,
        reached: found.reached,
        effort: Some(found.effort),
    })
}

/// One sentence on what was built and why.
fn why(asked: IndexKind, chosen: IndexKind, n: usize, how: &str, wanted: f64, found: &Calibration) -> String {
    let Calibration { recall, reached, .. } = found;
    let kind = match asked {
        IndexKind::Auto => format!("{chosen}, because {n} points are too many to compare all"),
        _ => format!("{chosen}, as asked"),
    };
    let verdict = if *reached { "reach" } else { "do not surely reach" };
    format!(
        "{kind}; {how} {verdict} the recall of {wanted} that was asked ({:.4} ± {:.4} on {} queries)",
        recall.mean,
        1.96 * recall.standard_error,
        recall.queries
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::conformance::customers;

    const DIMS: usize = 6;

    fn built(kind: IndexKind, points: &[f32], queries: &[f32], recall_wanted: f64) -> BuiltIndex {
        let options =
            BuildOptions { kind, k: 10, recall_wanted, seed: 4, threads: 2, graph: GraphOptions::default() };
        build(points, DIMS, Sample { queries, exclude: None }, None, &options).expect("builds")
    }

    #[test]
    fn the_least_effort_that_reaches_the_recall_is_found() {
        let (pool, queries) = (customers(12_000, DIMS, 1), customers(800, DIMS, 2));
        let sample = Sample { queries: &queries, exclude: None };
        let truth =
            search_on_threads(&Exact::build(&pool, DIMS).expect("points"), sample, 10, 2).expect("ok");
        let mut cells = Cells::build(&pool, DIMS, None, 4, 1).expect("points");
        let found = calibrate(&mut cells, sample, &truth, 0.95, 2).expect("answers");
        assert!(found.reached && found.recall.lower() >= 0.95, "{found:?}");
        assert!(found.effort > 1 && found.effort < cells.most_effort() * 2 / 3, "{found:?}");
        assert_eq!(cells.effort(), found.effort);
        assert_eq!(recall(&cells, sample, &truth, 1).expect("answers"), found.recall);
        cells.set_effort(found.effort - (found.effort / 32).max(1));
        assert!(recall(&cells, sample, &truth, 1).expect("answers").lower() < 0.95, "3 % less is too little");
    }

    #[test]
    fn a_recall_of_one_probes_every_cell() {
        let (pool, queries) = (customers(12_000, DIMS, 1), customers(50, DIMS, 2));
        let built = built(IndexKind::Auto, &pool, &queries, 1.0);
        assert_eq!((built.kind, built.measured_recall.mean), (IndexKind::Cells, 1.0));
        assert!(
            built.why.contains("probes within 1.000 of the distance found so far reach"),
            "{}",
            built.why
        );
    }

    #[test]
    fn auto_decides_by_size_and_says_so() {
        let (pool, queries) = (customers(12_000, DIMS, 1), customers(400, DIMS, 2));
        let small = built(IndexKind::Auto, &pool[..600], &queries, 0.9);
        assert_eq!((small.kind, small.effort), (IndexKind::Exact, None));
        assert_eq!(small.why, "exact: 100 points of 6 dimensions are few enough to compare all");
        let large = built(IndexKind::Auto, &pool, &queries, 0.9);
        assert_eq!(large.kind, IndexKind::Cells);
        assert!(large.why.starts_with("cells, because 12000 points are too many"), "{}", large.why);
        assert!(large.measured_recall.mean >= 0.9);
        let graph = built(IndexKind::Hnsw, &pool[..6000], &queries, 0.9);
        assert!(
            graph.why.starts_with("hnsw, as asked; searches") && graph.why.contains(" reach "),
            "{}",
            graph.why
        );
    }

    #[test]
    fn cells_get_lists_where_many_will_ask() {
        let (pool, queries) = (customers(17_000, DIMS, 1), customers(400, DIMS, 2));
        let (rows, graph) = (customers(2000, DIMS, 3), GraphOptions::default());
        let options =
            BuildOptions { kind: IndexKind::Auto, k: 10, recall_wanted: 0.9, seed: 4, threads: 2, graph };
        let sample = Sample { queries: &queries, exclude: None };
        let built = |count| {
            build(&pool, DIMS, sample, Some(Askers { rows: &rows, count }), &options).expect("builds")
        };
        let (few, many) = (built(60_000), built(200_000));
        assert!(!few.why.contains("lists"), "{}", few.why);
        assert!(many.reached && many.kind == IndexKind::Cells);
        assert!(many.why.contains("goes through lists of what is near") && many.why.contains("then probes"));
        let exact = Exact::build(&pool, DIMS).expect("points");
        let truth = search_on_threads(&exact, sample, 10, 1).expect("answers");
        let measured = recall(many.index.as_ref(), sample, &truth, 1).expect("answers");
        assert_eq!(measured, many.measured_recall);
        assert!(measured.mean < 1.0, "something is left out");
    }

    #[test]
    fn recall_counts_ties_and_has_an_interval() {
        let index = Exact::build(&[0.0, 1.0, -1.0, 5.0], 1).expect("points");
        let sample = Sample { queries: &[0.0, 5.0], exclude: None };
        let truth = search_on_threads(&index, sample, 2, 1).expect("answers");
        let other = Exact::build(&[0.0, 20.0, 1.0, 9.5], 1).expect("points");
        // 0 and one of the two points at distance 1: both count. Of the neighbours of 5 only the point at 1.
        let found = recall(&other, sample, &truth, 2).expect("answers");
        assert_eq!((found.mean, found.queries), (0.75, 2));
        assert!((found.standard_error - 0.25).abs() < 1e-12 && found.lower() < 0.3);
    }

    #[test]
    fn bad_wishes_are_refused() {
        let error = |recall_wanted, k, queries: &[f32]| {
            let graph = GraphOptions::default();
            let options =
                BuildOptions { kind: IndexKind::Cells, k, recall_wanted, seed: 0, threads: 1, graph };
            let points: Vec<f32> = (0..60).map(|i| i as f32).collect();
            build(&points, DIMS, Sample { queries, exclude: None }, None, &options).err().expect("refused")
        };
        let one = [1.0; DIMS];
        assert_eq!(error(f64::NAN, 3, &one).to_string(), "`recall` is NaN, it must be above 0 and at most 1");
        assert_eq!(error(0.9, 3, &[]).to_string(), "`sample` is 0, it must be at least one query");
        assert!(matches!(error(0.9, 0, &one), IndexError::Sample(SearchError::NoNeighbours)));
    }
}
