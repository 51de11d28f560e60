//! Candidates: the customers of high-revenue segments, bounded by hash, with what they buy.

use super::NeighbourError;
use super::calibrate::{self, Askers, BuildOptions, BuiltIndex, IndexKind, Sample};
use super::graph::GraphOptions;
use super::index::NOTHING;
use super::lists;
use super::packages::PackageLists;
use super::vectors::VectorModel;
use crate::config::Config;
use crate::config::resolve::{CandidateRule, IndexChoice};
use crate::engine::part::{PartFile, PartWriter, RunFolder, id_text};
use crate::engine::{Engine, workers};
use crate::features::Features;
use crate::numerics::sample::{HashSample, Sampled};
use crate::segments::part_view::{PartView, ranks};
use crate::segments::{Segments, scale_rows};
use crate::tables::{CustomerType, NEIGHBOUR_CANDIDATES};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Decides which customers are in a pool; other than the seed of the sample that models are fitted
/// on, so that the customers who measure recall are no likelier than others to be in the pool.
const POOL_SEED: u64 = 0x706f_6f6c;

/// A customer whose purchases are an example.
struct Candidate {
    vector: Box<[f32]>,
    /// Ranks.
    packages: Box<[u32]>,
    segment: u32,
}

/// Candidates with their index.
pub struct Pool {
    /// Position i is the candidate of index position i.
    members: Members,
    /// What each candidate bought.
    pub packages: PackageLists,
    pub built: BuiltIndex,
}

impl Pool {
    pub fn len(&self) -> usize {
        self.members.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.ids.is_empty()
    }

    /// A candidate's customer id.
    pub fn id(&self, position: u32) -> &[u8] {
        &self.members.ids[position as usize]
    }
}

/// Who the candidates are, in the order of their hashes. Memory: up to 16 bytes a candidate and its id.
struct Members {
    hashes: Vec<u64>,
    ids: Vec<Box<[u8]>>,
    /// The hashes are evenly spread, as they are the smallest of many: of about as many equal stretches up to the last
    /// one, where each begins.
    starts: Vec<u32>,
    /// Bits of a hash that do not tell its stretch.
    shift: u32,
}

impl Members {
    /// `hashes` ascend.
    fn new(hashes: Vec<u64>, ids: Vec<Box<[u8]>>) -> Self {
        let bits = |number: u64| u64::BITS - number.leading_zeros();
        let shift = bits(hashes.last().copied().unwrap_or(0)).saturating_sub(bits(hashes.len() as u64));
        let mut members = Self { hashes, ids, starts: Vec::new(), shift };
        for (at, hash) in members.hashes.iter().enumerate() {
            let stretch = members.stretch(*hash);
            if members.starts.len() <= stretch {
                members.starts.resize(stretch + 1, at as u32);
            }
        }
        members
    }

    fn stretch(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    /// Where a customer is; [`NOTHING`] if it is no member.
    fn position(&self, hash: u64, id: &[u8]) -> u32 {
        if self.hashes.last().is_none_or(|last| *last < hash) {
            return NOTHING;
        }
        (self.starts[self.stretch(hash)] as usize..self.hashes.len())
            .skip_while(|at| self.hashes[*at] < hash)
            .take_while(|at| self.hashes[*at] == hash)
            .find(|at| *self.ids[*at] == *id)
            .map_or(NOTHING, |at| at as u32)
    }
}

/// The figures of the index for summary and manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IndexQuality {
    pub candidates: usize,
    pub kind: String,
    pub recall: f64,
    pub recall_standard_error: f64,
    pub recall_queries: usize,
    pub recall_wanted: f64,
    pub reached: bool,
    pub effort: Option<usize>,
    pub why: String,
}

/// Pools, and which segment looks into which.
pub struct Neighbourhood {
    pub vectors: VectorModel,
    pub pools: Vec<Pool>,
    of_segment: Vec<Option<usize>>,
    hasher: HashSample<()>,
    pub table: PartFile,
    pub quality: Vec<IndexQuality>,
}

impl Neighbourhood {
    /// The pool that customers of a segment (from 0) look into.
    pub fn pool_of(&self, segment: u32) -> Option<usize> {
        self.of_segment.get(segment as usize).copied().flatten()
    }

    /// A customer's position in a pool, [`NOTHING`] if it is no member.
    pub fn position(&self, pool: usize, id: &[u8]) -> u32 {
        self.pools[pool].members.position(self.hasher.hash(id), id)
    }
}

