//! Search in a navigable graph of our own: for single lookups, the same bytes on every machine.
//!
//! The links are those of the bottom layer of HNSW (Malkov and Yashunin 2018, algorithms 2 and 4). Above
//! it are no further layers but k-means cells: a query starts at the points next to the nearest centroids.
//! With tens of dimensions the layers do not find a better start (Munyampirwa, Lakshman, Coleman 2024,
//! "Down with the hierarchy"), and cells give more: points of one cell lie side by side in memory, and a
//! customer from outside of the pool starts at the edge that it is nearest to.
//!
//! Points enter in batches that grow with the graph, in the order of a hash, against what is there, so
//! that any number of threads builds the same graph (see `build`). Copies of one vector are one node: they
//! would fill each other's links and cut each other off. Distances that steer are sums over sixteen lanes;
//! what is returned has the distances of the one kernel of all indexes.

mod build;
mod rows;

use super::desks::Desks;
use super::index::{
    IndexError, NeighbourIndex, Neighbours, SearchError, Tunable, check_points, check_queries,
};
use super::nearest::Nearest;
use crate::numerics::blocks::{Blocks, LANES, VACANT};
use crate::numerics::pages::in_huge_pages;
use crate::numerics::simd::{Kernel, prefetch, widest};
use rows::{Lane, Rows};

/// Cells whose middle a search starts at.
const STARTS: usize = 4;
/// The widest search of a graph: wider ones cost more than exact ones.
pub(super) const WIDEST: usize = 4096;
/// Found beyond `k`, because the steering distance may differ in its last bits.
const MARGIN: usize = 4;

/// The shape of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphOptions {
    /// Links of a point a layer (M in the paper), 2 to 256.
    pub connections: usize,
    /// Width of the search that finds a new point's links (efConstruction in the paper).
    pub build_width: usize,
}

impl Default for GraphOptions {
    /// M 16 and efConstruction 100.
    fn default() -> Self {
        Self { connections: 16, build_width: 100 }
    }
}

impl GraphOptions {
    /// Refuses what no graph can be built with.
    pub(super) fn check(&self) -> Result<(), IndexError> {
        if !(2..=256).contains(&self.connections) {
            let (value, expected) = (self.connections as f64, "from 2 to 256");
            return Err(IndexError::Option { option: "connections", value, expected });
        }
        if self.build_width == 0 {
            return Err(IndexError::Option { option: "build_width", value: 0.0, expected: "at least 1" });
        }
        Ok(())
    }
}

/// A pool as a graph of its distinct points.
pub struct Graph {
    dims: usize,
    /// Node by node, cell by cell.
    rows: Rows,
    links: Links,
    centroids: Blocks,
    /// The node in the middle of each cell.
    middles: Vec<u32>,
    /// Pool positions of node `i`: `positions[firsts[i]..firsts[i + 1]]`.
    positions: Vec<u32>,
    firsts: Vec<u32>,
    width: usize,
    /// What searches need besides, from one to the next.
    desks: Desks<Desk>,
}

/// The links of every node: a fixed number of slots, [`VACANT`] after the last.
pub(super) struct Links {
    slots: usize,
    /// Where the first node's begin: at a line of memory, so that sixteen links are one.
    first: usize,
    nodes: Vec<u32>,
}

/// The memory of a search. One byte a node.
#[derive(Default)]
pub(super) struct Desk {
    /// Nodes seen in this search have its number.
    seen: Vec<u8>,
    search: u8,
    /// The nearest so far, nearest first: distance, node, and whether its links were followed.
    beam: Vec<u64>,
    fresh: Vec<u32>,
    keys: Vec<u64>,
    query: Vec<Lane>,
    ranks: Vec<f32>,
}

impl Graph {
    /// Links row-major points of `dims` columns on `threads` threads; searches 64 wide until told
    /// otherwise. Cost: a search a point, 0.05 ms of one core at 200,000 × 16 with a build width of 200.
    /// Memory: 64 bytes each 16 dimensions and 8 × `connections` a point.
    pub fn build(
        points: &[f32],
        dims: usize,
        options: GraphOptions,
        seed: u64,
        threads: usize,
    ) -> Result<Self, IndexError> {
        check_points(points, dims)?;
        options.check()?;
        build::build(points, dims, options, seed, threads.max(1))
    }

