//! Builds the graph: the same for any number of threads.
//!
//! A batch of points searches the graph as it was before the batch, so its points can be searched for side
//! by side; what they would have found in each other comes from the points of the same cell in the same
//! batch, which are all compared. Each point is linked to at most M of what it found, then the links back
//! are sorted by target, and a target with too many keeps those that the heuristic chooses.

use super::super::cells;
use super::super::desks::Desks;
use super::super::index::IndexError;
use super::rows::{Rows, between};
use super::{Desk, Graph, GraphOptions, Links, Walk, node_of};
use crate::numerics::blocks::Blocks;
use crate::numerics::random::hash_u64;
use crate::numerics::simd::{Kernel, widest};

/// A batch is this part of the graph at the most.
const GROWTH: usize = 8;

/// What does not change while the graph grows.
struct Plan<'a> {
    rows: &'a Rows,
    /// The cell of each node, and the node in the middle of each cell.
    cells: &'a [u32],
    middles: &'a [u32],
    options: GraphOptions,
    threads: usize,
}

pub(super) fn build(
    points: &[f32],
    dims: usize,
    options: GraphOptions,
    seed: u64,
    threads: usize,
) -> Result<Graph, IndexError> {
    let n = points.len() / dims;
    let centroids = cells::train(points, dims, n.isqrt(), seed, threads)?;
    let (labels, _) = cells::assign(points, dims, &centroids, threads);
    // Cell by cell, copies side by side. Adding 0.0 makes one zero of two.
    let row = |position: u32| points[position as usize * dims..][..dims].iter().map(|value| value + 0.0);
    let mut positions: Vec<u32> = (0..n as u32).collect();
    positions.sort_unstable_by(|a, b| {
        let by_cell = labels[*a as usize].cmp(&labels[*b as usize]);
        let by_value = || {
            let differ = row(*a).zip(row(*b)).map(|(a, b)| a.total_cmp(&b)).find(|order| order.is_ne());
            differ.unwrap_or(a.cmp(b))
        };
        by_cell.then_with(by_value)
    });
    let (mut firsts, mut node_cells, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for (at, position) in positions.iter().enumerate() {
        let label = labels[*position as usize];
        if at > 0 && kept.last() == Some(&label) && row(positions[at - 1]).eq(row(*position)) {
            continue;
        }
        if kept.last() != Some(&label) {
            kept.push(label);
        }
        firsts.push(at as u32);
        node_cells.push(kept.len() as u32 - 1);
    }
    let rows = Rows::gather(points, dims, firsts.iter().map(|at| positions[*at as usize]));
    firsts.push(n as u32);
    let centroids = Blocks::from_slots(&centroids, dims, &kept);
    let middles = middles(&rows, &centroids, &node_cells);
    let plan = Plan { rows: &rows, cells: &node_cells, middles: &middles, options, threads };
    let links = plan.link(seed);
    Ok(Graph {
        dims,
        links,
        centroids,
        middles,
        positions,
        firsts,
        width: 64.min(rows.len()),
        rows,
        desks: Desks::default(),
    })
}

/// The node nearest to the centroid of each cell, the first of several.
fn middles(rows: &Rows, centroids: &Blocks, cells: &[u32]) -> Vec<u32> {
    let mut centroid = vec![0.0; centroids.dims()];
    let mut node = 0;
    let mut middles = Vec::new();
    for same in cells.chunk_by(|a, b| a == b) {
        centroids.copy_point(same[0] as usize, &mut centroid);
        let nearest = (node..node + same.len())
            .min_by(|a, b| rows.distance(&centroid, *a).total_cmp(&rows.distance(&centroid, *b)));
        middles.extend(nearest.map(|nearest| nearest as u32));
        node += same.len();
    }
    middles
}

impl Plan<'_> {
    fn link(&self, seed: u64) -> Links {
        let nodes = self.rows.len();
        let mut links = Links::new(nodes, 2 * self.options.connections);
        // The middles of cells first, because searches start there; then in the order of a hash.
        let mut order: Vec<u32> = (0..nodes as u32).collect();
        let is_middle = |node: u32| self.middles[self.cells[node as usize] as usize] == node;
        order.sort_by_cached_key(|node| (!is_middle(*node), hash_u64(u64::from(*node), seed)));
        let (first, mut rest) = order.split_at(self.middles.len());
        let mut there = first.len();
        self.enter(first, &mut links, true);
        while !rest.is_empty() {
            let (batch, later) = rest.split_at((there / GROWTH).clamp(1, rest.len()));
            self.enter(batch, &mut links, false);
            there += batch.len();
            rest = later;
        }
        links
    }

    /// Links a batch to the graph and to itself. The points of the `first` batch are all compared.
    fn enter(&self, batch: &[u32], links: &mut Links, first: bool) {
        let mut batch = batch.to_vec();
        batch.sort_unstable();
        let part = batch.len().div_ceil(self.threads).max(1);
        let (all, graph) = (&batch[..], &*links);
        let found: Vec<Vec<Vec<u32>>> = std::thread::scope(|scope| {
            let run = |part| widest(Forward { plan: self, links: graph, batch: all, part, first });
            let handles: Vec<_> = all.chunks(part).map(|part| scope.spawn(move || run(part))).collect();
            handles.into_iter().map(joined).collect()
        });
        let mut back: Vec<(u32, u32)> = Vec::new();
        for (node, chosen) in batch.iter().zip(found.into_iter().flatten()) {
            back.extend(chosen.iter().map(|target| (*target, *node)));
            links.set(*node as usize, &chosen);
        }
        back.sort_unstable();
        let targets: Vec<&[(u32, u32)]> = back.chunk_by(|a, b| a.0 == b.0).collect();
        let part = targets.len().div_ceil(self.threads).max(1);
        let graph = &*links;
        let found: Vec<Vec<Vec<u32>>> = std::thread::scope(|scope| {
            let run = |part| widest(Back { plan: self, links: graph, targets: part });
            let handles: Vec<_> = targets.chunks(part).map(|part| scope.spawn(move || run(part))).collect();
            handles.into_iter().map(joined).collect()
        });
        for (target, chosen) in targets.iter().zip(found.into_iter().flatten()) {
            links.set(target[0].0 as usize, &chosen);
        }
    }

    /// Of candidates, nearest first, those that are nearer to the point than to one already chosen, at
    /// most so many (algorithm 4): links in all directions instead of many in one.
    #[inline(always)]
    fn choose(&self, candidates: &[u64], most: usize, chosen: &mut Vec<u32>) {
        chosen.clear();
        for key in candidates {
            if chosen.len() == most {
                break;
            }
            let node = node_of(*key);
            let distance = f32::from_bits((key >> 32) as u32);
            let row = self.rows.of(node);
            let mut own_way = true;
            for other in chosen.iter() {
                own_way = own_way && between(row, self.rows.of(*other as usize)) > distance;
            }
            if own_way {
                chosen.push(node as u32);
            }
        }
    }
}

