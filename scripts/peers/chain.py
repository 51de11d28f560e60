"""W: the whole job from the best of the peers, with Parquet in between, as one process.

1. features     DuckDB (or Polars, `--engine polars`): the two tables of W1
2. segments     scikit-learn: 2 to 100 segments in steps of 5 on 50,000 customers, silhouettes of 20,000 in five
                folds, the smallest within one standard error of the best, three starts; faiss places all customers
3. neighbours   similarity vectors of 32 dimensions, a pool of the segments with half of the revenue (200,000 at
                the most), faiss IVF at 0.95 recall, 50 neighbours
4. offers       own habit, what neighbours have, popularity by segment: ten a customer, with price and reason columns

It does less than packwise: the score's weights are stated and not learned, there are no affinities between
packages, no policies, no reason sentences, no data-quality report, no sorted output. All of that is in its favour.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import duckdb
import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
import sklearn
from sklearn.cluster import KMeans

import matrices
import w1_duckdb
import w1_polars
from common import Bench
from w2_sklearn import silhouettes

KS = range(2, 101, 5)
SAMPLE, SILHOUETTE, REPEATS, STARTS = 50_000, 20_000, 5, 3
POOL, NEIGHBOURS, DIMS, RECALL, CALIBRATION = 200_000, 50, 32, 0.95, 2_000
REVENUE_SHARE = 0.5
TOP = 10
# Customers whose neighbours are held at once, and whose scores a thread holds.
BLOCK, BATCH = 400_000, 20_000
PARQUET = {"compression": "zstd", "compression_level": 1}


def segments(rows, revenue, random, threads):
    """Centroids, segments from 0 by falling revenue a customer, and distance and margin of every customer."""
    sample = rows[random.permutation(len(rows))[:SAMPLE]]
    judged = sample[:SILHOUETTE]
    folds = np.arange(len(judged)) % REPEATS
    sweep = []
    for k in (k for k in KS if k < len(sample)):
        labels = KMeans(k, n_init=1, max_iter=100, tol=1e-4, random_state=1).fit(sample).labels_[: len(judged)]
        parts = silhouettes(judged, labels, folds, REPEATS, threads)
        sweep.append((k, np.mean(parts), np.std(parts, ddof=1) / REPEATS**0.5))
    _, best, error = max(sweep, key=lambda row: row[1])
    k = min(row[0] for row in sweep if row[1] >= best - error)
    centroids = KMeans(k, n_init=STARTS, max_iter=100, tol=1e-4, random_state=1).fit(sample).cluster_centers_
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(np.ascontiguousarray(centroids, dtype=np.float32))
    squares, nearest = index.search(rows, min(2, k))
    distances = np.sqrt(np.maximum(squares, 0))
    label = nearest[:, 0]
    mean = np.bincount(label, revenue, k) / np.maximum(np.bincount(label, minlength=k), 1)
    rank = np.empty(k, dtype=np.int64)
    rank[np.argsort(-mean)] = np.arange(k)
    return rank[label], distances[:, 0], distances[:, -1] - distances[:, 0], k


def pool_of(segment, revenue, active_days, k, random):
    """Rows of the pool: members of the fewest top segments that hold the share of the revenue."""
    held = np.cumsum(np.bincount(segment, revenue, k))
    high = int(np.searchsorted(held, REVENUE_SHARE * held[-1])) + 1
    members = np.flatnonzero((segment < high) & (active_days >= 2))
    return np.sort(random.permutation(members)[:POOL])


def neighbour_index(pool, vectors, random):
    """IVF over the pool with the fewest probes that reach the recall on a sample of all customers."""
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(DIMS), DIMS, max(1, 4 * int(len(pool) ** 0.5)))
    index.train(pool)
    index.add(pool)
    queries = vectors[random.permutation(len(vectors))[:CALIBRATION]]
    flat = faiss.IndexFlatL2(DIMS)
    flat.add(pool)
    farthest = flat.search(queries, NEIGHBOURS)[0][:, -1:]
    index.nprobe = 1
    while index.nprobe < index.nlist:
        found = index.search(queries, NEIGHBOURS)[0]
        if (found <= farthest * (1 + 1e-5)).mean() >= RECALL:
            break
        index.nprobe = max(index.nprobe + 1, index.nprobe * 9 // 8)
    return index


class Offers:
    """Scores batches of customers and writes their best offers."""

    def __init__(self, path, ids, segment, own, members, popularity, codes, prices):
        """Weights are stated: habit 1, neighbours 1, popularity 0.2."""
        self.ids, self.segment, self.own, self.popularity = ids, segment, own, popularity
        self.pool = own[members]
        self.pool.data = np.minimum(self.pool.data, 1.0)
        self.codes, self.prices = pa.array(codes), prices
        self.writer, self.path, self.rows = None, path, 0

    def batch(self, first, found):
        """The offers of the customers from row `first` on, one row of `found` each."""
        count, k = found.shape
        keep = (found >= 0).ravel()
        offsets = np.concatenate([[0], np.cumsum((found >= 0).sum(axis=1))])
        asked = sp.csr_matrix(
            (np.full(keep.sum(), 1.0 / k, dtype=np.float32), found.ravel()[keep], offsets),
            shape=(count, self.pool.shape[0]),
        )
        from_neighbours = (asked @ self.pool).toarray()
        habit = self.own[first : first + count].toarray()
        segment = self.segment[first : first + count]
        scores = habit / (1.0 + habit) + from_neighbours + 0.2 * self.popularity[segment]
        top = min(TOP, scores.shape[1])
        best = np.argpartition(-scores, top - 1, axis=1)[:, :top]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        score = np.take_along_axis(scores, best, axis=1).ravel()
        package = best.ravel()
        rows = np.repeat(np.arange(count), top)
        near = np.take_along_axis(from_neighbours, best, axis=1).ravel()
        mine = np.take_along_axis(habit, best, axis=1).ravel()
        source = np.where(mine > 0, 0, np.where(near > 0, 1, 2)).astype(np.int32)
        names = pa.array(["own habit", "neighbours", "popularity"])
        price = self.prices[package]
        columns = {
            "customer_id": self.ids[first : first + count].take(pa.array(rows)),
            "rank": np.tile(np.arange(1, top + 1), count),
            "package_code": pa.DictionaryArray.from_arrays(package.astype(np.int32), self.codes),
            "score": score.astype(np.float64),
            "price": price,
            "expected_revenue": score * price,
            "is_new": mine == 0,
            "segment": segment[rows] + 1,
            "source": pa.DictionaryArray.from_arrays(source, names),
            "neighbours_with_package": np.rint(near * k).astype(np.int64),
            "neighbours_consulted": np.full(len(rows), k),
        }
        return pa.table(columns)

    def write(self, table):
        """Appends a batch."""
        if self.writer is None:
            self.writer = pq.ParquetWriter(self.path, table.schema, **PARQUET)
        self.writer.write_table(table)
        self.rows += len(table)

    def close(self):
        """Ends the file."""
        if self.writer is not None:
            self.writer.close()


def bought(tables, ids, codes):
    """Decayed weights of customers by packages in CSR, in the order of the features' rows; DuckDB joins."""
    engine = duckdb.connect()
    engine.execute("SET threads = 2")
    engine.register("ids", pa.table({"customer_id": ids, "row": np.arange(len(ids))}))
    engine.register("codes", pa.table({"code": codes, "package": np.arange(len(codes))}))
    found = engine.execute(
        "SELECT row::INTEGER AS row, package::INTEGER AS package, weight::FLOAT AS weight"
        f" FROM read_parquet('{tables}/customer_packages.parquet') JOIN ids USING (customer_id)"
        " JOIN codes ON code = package_code"
    ).fetchnumpy()
    entries = (found["weight"], (found["row"], found["package"]))
    return sp.coo_matrix(entries, shape=(len(ids), len(codes)), dtype=np.float32).tocsr()


