"""W2 in faiss: faiss.Kmeans, without a silhouette of its own.

The spec names a task: "sweep" (fits only; faiss has no silhouette), "fit" or "assign". Settings: all rows (no
subsampling), the given start in the fit, faiss's random start in the sweep, at most 25 iterations (faiss has no
tolerance), threads as asked.
"""

import faiss
import numpy as np

from common import Bench, matrix

# faiss's own default; its sweep has no rule to stop by.
ITERATIONS = 25


def trained(rows, k, iterations, seed=1, start=None):
    """A k-means over all rows."""
    settings = {"niter": iterations, "seed": seed, "max_points_per_centroid": len(rows), "verbose": False}
    kmeans = faiss.Kmeans(rows.shape[1], k, min_points_per_centroid=1, **settings)
    kmeans.train(rows, init_centroids=start)
    return kmeans


def inertia(index, rows):
    """Sum of squared distances to the nearest centroid."""
    return float(index.search(rows, 1)[0].astype(np.float64).sum())


def sweep(bench):
    """One fit for every k."""
    spec = bench.spec
    rows = matrix(spec["matrix"])
    table = []
    for k in spec["ks"]:
        with bench.stage("fits"):
            kmeans = trained(rows, k, ITERATIONS, spec["seed"])
        table.append({"k": k, "inertia": inertia(kmeans.index, rows), "iterations": ITERATIONS})
    bench.values["sweep"] = table


def fit(bench):
    """One fit from the given start."""
    spec = bench.spec
    rows, start = matrix(spec["matrix"]), matrix(spec["start"])
    with bench.stage("fit"):
        kmeans = trained(rows, len(start), spec["iterations"], start=start)
    bench.values.update(inertia=inertia(kmeans.index, rows), iterations=spec["iterations"])


def assign(bench):
    """All rows to the nearest of the given centroids."""
    spec = bench.spec
    rows, start = matrix(spec["matrix"]), matrix(spec["centroids"])
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(start)
    with bench.stage("assign"):
        distances, _ = index.search(rows, 1)
    total = float(distances.astype(np.float64).sum())
    bench.values.update(rows_per_second=len(rows) / bench.stages["assign"], inertia=total)


def main():
    """The measured process."""
    bench = Bench(__doc__.splitlines()[0])
    faiss.omp_set_num_threads(bench.args.threads)
    {"sweep": sweep, "fit": fit, "assign": assign}[bench.spec["task"]](bench)
    bench.finish(version=faiss.__version__)


if __name__ == "__main__":
    main()
