//! What every index must do, asked of all of them.

use super::cells::Cells;
use super::exact::Exact;
use super::graph::{Graph, GraphOptions};
use super::hnsw::Hnsw;
use super::index::{IndexError, NOTHING, NeighbourIndex, Neighbours, SearchError, Tunable};
use super::lists::Lists;
use crate::numerics::random::generator;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

type Built = Result<Box<dyn NeighbourIndex>, IndexError>;

type Build = fn(&[f32], usize) -> Built;

/// Name, builder, and whether its answers are exact.
const INDEXES: [(&str, Build, bool); 7] = [
    ("exact", |points, dims| Ok(Box::new(Exact::build(points, dims)?)), true),
    ("all cells", |points, dims| Ok(Box::new(Cells::build(points, dims, None, 3, 2)?)), true),
    ("some cells", |points, dims| Ok(Box::new(some_cells(points, dims)?)), false),
    ("all of lists", |points, dims| Ok(Box::new(lists(points, dims)?)), true),
    ("some of lists", |points, dims| Ok(Box::new(some_of_lists(points, dims)?)), false),
    ("graph", |points, dims| Ok(Box::new(Graph::build(points, dims, GraphOptions::default(), 3, 2)?)), false),
    ("hnsw", |points, dims| Ok(Box::new(Hnsw::build(points, dims, GraphOptions::default())?)), false),
];

fn some_cells(points: &[f32], dims: usize) -> Result<Cells, IndexError> {
    let mut cells = Cells::build(points, dims, None, 3, 1)?;
    cells.set_effort(cells.most_effort() / 2);
    Ok(cells)
}

fn lists(points: &[f32], dims: usize) -> Result<Lists, IndexError> {
    Lists::build(some_cells(points, dims)?, &customers(900, dims, 7), 9, 3, 2)
}

fn some_of_lists(points: &[f32], dims: usize) -> Result<Lists, IndexError> {
    let mut lists = lists(points, dims)?;
    lists.set_effort(lists.most_effort() / 2);
    Ok(lists)
}

/// Customer-like rows: ten skewed groups of different spread. Another key gives other customers of the
/// same groups.
pub fn customers(n: usize, dims: usize, key: u64) -> Vec<f32> {
    let mut shape = generator(1, "groups", 0);
    let groups: Vec<(Vec<f32>, f32)> = (0..10)
        .map(|_| ((0..dims).map(|_| shape.gen_range(-2.0..2.0f32)).collect(), shape.gen_range(0.2..1.2f32)))
        .collect();
    let mut random = generator(2, "customers", key);
    let mut rows = Vec::with_capacity(n * dims);
    for _ in 0..n {
        let group = &groups[random.gen_range(0..10usize).min(random.gen_range(0..10usize))];
        for centre in &group.0 {
            let noise: f32 = StandardNormal.sample(&mut random);
            rows.push(centre + group.1 * noise * noise.abs().sqrt());
        }
    }
    rows
}

/// The nearest by definition: all distances in f64, sorted, no kernel of ours.
fn brute_force(points: &[f32], dims: usize, query: &[f32], k: usize, exclude: u32) -> Vec<u32> {
    let mut all: Vec<(f64, u32)> = points
        .chunks_exact(dims)
        .enumerate()
        .map(|(position, point)| {
            let squares = point.iter().zip(query).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            (squares.sum(), position as u32)
        })
        .filter(|&(_, position)| position != exclude)
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    all.into_iter().take(k).map(|(_, position)| position).collect()
}

fn search(index: &dyn NeighbourIndex, queries: &[f32], k: usize, exclude: Option<&[u32]>) -> Neighbours {
    let mut out = Neighbours::new();
    index.search(queries, k, exclude, &mut out).expect("valid queries");
    out
}

#[test]
fn a_planted_answer_is_found_first() {
    let dims = 8;
    let mut points = customers(3000, dims, 1);
    let query = vec![40.0; dims];
    // Three points near a query that is far from all others, the nearest in the middle.
    for (position, offset) in [(17, 0.5), (1500, 0.1), (2999, 0.3)] {
        points[position * dims..][..dims].fill(40.0 + offset);
    }
    for (name, build, _) in INDEXES {
        let index = build(&points, dims).expect("points");
        assert_eq!((index.len(), index.dims(), index.is_empty()), (3000, dims, false));
        let out = search(&*index, &query, 3, None);
        assert_eq!(out.of(0).0, [1500, 2999, 17], "{name}");
        assert!((out.of(0).1[0] - 0.08).abs() < 1e-4, "{name}: {:?}", out.of(0).1);
    }
}