def popularity_of(segment, own, k):
    """Share of a segment's customers that bought each package."""
    ones = own.copy()
    ones.data = np.ones_like(ones.data)
    belongs = sp.csr_matrix((np.ones(len(segment), dtype=np.float32), (segment, np.arange(len(segment)))))
    counts = np.maximum(np.bincount(segment, minlength=k), 1)
    return ((belongs @ ones).toarray() / counts[:, None]).astype(np.float32)


@contextmanager
def quiet():
    """Without the warnings of scikit-learn about convergence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main():
    """The measured process."""
    bench = Bench(__doc__.splitlines()[0], "engine")
    args, job = bench.args, bench.spec
    faiss.omp_set_num_threads(args.threads)
    random = np.random.default_rng(1)
    prefix = "features/"

    if args.engine == "polars":
        w1_polars.run(job, args.out, lambda name: bench.stage(prefix + name))
    else:
        w1_duckdb.run(job, args.out, args.tmp, args.memory or 16, args.threads, lambda name: bench.stage(prefix + name))
    path = f"{args.out}/customer_features.parquet"
    with bench.stage("segments"), quiet():
        rows = matrices.scaled_behaviour([path])
        few = pq.read_table(path, columns=["customer_id", "revenue", "active_days"])
        ids, revenue = few["customer_id"].combine_chunks(), few["revenue"].to_numpy()
        active_days = few["active_days"].to_numpy()
        del few
        segment, distance, margin, k = segments(rows, revenue, random, args.threads)
        columns = {"customer_id": ids, "segment": segment + 1, "distance": distance, "margin": margin}
        pq.write_table(pa.table(columns), f"{args.out}/customer_segments.parquet", **PARQUET)
    with bench.stage("vectors"):
        catalogue = pq.read_table(job["packages"]).sort_by("package")
        codes = catalogue["code"].to_pylist()
        own = bought(args.out, ids, codes)
        sample = random.permutation(len(ids))[:SAMPLE]
        tastes = matrices.taste_vectors(own.copy(), sample)
        tastes *= matrices.TASTE_WEIGHT * np.sqrt(rows.shape[1])
        vectors = matrices.principal(np.hstack([rows, tastes]), sample, DIMS)
        del rows, tastes
    with bench.stage("neighbour index"):
        members = pool_of(segment, revenue, active_days, k, random)
        index = neighbour_index(np.ascontiguousarray(vectors[members]), vectors, random)
    prices = catalogue["price"].to_numpy() / float(job["scale"])
    offers = Offers(
        f"{args.out}/recommendations.parquet", ids, segment, own, members, popularity_of(segment, own, k), codes, prices
    )
    with ThreadPoolExecutor(args.threads) as threads:
        for first in range(0, len(ids), BLOCK):
            with bench.stage("lookups"):
                found = index.search(vectors[first : first + BLOCK], NEIGHBOURS)[1].astype(np.int32)
            with bench.stage("offers"):
                starts = range(0, len(found), BATCH)
                for table in threads.map(lambda at, b=first, f=found: offers.batch(b + at, f[at : at + BATCH]), starts):
                    offers.write(table)
    with bench.stage("offers"):
        offers.close()
    versions = {"duckdb": duckdb.__version__, "scikit-learn": sklearn.__version__, "faiss": faiss.__version__}
    figures = {"customers": len(ids), "offers": offers.rows, "segments": k, "pool": len(members)}
    bench.finish(version=versions, figures=figures, probes=index.nprobe, lists=index.nlist)


if __name__ == "__main__":
    main()