fn joined<T>(handle: std::thread::ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The links of some of a batch's points.
struct Forward<'a> {
    plan: &'a Plan<'a>,
    links: &'a Links,
    batch: &'a [u32],
    part: &'a [u32],
    first: bool,
}

impl Kernel for Forward<'_> {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    fn run(self) -> Vec<Vec<u32>> {
        let Self { plan, links, batch, part, first } = self;
        let Plan { rows, cells, middles, options, .. } = plan;
        let (mut desk, mut chosen) = (Desk::default(), Vec::new());
        let mut candidates: Vec<u64> = Vec::new();
        let mut all = Vec::with_capacity(part.len());
        for node in part {
            let query = rows.of(*node as usize);
            let cell = cells[*node as usize];
            candidates.clear();
            let beside = if first {
                batch
            } else {
                let starts = &middles[cell as usize..=cell as usize];
                Walk { rows, links, query, starts, width: options.build_width, desk: &mut desk }.run();
                candidates.extend(desk.beam.iter().map(|key| key & !1));
                let begin = batch.partition_point(|other| cells[*other as usize] < cell);
                let end = batch.partition_point(|other| cells[*other as usize] <= cell);
                &batch[begin..end]
            };
            rows.keys(query, beside, &mut candidates);
            candidates.retain(|key| node_of(*key) != *node as usize);
            candidates.sort_unstable();
            candidates.truncate(options.build_width);
            plan.choose(&candidates, options.connections, &mut chosen);
            all.push(chosen.clone());
        }
        all
    }
}

/// The links of points that a batch is linked to.
struct Back<'a> {
    plan: &'a Plan<'a>,
    links: &'a Links,
    /// Pairs of target and source, by target.
    targets: &'a [&'a [(u32, u32)]],
}

impl Kernel for Back<'_> {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    fn run(self) -> Vec<Vec<u32>> {
        let Self { plan, links, targets } = self;
        let mut candidates: Vec<u64> = Vec::new();
        let mut chosen = Vec::new();
        let mut all = Vec::with_capacity(targets.len());
        for pairs in targets {
            let target = pairs[0].0 as usize;
            let known = links.used(target);
            let new = pairs.iter().map(|(_, source)| *source).filter(|source| !known.contains(source));
            let mut together: Vec<u32> = known.iter().copied().chain(new).collect();
            if together.len() > links.slots {
                let row = plan.rows.of(target);
                candidates.clear();
                plan.rows.keys(row, &together, &mut candidates);
                candidates.sort_unstable();
                plan.choose(&candidates, links.slots, &mut chosen);
                together.clone_from(&chosen);
            }
            all.push(together);
        }
        all
    }
}