/// Which segments form which pool: (segments in the pool, segments that look into it).
fn pools_by_rule(segments: &Segments, rule: CandidateRule) -> Vec<(Vec<u32>, Vec<u32>)> {
    let k = segments.model.k as u32;
    match rule {
        CandidateRule::RevenueShare => {
            let high = (0..k).filter(|s| segments.profiles[*s as usize].high_revenue).collect();
            vec![(high, (0..k).collect())]
        }
        CandidateRule::AboveOwn => {
            let each = |s: u32| segments.profiles[s as usize].revenue_per_customer;
            (0..k)
                .map(|own| {
                    let above: Vec<u32> = (0..k).filter(|other| each(*other) > each(own)).collect();
                    // Nobody is above the top segment: it learns from itself.
                    (if above.is_empty() { vec![own] } else { above }, vec![own])
                })
                .collect()
        }
    }
}

/// Collects candidates and builds the index. None when there is nobody to learn from. Memory: the
/// pools (about 0.5 KiB a candidate, a quarter more while they are collected) and a part for each thread.
pub fn build(
    features: &Features,
    segments: &Segments,
    config: &Config,
    engine: &Engine,
    folder: &RunFolder,
) -> Result<Option<Neighbourhood>, NeighbourError> {
    let settings = &config.neighbours;
    let scaled = &segments.sample_rows;
    let Some(vectors) = VectorModel::fit(
        &features.sample,
        scaled,
        segments.model.behaviour.dims(),
        features.packages.len(),
        settings,
        config.seed,
        engine.threads,
    )?
    else {
        return Ok(None);
    };
    let rule = pools_by_rule(segments, settings.candidates);
    let capacity = (settings.pool / rule.len()).max(1);
    let seed = config.seed ^ POOL_SEED;
    let samples: Vec<Mutex<HashSample<Candidate>>> =
        rule.iter().map(|_| Mutex::new(HashSample::new(capacity, seed))).collect();
    collect(features, segments, &vectors, &rule, &samples, settings.min_active_days as f64, engine, folder)?;

    let hasher = HashSample::new(1, seed);
    // Recall is measured on the first of the sample, which are as likely to be any customer as any other. The rest say where
    // customers are, if a pool has use for that.
    let measured = settings.recall_sample.min(features.sample.len());
    let (sample_vectors, sample_segments) = placed(features, segments, &vectors, 0..measured)?;
    let mut rest = None;
    let mut neighbourhood = Neighbourhood {
        of_segment: vec![None; segments.model.k],
        pools: Vec::new(),
        hasher,
        table: PartFile { path: String::new(), rows: 0, bytes: 0, checksum: String::new(), customers: None },
        quality: Vec::new(),
        vectors,
    };
    let mut candidates: std::collections::BTreeMap<Box<[u8]>, (u32, usize)> = Default::default();
    for (sample, (_, askers)) in samples.into_iter().zip(&rule) {
        let sampled = sample.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_sorted();
        if sampled.is_empty() {
            continue;
        }
        for one in &sampled {
            candidates.insert(one.key.clone(), (one.payload.segment, one.payload.packages.len()));
        }
        let dims = neighbourhood.vectors.dims();
        let queries: Vec<(usize, &[f32])> = sample_vectors
            .chunks_exact(dims)
            .enumerate()
            .filter(|(customer, _)| askers.contains(&sample_segments[*customer]))
            .collect();
        let count = askers.iter().map(|segment| segments.profiles[*segment as usize].customers).sum();
        let mut others = Vec::new();
        if lists::are_worth(sampled.len(), count, settings.k) {
            let (vectors, segments) = match &rest {
                Some(rest) => rest,
                None => {
                    let range = measured..features.sample.len();
                    rest.insert(placed(features, segments, &neighbourhood.vectors, range)?)
                }
            };
            for (vector, segment) in vectors.chunks_exact(dims).zip(segments) {
                if askers.contains(segment) {
                    others.extend_from_slice(vector);
                }
            }
        }
        let others = (!others.is_empty()).then_some(Askers { rows: &others, count });
        let asking = Asking { queries: &queries, others };
        let pool =
            build_pool(sampled, asking, features, dims, config, engine.threads, &neighbourhood.hasher)?;
        let (wanted, built) = (settings.recall, &pool.built);
        neighbourhood.quality.push(IndexQuality {
            candidates: pool.len(),
            kind: built.kind.to_string(),
            recall: built.measured_recall.mean,
            recall_standard_error: built.measured_recall.standard_error,
            recall_queries: built.measured_recall.queries,
            recall_wanted: wanted,
            reached: built.reached,
            effort: built.effort,
            why: built.why.clone(),
        });
        for asker in askers {
            neighbourhood.of_segment[*asker as usize] = Some(neighbourhood.pools.len());
        }
        neighbourhood.pools.push(pool);
    }
    if neighbourhood.pools.is_empty() {
        return Ok(None);
    }
    neighbourhood.table = write_candidates(candidates, folder, features.customer_type)?;
    Ok(Some(neighbourhood))
}