#[test]
fn answers_equal_brute_force_where_exact_and_nearly_elsewhere() {
    let (n, dims, k) = (4000, 16, 20);
    let points = customers(n, dims, 1);
    // Members of the pool, each excluding itself, and customers who are not.
    let mut queries = points[..60 * dims].to_vec();
    queries.extend(customers(240, dims, 2));
    let exclude: Vec<u32> = (0..300).map(|query| if query < 60 { query } else { NOTHING }).collect();
    for (name, build, is_exact) in INDEXES {
        let out = search(&*build(&points, dims).expect("points"), &queries, k, Some(&exclude));
        let mut hits = 0;
        for (query, row) in queries.chunks_exact(dims).enumerate() {
            let truth = brute_force(&points, dims, row, k, exclude[query]);
            let (found, distances) = out.of(query);
            assert_eq!(found.len(), k, "{name}");
            assert!(distances.is_sorted(), "{name}");
            assert!(!found.contains(&exclude[query]), "{name} returned the excluded point");
            hits += found.iter().filter(|position| truth.contains(position)).count();
        }
        let recall = hits as f64 / (300 * k) as f64;
        // f32 and f64 may disagree on which of two all but equal points is the twentieth.
        let wanted = if is_exact { 0.9999 } else { 0.9 };
        assert!(recall >= wanted, "{name}: recall {recall}");
    }
}

#[test]
fn exact_and_all_cells_agree_to_the_bit() {
    // In one dimension on a fine grid the bounds that skip cells are as tight as they can be.
    let cases = [(1, 1, 3, 4.0), (15, 2, 4, 4.0), (900, 3, 7, 4.0), (5000, 16, 20, 4.0), (700, 37, 5, 4.0)];
    for (n, dims, k, grid) in cases.into_iter().chain([(3000, 1, 100, 256.0), (3000, 2, 100, 256.0)]) {
        // Rounded, so that many distances tie; far from the origin, so that rounding matters.
        let place = |x: &mut f32| *x = (*x * grid).round() / grid + 1000.1;
        let (mut points, mut queries) = (customers(n, dims, 1), customers(200, dims, 2));
        points.iter_mut().for_each(place);
        queries.iter_mut().for_each(place);
        let exact = search(&Exact::build(&points, dims).expect("points"), &queries, k, None);
        for cells in [None, Some(1), Some(n), Some(n / 7 + 1)] {
            let index = Cells::build(&points, dims, cells, 9, 2).expect("points");
            assert_eq!(exact, search(&index, &queries, k, None), "n = {n}, dims = {dims}, cells {cells:?}");
        }
    }
}

#[test]
fn a_batch_equals_single_queries() {
    let dims = 5;
    let (points, queries) = (customers(2500, dims, 1), customers(131, dims, 2));
    let exclude: Vec<u32> = (0..131).map(|query| query * 19).collect();
    for (name, build, _) in INDEXES {
        let index = build(&points, dims).expect("points");
        let batch = search(&*index, &queries, 6, Some(&exclude));
        for (query, row) in queries.chunks_exact(dims).enumerate() {
            let single = search(&*index, row, 6, Some(&exclude[query..=query]));
            assert_eq!(batch.of(query), single.of(0), "{name}, query {query}");
        }
        assert_eq!(search(&*index, &[], 6, None).queries(), 0, "{name}");
    }
}

#[test]
fn asking_for_more_than_there_is_gives_all_others() {
    let dims = 3;
    let points = customers(40, dims, 1);
    for (name, build, _) in INDEXES {
        let index = build(&points, dims).expect("points");
        let out = search(&*index, &points[..2 * dims], 50, Some(&[0, NOTHING]));
        for (query, expected) in [(0, 39), (1, 40)] {
            let mut found = out.of(query).0.to_vec();
            assert_eq!(found.len(), expected, "{name}");
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), expected, "{name} returned a point twice");
            assert!(query == 1 || !found.contains(&0), "{name}");
        }
    }
}

