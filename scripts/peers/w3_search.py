"""W3 in hnswlib, faiss or usearch: one index, built once, asked at every wanted recall.

`--index` names it: hnswlib, faiss-hnsw, faiss-ivf, faiss-flat, usearch; `--links` sets M of a graph, `--lists` the
number of lists of IVF as a multiple of the root of the pool's size. The effort (ef, nprobe) is the least whose mean
recall on the calibration queries reaches what is wanted: doubling, then bisection to 3 %, untimed. Then all queries
are asked in one call on all threads, and a share of them on one thread. The one-thread call is still one call of the
library, so that Python's cost a call is not counted against it; a graph looks each query up by itself.
"""

import importlib.metadata
import time

import faiss
import hnswlib
import numpy as np
import usearch
from usearch.index import Index

from common import Bench, matrix
from matrices import recall

BUILD_WIDTH = 200
# Seconds that one measurement takes at the most: fewer queries are asked of a slow index.
LONGEST = 20.0


class Hnswlib:
    """hnswlib's Index on f32 vectors."""

    version = importlib.metadata.version("hnswlib")
    most_effort = 4096

    def __init__(self, pool, k, threads, args):
        """Builds with M links on all threads."""
        self.index = hnswlib.Index(space="l2", dim=pool.shape[1])
        self.index.init_index(max_elements=len(pool), M=args.links, ef_construction=BUILD_WIDTH, random_seed=1)
        self.index.set_num_threads(threads)
        self.index.add_items(pool, num_threads=threads)
        self.k = k

    def set_effort(self, effort):
        """Width of the search; hnswlib wants k at least."""
        self.index.set_ef(max(effort, self.k))

    def search(self, queries, threads):
        """Positions of the k nearest."""
        return self.index.knn_query(queries, self.k, num_threads=threads)[0]


class Faiss:
    """faiss's indexes of f32 vectors."""

    version = faiss.__version__

    def __init__(self, pool, k, threads, args):
        """Builds the kind that the arguments name on all threads."""
        faiss.omp_set_num_threads(threads)
        dims = pool.shape[1]
        self.k, self.kind = k, args.index
        if self.kind == "faiss-hnsw":
            self.index = faiss.IndexHNSWFlat(dims, args.links)
            self.index.hnsw.efConstruction = BUILD_WIDTH
            self.most_effort = 4096
        elif self.kind == "faiss-ivf":
            lists = max(1, round(args.lists * len(pool) ** 0.5))
            self.index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dims), dims, lists)
            self.index.train(pool)
            self.most_effort = lists
        else:
            self.index = faiss.IndexFlatL2(dims)
            self.most_effort = 1
        self.index.add(pool)

    def set_effort(self, effort):
        """Width of the search or lists probed."""
        if self.kind == "faiss-hnsw":
            self.index.hnsw.efSearch = max(effort, self.k)
        elif self.kind == "faiss-ivf":
            self.index.nprobe = effort

    def search(self, queries, threads):
        """Positions of the k nearest."""
        faiss.omp_set_num_threads(threads)
        return self.index.search(queries, self.k)[1]


class Usearch:
    """usearch's Index on f32 vectors."""

    version = usearch.__version__
    most_effort = 4096

    def __init__(self, pool, k, threads, args):
        """Builds with M links on all threads."""
        links = {"connectivity": args.links, "expansion_add": BUILD_WIDTH}
        self.index = Index(ndim=pool.shape[1], metric="l2sq", dtype="f32", **links)
        self.index.add(np.arange(len(pool)), pool, threads=threads)
        self.k = k

    def set_effort(self, effort):
        """Width of the search."""
        self.index.expansion_search = max(effort, self.k)

    def search(self, queries, threads):
        """Positions of the k nearest; a missing neighbour is far outside the pool."""
        return np.asarray(self.index.search(queries, self.k, threads=threads).keys).astype(np.int64)


def calibrate(index, wanted, measured):
    """The least effort, to 3 %, whose recall reaches what is wanted; the greatest if none does."""
    low, high = 0, 1
    while measured(high) < wanted:
        if high >= index.most_effort:
            return high, False
        low, high = high, min(high * 2, index.most_effort)
    while high - low > max(high // 32, 1):
        middle = (low + high) // 2
        low, high = (low, middle) if measured(middle) >= wanted else (middle, high)
    return high, True


def timed(index, queries, threads):
    """Answers and seconds of one call."""
    begun = time.perf_counter()
    found = index.search(queries, threads)
    return found, time.perf_counter() - begun


def main():
    """The measured process."""
    bench = Bench(__doc__.splitlines()[0], "index", "links", "lists")
    spec, args, threads = bench.spec, bench.args, bench.args.threads
    args.links, args.lists = int(args.links or 16), float(args.lists or 1.0)
    pool, queries = matrix(spec["pool"]), matrix(spec["queries"])
    calibration = matrix(spec["calibration"])
    truth, judged_truth = np.load(spec["calibration_truth"]), np.load(spec["judged_truth"])
    judged = len(judged_truth)
    kind = {"hnswlib": Hnswlib, "usearch": Usearch}.get(args.index, Faiss)
    with bench.stage("build"):
        index = kind(pool, spec["k"], threads, args)
    rows = []
    for wanted in spec["recalls"]:

        def measured(effort):
            index.set_effort(effort)
            return recall(pool, calibration, index.search(calibration, threads), truth)

        begun = time.perf_counter()
        effort, reached = calibrate(index, wanted, measured)
        calibrating = time.perf_counter() - begun
        index.set_effort(effort)
        _, warm = timed(index, calibration, threads)
        count = int(min(len(queries), max(judged, LONGEST * len(calibration) / warm)))
        found, seconds = timed(index, queries[:count], threads)
        singles = max(1, min(spec["singles"], count))
        _, alone = timed(index, queries[:: len(queries) // singles][:singles], 1)
        rows.append(
            {
                "wanted": wanted,
                "reached": reached,
                "recall": recall(pool, queries[:judged], found[:judged], judged_truth),
                "effort": effort,
                "seconds": seconds,
                "calibration_seconds": calibrating,
                "lookups_per_second": count / seconds,
                "singles_per_second": singles / alone,
            }
        )
        if not reached or args.index == "faiss-flat":
            break
    bench.finish(version=index.version, build_seconds=bench.stages["build"], recalls=rows)


if __name__ == "__main__":
    main()