/// Vectors and segments of some customers of the sample.
fn placed(
    features: &Features,
    segments: &Segments,
    vectors: &VectorModel,
    range: Range<usize>,
) -> Result<(Vec<f32>, Vec<u32>), NeighbourError> {
    let dims = segments.model.behaviour.dims();
    let scaled = &segments.sample_rows[range.start * dims..range.end * dims];
    let mut distances = Vec::new();
    let placed = scaled.chunks_exact(dims);
    let placed = placed.map(|row| segments.model.place(row, &mut distances).segment as u32).collect();
    let bought: Vec<(Vec<u32>, Vec<f64>)> = features.sample[range]
        .iter()
        .map(|c| c.packages.iter().map(|(code, weight)| (*code, f64::from(*weight))).unzip())
        .collect();
    let rows = bought
        .iter()
        .enumerate()
        .map(|(customer, (codes, weights))| (&scaled[customer * dims..][..dims], &codes[..], &weights[..]));
    Ok((vectors.vectors(rows)?, placed))
}

#[expect(clippy::too_many_arguments, reason = "the pass over all parts, called once")]
fn collect(
    features: &Features,
    segments: &Segments,
    vectors: &VectorModel,
    rule: &[(Vec<u32>, Vec<u32>)],
    samples: &[Mutex<HashSample<Candidate>>],
    min_active_days: f64,
    engine: &Engine,
    folder: &RunFolder,
) -> Result<(), NeighbourError> {
    let ranks = ranks(features);
    let dims = vectors.dims();
    workers::for_each(
        engine.threads,
        features.parts.len(),
        || (PartView::default(), Vec::new()),
        |(last, scaled): &mut (PartView, Vec<f32>), number| {
            let (runtime, spent) = (engine.runtime.handle(), std::mem::take(last));
            let view = PartView::read(number, features, segments, &ranks, &[], folder, runtime, spent)?;
            let active = view.column("active_days");
            for (sample, (members, _)) in samples.iter().zip(rule) {
                let lock = || sample.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let wanted: Vec<(usize, String)> = {
                    let sample = lock();
                    (0..view.len())
                        .filter(|c| {
                            members.contains(&view.segments[*c]) && active.value(*c) >= min_active_days
                        })
                        .filter(|c| !view.bought(*c).is_empty())
                        .map(|customer| (customer, id_text(view.ids.as_ref(), customer)))
                        .filter(|(_, id)| sample.would_take(sample.hash(id.as_bytes())))
                        .collect()
                };
                // Few of all: nobody else is scaled.
                let behaviour = &segments.model.behaviour;
                scale_rows(view.columns(), wanted.iter().map(|(customer, _)| *customer), behaviour, scaled)?;
                let points =
                    vectors.vectors(wanted.iter().zip(scaled.chunks_exact(behaviour.dims())).map(
                        |((customer, _), scaled)| {
                            let bought = view.bought(*customer);
                            (scaled, &view.packages[bought.clone()], &view.weights[bought])
                        },
                    ))?;
                let mut sample = lock();
                for ((customer, id), point) in wanted.iter().zip(points.chunks_exact(dims)) {
                    sample.offer(id.as_bytes(), || Candidate {
                        vector: point.into(),
                        packages: view.packages[view.bought(*customer)].into(),
                        segment: view.segments[*customer],
                    });
                }
            }
            engine.progress.advance(view.len() as u64);
            *last = view;
            Ok::<(), NeighbourError>(())
        },
    )?;
    Ok(())
}

/// Who will ask a pool.
struct Asking<'a> {
    /// Customers of the sample with their vectors, whom recall is measured on.
    queries: &'a [(usize, &'a [f32])],
    others: Option<Askers<'a>>,
}