    /// The nodes nearest to a query, in `desk.beam`.
    fn walk(&self, query: &[f32], width: usize, desk: &mut Desk) {
        let mut ranks = std::mem::take(&mut desk.ranks);
        ranks.resize(self.centroids.blocks() * LANES, 0.0);
        self.centroids.distances(query, 0..self.centroids.blocks(), &mut ranks);
        let mut starts = [(f32::INFINITY, VACANT); STARTS];
        for (distance, middle) in ranks.iter().zip(&self.middles) {
            if *distance < starts[STARTS - 1].0 {
                let place = starts.partition_point(|(other, _)| *other <= *distance);
                starts.copy_within(place..STARTS - 1, place + 1);
                starts[place] = (*distance, *middle);
            }
        }
        desk.ranks = ranks;
        let starts = starts.map(|(_, middle)| middle);
        let used = starts.iter().take_while(|middle| **middle != VACANT).count();
        // Distances that overflow rank nothing.
        let starts = if used == 0 { &self.middles[..1] } else { &starts[..used] };
        let mut lanes = std::mem::take(&mut desk.query);
        self.rows.pad(query, &mut lanes);
        widest(Walk { rows: &self.rows, links: &self.links, query: &lanes, starts, width, desk });
        desk.query = lanes;
    }
}

/// The points of nodes, with the distances that are returned.
struct Offer<'a> {
    graph: &'a Graph,
    beam: &'a [u64],
    query: &'a [f32],
    best: &'a mut Nearest,
}

impl Kernel for Offer<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { graph, beam, query, best } = self;
        for key in beam {
            let node = node_of(*key);
            let distance = graph.rows.distance(query, node);
            for position in &graph.positions[graph.firsts[node] as usize..graph.firsts[node + 1] as usize] {
                best.offer(0, *position, distance);
            }
        }
    }
}

impl Tunable for Graph {
    fn effort(&self) -> usize {
        self.width
    }

    fn set_effort(&mut self, width: usize) {
        self.width = width.clamp(1, self.most_effort());
    }

    fn most_effort(&self) -> usize {
        self.rows.len().min(WIDEST)
    }
}

impl NeighbourIndex for Graph {
    fn len(&self) -> usize {
        self.positions.len()
    }

    fn dims(&self) -> usize {
        self.dims
    }

    fn search(
        &self,
        queries: &[f32],
        k: usize,
        exclude: Option<&[u32]>,
        out: &mut Neighbours,
    ) -> Result<(), SearchError> {
        let dims = self.dims;
        check_queries(queries, dims, k, exclude)?;
        out.begin(k);
        self.desks.lend(|desk| {
            let width = self.width.max(k.saturating_add(MARGIN)).min(self.rows.len());
            for (index, query) in queries.chunks_exact(dims).enumerate() {
                let mut best = Nearest::new(1, k, exclude.map(|all| &all[index..=index]));
                self.walk(query, width, desk);
                // One more, in case that the excluded point is among them.
                desk.beam.truncate(k.saturating_add(MARGIN + 1));
                widest(Offer { graph: self, beam: &desk.beam, query, best: &mut best });
                if !best.is_full(0, self.len()) {
                    // The graph does not reach as many from here.
                    best = Nearest::new(1, k, exclude.map(|all| &all[index..=index]));
                    let all: Vec<u64> = (0..self.rows.len() as u32).map(|node| key_of(0.0, node)).collect();
                    widest(Offer { graph: self, beam: &all, query, best: &mut best });
                }
                out.extend(&mut best);
            }
        });
        Ok(())
    }
}

impl Links {
    fn new(nodes: usize, slots: usize) -> Self {
        let mut all = in_huge_pages::<u32>(nodes * slots + LANES);
        let first = all.as_ptr().align_offset(LANES * size_of::<u32>()).min(LANES);
        all.resize(first + nodes * slots, VACANT);
        Self { slots, first, nodes: all }
    }

