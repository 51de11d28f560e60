"""The matrices of W2 and W3, made once from the tables of a packwise run. Nothing here is timed.

sample      scaled behaviour of the customers that segments are fitted on, in random order
vectors     all customers, 16 principal components of behaviour and package tastes; fit, fit_start: rows of them
searches    "customers": 32 such components, as neighbours are looked up by; "mixture": a mixture of Gaussians
pool        the vectors of the customers with most revenue (of a mixture: with the largest first column)
queries     vectors drawn at random from all customers; calibration, sample: others, drawn the same way
truth       distances of the k nearest pool members of the first (judged) queries, exact in f64

Rows follow the published order of customers. Scaling and factors are simpler than packwise's own (log, clip
at three deviations, Gram matrix of tf-idf weights): both sides read the same files, so only their shape counts.
"""

import glob
import json
import os

import faiss
import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import scipy.sparse as sp

from common import write_matrix

# Columns about how much and how often count half, as in packwise: they say one thing several times.
ACTIVITY = ("revenue", "purchases", "distinct_packages", "favourite_share", "recency_days", "tenure_days",
            "revenue_30d_share", "weekend_share")  # fmt: skip
MIX = ("average_purchase", "mean_price_tier", "mean_validity_days", "mean_quota_mb_per_day")
SKEWED = ("revenue", "purchases", "distinct_packages", "average_purchase", "mean_validity_days",
          "mean_quota_mb_per_day", "recency_days", "tenure_days")  # fmt: skip
TASTE_WEIGHT = 3.0
TASTES = 32
SAMPLE = 50_000
CALIBRATION, QUERIES, JUDGED, OTHERS = 2_000, 200_000, 5_000, 48_000
FIT = 1_000_000
SEED = 1


def scaled_behaviour(features):
    """Scaled columns of customer_features, row-major f32; features is a glob or list of Parquet files."""
    data = ds.dataset(features)
    shares = [name for name in data.schema.names if name.startswith(("channel_", "service_", "charging_"))]
    names = [*ACTIVITY, *MIX, *shares]
    rows = np.empty((data.count_rows(), len(names)), dtype=np.float32)
    for column, name in enumerate(names):
        values = data.to_table(columns=[name])[name].to_numpy().astype(np.float64)
        if name in SKEWED:
            values = np.log1p(values)
        centre, spread = np.nanmedian(values), np.nanstd(values)
        scaled = np.clip((values - centre) / (spread or 1.0), -3, 3) * (0.5 if name in ACTIVITY else 1.0)
        rows[:, column] = np.nan_to_num(scaled)
    return rows


def bought(files, customer_ids, codes):
    """Customers by packages with the decayed weights, in CSR; rows as customer_ids, columns as codes."""
    position = {code: rank for rank, code in enumerate(codes)}
    indices, weights, counts = [], [], []
    last = None
    for path in files:
        table = pq.read_table(path, columns=["customer_id", "package_code", "weight"], read_dictionary=["package_code"])
        package = table["package_code"].combine_chunks()
        package = package.chunk(0) if hasattr(package, "chunk") else package
        rank = np.array([position[code] for code in package.dictionary.to_pylist()], dtype=np.int32)
        indices.append(rank[package.indices.to_numpy()])
        weights.append(table["weight"].to_numpy().astype(np.float32))
        runs = pc.run_end_encode(table["customer_id"].combine_chunks())
        ends = runs.run_ends.to_numpy() if hasattr(runs, "run_ends") else runs.chunk(0).run_ends.to_numpy()
        counts.append(np.diff(ends, prepend=0))
        first, final = table["customer_id"][0], table["customer_id"][-1]
        if last is not None and first == last:
            raise ValueError(f"{path}: a customer is in two files")
        last = final
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    if len(offsets) != customer_ids + 1:
        raise ValueError(f"{len(offsets) - 1} customers with packages, {customer_ids} with features")
    shape = (customer_ids, len(codes))
    return sp.csr_matrix((np.concatenate(weights), np.concatenate(indices), offsets), shape=shape)


def taste_vectors(matrix_of_weights, sample):
    """Tastes of all customers: tf-idf rows of unit length on the leading eigenvectors of the sample's Gram."""
    terms = matrix_of_weights
    terms.data = 1.0 + np.log1p(terms.data)
    buyers = np.bincount(terms.indices, minlength=terms.shape[1])
    idf = np.log(terms.shape[0] / np.maximum(buyers, 1)).astype(np.float32)
    terms.data *= idf[terms.indices]
    norms = np.sqrt(np.add.reduceat(terms.data**2, terms.indptr[:-1]))
    terms.data /= np.repeat(np.maximum(norms, 1e-12), np.diff(terms.indptr))
    few = terms[sample]
    values, vectors = np.linalg.eigh((few.T @ few).toarray().astype(np.float64))
    basis = vectors[:, np.argsort(values)[::-1][:TASTES]].astype(np.float32)
    return np.asarray(terms @ basis, dtype=np.float32)


def principal(rows, sample, dims):
    """The first principal components of the rows, fitted on a sample."""
    few = rows[sample].astype(np.float64)
    mean = few.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(few - mean, rowvar=False))
    basis = vectors[:, np.argsort(values)[::-1][:dims]].astype(np.float32)
    return (rows - mean.astype(np.float32)) @ basis