fn build_pool(
    sampled: Vec<Sampled<Candidate>>,
    Asking { queries, others }: Asking,
    features: &Features,
    dims: usize,
    config: &Config,
    threads: usize,
    hasher: &HashSample<()>,
) -> Result<Pool, NeighbourError> {
    let mut points = Vec::with_capacity(sampled.len() * dims);
    let (mut hashes, mut ids) = (Vec::with_capacity(sampled.len()), Vec::with_capacity(sampled.len()));
    let mut packages = PackageLists::new(features.packages.len());
    for Sampled { hash, key, payload } in sampled {
        points.extend_from_slice(&payload.vector);
        packages.push(&payload.packages);
        hashes.push(hash);
        ids.push(key);
    }
    let members = Members::new(hashes, ids);
    let settings = &config.neighbours;
    let flat: Vec<f32> = queries.iter().flat_map(|(_, vector)| vector.iter().copied()).collect();
    // A pool that nobody of the sample looks into is still measured: on itself.
    let flat = if flat.is_empty() { points[..dims].to_vec() } else { flat };
    let exclude: Vec<u32> = queries
        .iter()
        .map(|(customer, _)| {
            let id = &features.sample[*customer].id;
            members.position(hasher.hash(id), id)
        })
        .collect();
    let kind = match settings.index {
        IndexChoice::Auto => IndexKind::Auto,
        IndexChoice::Cells => IndexKind::Cells,
        IndexChoice::Exact => IndexKind::Exact,
        IndexChoice::Graph => IndexKind::Graph,
        IndexChoice::Hnsw => IndexKind::Hnsw,
    };
    let exclude = (!exclude.is_empty()).then_some(&exclude[..]);
    let wanted = BuildOptions {
        kind,
        k: settings.k,
        recall_wanted: settings.recall.max(f64::MIN_POSITIVE),
        seed: config.seed,
        threads,
        graph: GraphOptions { connections: settings.hnsw_links, build_width: settings.hnsw_build },
    };
    let built = calibrate::build(&points, dims, Sample { queries: &flat, exclude }, others, &wanted)?;
    Ok(Pool { members, packages, built })
}

fn write_candidates(
    candidates: std::collections::BTreeMap<Box<[u8]>, (u32, usize)>,
    folder: &RunFolder,
    customer_type: CustomerType,
) -> Result<PartFile, NeighbourError> {
    let text = |id: &[u8]| String::from_utf8_lossy(id).into_owned();
    let mut rows: Vec<(String, u32, usize)> =
        candidates.into_iter().map(|(id, (segment, packages))| (text(&id), segment, packages)).collect();
    let ids: ArrayRef = match customer_type {
        CustomerType::Integer => {
            rows.sort_by_key(|(id, _, _)| id.parse::<i64>().unwrap_or(i64::MAX));
            Arc::new(Int64Array::from_iter_values(
                rows.iter().map(|(id, _, _)| id.parse().unwrap_or(i64::MAX)),
            ))
        }
        CustomerType::Text => Arc::new(StringArray::from_iter_values(rows.iter().map(|(id, _, _)| id))),
    };
    let schema = NEIGHBOUR_CANDIDATES.schema(customer_type);
    let mut writer = PartWriter::create(folder, NEIGHBOUR_CANDIDATES.name, 0, schema.clone())?;
    writer.write(&RecordBatch::try_new(
        schema,
        vec![
            ids,
            Arc::new(Int64Array::from_iter_values(
                rows.iter().map(|(_, segment, _)| i64::from(*segment) + 1),
            )),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, _, packages)| *packages as i64))),
        ],
    )?)?;
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_and_nobody_else() {
        let id = |number: u64| -> Box<[u8]> { number.to_le_bytes().into() };
        // One stretch is crowded, two hashes are equal, the last is the largest that there is.
        let hashes = vec![0, 3, 7, 7, 8, 9, 10, 5 << 40, 6 << 50, 1 << 62, u64::MAX];
        let members = Members::new(hashes.clone(), (0..hashes.len() as u64).map(id).collect());
        for (at, hash) in hashes.iter().enumerate() {
            assert_eq!(members.position(*hash, &id(at as u64)), at as u32);
            assert_eq!(members.position(*hash, &id(99)), NOTHING);
            assert_eq!(members.position(hash.wrapping_sub(2) | 1, &id(99)), NOTHING);
        }
        let few = Members::new(vec![4], vec![id(1)]);
        assert_eq!((few.position(4, &id(1)), few.position(5, &id(1))), (0, NOTHING));
        assert_eq!(Members::new(Vec::new(), Vec::new()).position(1, &id(1)), NOTHING);
    }
}