    #[inline(always)]
    fn of(&self, node: usize) -> &[u32] {
        &self.nodes[self.first + node * self.slots..][..self.slots]
    }

    #[inline(always)]
    fn prefetch(&self, node: usize) {
        self.of(node).iter().step_by(LANES).for_each(prefetch);
    }

    /// The links of a node without the empty slots.
    fn used(&self, node: usize) -> &[u32] {
        let slots = self.of(node);
        &slots[..slots.iter().position(|link| *link == VACANT).unwrap_or(slots.len())]
    }

    fn set(&mut self, node: usize, links: &[u32]) {
        let slots = &mut self.nodes[self.first + node * self.slots..][..self.slots];
        slots[..links.len()].copy_from_slice(links);
        slots[links.len()..].fill(VACANT);
    }
}

impl Desk {
    /// Forgets what was seen.
    fn begin(&mut self, nodes: usize) {
        self.search = self.search.wrapping_add(1);
        if self.search == 0 || self.seen.len() != nodes {
            self.seen.clear();
            self.seen.resize(nodes, 0);
            self.search = 1;
        }
        self.beam.clear();
    }
}

/// A node in the beam. Distances are not negative, so integers order by (distance, node); the lowest bit
/// says that its links were followed, and setting it moves nothing, because the next node is two away.
#[inline(always)]
fn key_of(distance: f32, node: u32) -> u64 {
    u64::from(distance.to_bits()) << 32 | u64::from(node) << 1
}

#[inline(always)]
pub(super) fn node_of(key: u64) -> usize {
    (key as u32 >> 1) as usize
}

/// A best-first search that keeps the `width` nearest (algorithm 2).
pub(super) struct Walk<'a> {
    pub rows: &'a Rows,
    pub links: &'a Links,
    pub query: &'a [Lane],
    pub starts: &'a [u32],
    pub width: usize,
    pub desk: &'a mut Desk,
}

impl Kernel for Walk<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { rows, links, query, starts, width, desk } = self;
        desk.begin(rows.len());
        let Desk { seen, search, beam, fresh, keys, .. } = desk;
        let mut next = usize::MAX;
        let mut from = starts;
        loop {
            // What was not seen, first: the distances after it then wait for memory together.
            fresh.clear();
            for node in from {
                if *node == VACANT {
                    break;
                }
                let mark = &mut seen[*node as usize];
                if *mark != *search {
                    *mark = *search;
                    rows.prefetch(*node as usize);
                    fresh.push(*node);
                }
            }
            // What the next step reads unless this one finds a nearer point, and the links of the one after.
            let soon = not_followed(beam, next.wrapping_add(1));
            if let Some(key) = beam.get(soon) {
                for node in links.of(node_of(*key)) {
                    if *node == VACANT {
                        break;
                    }
                    rows.prefetch(*node as usize);
                }
                if let Some(key) = beam.get(not_followed(beam, soon + 1)) {
                    links.prefetch(node_of(*key));
                }
            }
            let mut nearest = usize::MAX;
            keys.clear();
            rows.keys(query, fresh, keys);
            for key in keys.iter().copied() {
                let full = beam.len() == width;
                if full && beam.last().is_some_and(|last| *last <= key) {
                    continue;
                }
                links.prefetch(node_of(key));
                let place = beam.partition_point(|other| *other < key);
                if full {
                    beam.pop();
                }
                beam.insert(place, key);
                nearest = nearest.min(place);
            }
            next = not_followed(beam, nearest.min(next.saturating_add(1)));
            let Some(key) = beam.get_mut(next) else { return };
            *key |= 1;
            from = links.of(node_of(*key));
        }
    }
}

/// The first place from `at` on whose links were not followed, or one behind the beam.
#[inline(always)]
fn not_followed(beam: &[u64], mut at: usize) -> usize {
    while at < beam.len() && beam[at] & 1 == 1 {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests;