def exact(pool, queries, k):
    """Squared distances of the k nearest in f64: faiss finds more than k in f32, f64 ranks them."""
    index = faiss.IndexFlatL2(pool.shape[1])
    index.add(pool)
    _, found = index.search(queries, k + 12)
    return np.sort(squared(pool, queries, found), axis=1)[:, :k]


def squared(pool, queries, found):
    """Squared distances of found positions in f64; infinite for positions outside the pool."""
    inside = (found >= 0) & (found < len(pool))
    points = pool[np.where(inside, found, 0)].astype(np.float64)
    return np.where(inside, ((points - queries[:, None, :].astype(np.float64)) ** 2).sum(axis=2), np.inf)


def recall(pool, queries, found, truth):
    """Share of the true neighbours found, by distance, so that ties are no mistakes; repeats count once."""
    found = np.sort(found.astype(np.int64), axis=1)
    repeated = np.zeros(found.shape, dtype=bool)
    repeated[:, 1:] = found[:, 1:] == found[:, :-1]
    near = squared(pool, queries, found) <= truth[:, -1:] * (1 + 1e-6)
    return float((near & ~repeated).sum() / truth.size)


def load(path):
    """Distances of the true neighbours, as `searched` saves them."""
    return np.load(path)


def read_found(path, k):
    """Positions that benches/peers.rs wrote: u32, k a query; a missing one is outside every pool."""
    return np.fromfile(path, dtype="<u4").reshape(-1, k).astype(np.int64)


def synthetic(count, dims):
    """Customers of 42 skewed groups with noise of many sizes: the shape of benches/kernels.rs."""
    random = np.random.default_rng(SEED)
    groups = random.uniform(-1.5, 1.5, (42, dims)).astype(np.float32)
    own = np.minimum(random.integers(0, 42, count), random.integers(0, 42, count))
    scale = random.uniform(0.3, 1.0, (count, 1)).astype(np.float32)
    return groups[own] + scale * random.standard_normal((count, dims), dtype=np.float32)


def searched(stem, vectors, richest, pools, k):
    """Pools of the first of `richest`, queries and truths: {pool size: descriptions}."""
    count = len(vectors)
    # In random order, so that the first of them are a sample too.
    drawn = np.random.default_rng(SEED).permutation(count)[: CALIBRATION + QUERIES + OTHERS]
    made = {}
    # A pool of more than a third of the customers would be no pool.
    for size in sorted({min(size, count // 3) for size in pools}):
        pool = np.ascontiguousarray(vectors[np.sort(richest[:size])])
        asked = np.ascontiguousarray(vectors[drawn[CALIBRATION : CALIBRATION + QUERIES]])
        others = np.ascontiguousarray(vectors[drawn[:CALIBRATION]])
        name = f"{stem}-{size}"
        made[size] = {
            "pool": write_matrix(f"{name}-pool.f32", pool),
            "queries": write_matrix(f"{name}-queries.f32", asked),
            "calibration": write_matrix(f"{name}-calibration.f32", others),
            "sample": write_matrix(f"{name}-sample.f32", np.ascontiguousarray(vectors[drawn[-OTHERS:]])),
            "calibration_truth": f"{name}-calibration-truth.npy",
            "judged_truth": f"{name}-truth.npy",
            "judged": min(JUDGED, len(asked)),
        }
        np.save(f"{name}-calibration-truth.npy", exact(pool, others, k))
        np.save(f"{name}-truth.npy", exact(pool, asked[:JUDGED], k))
    return made


def make(run, folder, pools, packages, k=20):
    """Writes all matrices and matrices.json; a description is {"path", "rows", "dims"}."""
    os.makedirs(folder, exist_ok=True)
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    features = sorted(glob.glob(f"{run}/customer_features/*.parquet"))
    random = np.random.default_rng(SEED)
    rows = scaled_behaviour(features)
    count = len(rows)
    sample = random.permutation(count)[:SAMPLE]
    made = {"customers": count, "sample": write_matrix(f"{folder}/sample.f32", rows[sample])}
    codes = pq.read_table(packages).sort_by("package")["code"].to_pylist()
    weights = bought(sorted(glob.glob(f"{run}/customer_packages/*.parquet")), count, codes)
    tastes = taste_vectors(weights, sample)
    del weights
    tastes *= TASTE_WEIGHT * np.sqrt(rows.shape[1])
    mixed = np.hstack([rows, tastes])
    del rows, tastes
    vectors = principal(mixed, sample, 16)
    made["vectors"] = write_matrix(f"{folder}/vectors.f32", vectors)
    order = random.permutation(count)[:FIT]
    made["fit"] = write_matrix(f"{folder}/fit.f32", vectors[order])
    made["fit_start"] = write_matrix(f"{folder}/fit-start.f32", vectors[order[:50]])
    vectors = principal(mixed, sample, 32)
    del mixed
    revenue = ds.dataset(features).to_table(columns=["revenue"])["revenue"].to_numpy()
    richest = np.argsort(-revenue, kind="stable")
    real = searched(f"{folder}/customers", vectors, richest, pools, k)
    vectors = synthetic(count, 16)
    richest = np.argsort(-vectors[:, 0], kind="stable")
    mixture = searched(f"{folder}/mixture", vectors, richest, pools, k)
    made["searches"] = {f"customers x32 pool {size:,}": one for size, one in real.items()}
    made["searches"] |= {f"mixture x16 pool {size:,}": one for size, one in mixture.items()}
    with open(f"{folder}/matrices.json", "w", encoding="utf-8") as out:
        json.dump(made, out, indent=1)
    return made