#[test]
fn few_probes_still_give_k_answers() {
    let dims = 4;
    let (points, queries) = (customers(1000, dims, 1), customers(50, dims, 2));
    let mut index = Cells::build(&points, dims, Some(100), 3, 1).expect("points");
    index.set_effort(1);
    let out = search(&index, &queries, 300, None);
    assert!((0..50).all(|query| out.of(query).0.len() == 300));
}

#[test]
fn copies_of_one_vector_are_all_reachable() {
    let dims = 4;
    let mut points = customers(600, dims, 1);
    for position in 100..400 {
        points.copy_within(50 * dims..51 * dims, position * dims);
    }
    let query = points[50 * dims..51 * dims].to_vec();
    let expected: Vec<u32> = std::iter::once(50).chain(100..350).collect();
    for (name, build, is_exact) in INDEXES {
        let out = search(&*build(&points, dims).expect("points"), &query, 251, None);
        let (found, distances) = out.of(0);
        assert_eq!(found.len(), 251, "{name}");
        if is_exact || name == "some cells" {
            assert_eq!(found, expected, "{name}: equal distances come in order of position");
            assert!(distances.iter().all(|&distance| distance == 0.0), "{name}");
        }
    }
}

#[test]
fn two_builds_on_any_threads_answer_the_same() {
    let dims = 6;
    let (points, queries) = (customers(6000, dims, 1), customers(200, dims, 2));
    for (name, build, _) in INDEXES {
        let first = search(&*build(&points, dims).expect("points"), &queries, 9, None);
        let again = search(&*build(&points, dims).expect("points"), &queries, 9, None);
        assert_eq!(first, again, "{name}");
    }
    let cells = |threads, seed| {
        let mut index = Cells::build(&points, dims, None, seed, threads).expect("points");
        index.set_effort(index.most_effort() / 20);
        search(&index, &queries, 9, None)
    };
    assert_eq!(cells(1, 3), cells(5, 3));
    let of_lists = |threads| {
        let cells = Cells::build(&points, dims, None, 3, threads).expect("points");
        let mut lists = Lists::build(cells, &customers(900, dims, 7), 9, 3, threads).expect("points");
        lists.set_effort(lists.most_effort() / 2);
        search(&lists, &queries, 9, None)
    };
    assert_eq!(of_lists(1), of_lists(5));
    assert_ne!(cells(1, 3), cells(1, 4), "the seed decides the cells");
}

#[test]
fn bad_points_and_queries_are_errors_that_name_the_place() {
    for (name, build, _) in INDEXES {
        let refused = |points: &[f32], dims| build(points, dims).err().expect(name).to_string();
        assert_eq!(refused(&[], 2), "the pool is empty");
        assert_eq!(refused(&[1.0], 0), "the points have no dimensions");
        assert_eq!(refused(&[1.0; 5], 2), "5 values do not fill points of 2 dimensions");
        let nan = refused(&[0.0, 1.0, f32::NAN, 3.0], 2);
        assert_eq!(nan, "point 1, dimension 0 is NaN, not a finite number");

        let index = build(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2).expect("points");
        let mut out = Neighbours::new();
        let mut error =
            |queries: &[f32], k, exclude| index.search(queries, k, exclude, &mut out).unwrap_err();
        let wrong = error(&[1.0; 3], 1, None);
        assert_eq!(wrong, SearchError::Dimensions { values: 3, dims: 2 }, "{name}");
        let infinite = error(&[1.0, 1.0, 1.0, f32::NEG_INFINITY], 1, None);
        assert_eq!(infinite.to_string(), "query 1, dimension 1 is -inf, not a finite number", "{name}");
        assert_eq!(error(&[1.0, 1.0], 0, None), SearchError::NoNeighbours, "{name}");
        let exclusions = error(&[1.0, 1.0], 1, Some(&[1, 2]));
        assert_eq!(exclusions, SearchError::Exclusions { given: 2, queries: 1 }, "{name}");
    }
}

#[test]
fn distances_that_overflow_are_still_neighbours() {
    let points = [3e30f32, 1e30, -2e30, 0.0];
    for (name, build, _) in INDEXES {
        let index = build(&points, 1).expect("points");
        let out = search(&*index, &[0.0], 4, None);
        assert_eq!(out.of(0).0, [3, 0, 1, 2], "{name}: infinite distances tie and go by position");
    }
}
