use super::super::conformance::customers;
use super::super::exact::Exact;
use super::*;

fn graph(points: &[f32], dims: usize, threads: usize) -> Graph {
    Graph::build(points, dims, GraphOptions::default(), 7, threads).expect("points")
}

fn found(index: &dyn NeighbourIndex, queries: &[f32], k: usize) -> Neighbours {
    let mut out = Neighbours::new();
    index.search(queries, k, None, &mut out).expect("queries");
    out
}

#[test]
fn threads_do_not_show() {
    let points = customers(3000, 16, 1);
    let one = graph(&points, 16, 1);
    for threads in [2, 3, 7] {
        let other = graph(&points, 16, threads);
        let same = (0..one.rows.len()).all(|node| one.links.of(node) == other.links.of(node));
        assert!(same && one.positions == other.positions, "{threads}");
    }
}

#[test]
fn distances_are_those_of_exact_search_to_the_bit_and_most_neighbours_are_found() {
    for dims in [1, 7, 16, 37] {
        let points = customers(5000, dims, 1);
        let queries = customers(300, dims, 2);
        let index = graph(&points, dims, 2);
        let exact = Exact::build(&points, dims).expect("points");
        let (found, truth) = (found(&index, &queries, 10), found(&exact, &queries, 10));
        let mut hits = 0;
        for query in 0..300 {
            let (positions, distances) = truth.of(query);
            for (position, distance) in found.of(query).0.iter().zip(found.of(query).1) {
                if let Some(at) = positions.iter().position(|other| other == position) {
                    assert_eq!(distances[at].to_bits(), distance.to_bits(), "{dims} dimensions");
                    hits += 1;
                }
            }
        }
        assert!(hits >= 2900, "{dims} dimensions: {hits} of 3000");
    }
}

struct Keys<'a> {
    rows: &'a Rows,
    query: &'a [Lane],
    nodes: &'a [u32],
}

impl Kernel for Keys<'_> {
    type Output = Vec<u64>;

    #[inline(always)]
    fn run(self) -> Vec<u64> {
        let mut keys = Vec::new();
        self.rows.keys(self.query, self.nodes, &mut keys);
        keys
    }
}

#[test]
fn distances_that_steer_depend_neither_on_those_beside_them_nor_on_instructions() {
    for dims in [3, 16, 37] {
        let rows = Rows::gather(&customers(60, dims, 1), dims, 0..60);
        let mut query = Vec::new();
        rows.pad(&customers(1, dims, 2), &mut query);
        let nodes: Vec<u32> = (0..59).map(|at| at * 7 % 60).collect();
        let keys = widest(Keys { rows: &rows, query: &query, nodes: &nodes });
        for (count, key) in keys.iter().enumerate() {
            let alone = Keys { rows: &rows, query: &query, nodes: &nodes[count..=count] }.run();
            assert_eq!(alone, [*key], "{dims} dimensions, node {}", nodes[count]);
            let distance = f32::from_bits((key >> 32) as u32);
            let pair = rows::between(&query, rows.of(nodes[count] as usize));
            assert_eq!(pair.to_bits(), distance.to_bits());
        }
    }
}

#[test]
fn one_search_leaves_nothing_for_the_next() {
    let points = customers(2000, 8, 1);
    let queries = customers(700, 8, 2);
    let index = graph(&points, 8, 1);
    let together = found(&index, &queries, 5);
    // More searches than a mark has values.
    for (query, row) in queries.chunks_exact(8).enumerate() {
        assert_eq!(found(&index, row, 5).of(0), together.of(query), "query {query}");
    }
}

#[test]
fn copies_are_found_and_hide_nobody() {
    // 500 copies of one point, with both zeros, among others.
    let mut points = customers(1000, 2, 1);
    points.extend([[0.0f32, 1.0], [-0.0, 1.0]].concat().repeat(250));
    let index = graph(&points, 2, 2);
    let out = found(&index, &[0.0, 1.0], 500);
    assert!(out.of(0).1.iter().all(|distance| *distance == 0.0));
    assert!((1000..1500).eq(out.of(0).0.iter().copied()));
    let exact = Exact::build(&points, 2).expect("points");
    assert_eq!(found(&index, &[0.0, 1.0], 520), found(&exact, &[0.0, 1.0], 520));
}

#[test]
fn distances_that_overflow_are_still_answered() {
    let index = graph(&[1e30, 2e30, -1e30], 1, 1);
    let out = found(&index, &[-3e30], 3);
    assert_eq!(out.of(0).0.len(), 3);
    assert!(out.of(0).1.iter().all(|distance| distance.is_infinite()));
}

#[test]
fn shapes_that_no_graph_can_have_are_refused() {
    for (connections, build_width, wrong) in
        [(1, 100, "connections"), (257, 100, "connections"), (16, 0, "build_width")]
    {
        let options = GraphOptions { connections, build_width };
        let error = Graph::build(&[0.0, 1.0], 1, options, 0, 1).err().expect("refused").to_string();
        assert!(error.starts_with(&format!("`{wrong}` is ")), "{error}");
    }
}
