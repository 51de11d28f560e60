"""W2 in scikit-learn: KMeans (lloyd), MiniBatchKMeans, silhouette_score.

The spec names a task: "sweep", "fit" or "assign". Settings: `n_init=1`, the same tolerance and iterations as packwise,
its own k-means++ in the sweep and the given start in the fit, f32 input, threads from OMP_NUM_THREADS. The silhouette
is that of disjoint folds of the same sample, as in packwise; `--algorithm minibatch` takes MiniBatchKMeans with
batches of 4,096 instead.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import sklearn
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from common import Bench, matrix


def model(algorithm, k, **options):
    """A model of the asked kind."""
    if algorithm == "minibatch":
        return MiniBatchKMeans(k, batch_size=4096, **options)
    return KMeans(k, algorithm="lloyd", **options)


def silhouettes(rows, labels, folds, repeats, threads):
    """The silhouette of every fold, a fold a thread.

    One BLAS thread each: half the CPU time of scikit-learn left alone, and less than its n_jobs or processes.
    """

    def one(fold):
        return silhouette_score(rows[folds == fold], labels[folds == fold])

    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(repeats)))


def sweep(bench, algorithm):
    """One fit and one silhouette over folds for every k."""
    spec = bench.spec
    rows = matrix(spec["matrix"])
    sample = rows[: spec["silhouette_rows"]]
    repeats = spec["silhouette_repeats"]
    folds = np.random.default_rng(spec["seed"]).permutation(len(sample)) % repeats
    table = []
    for k in spec["ks"]:
        with bench.stage("fits"):
            options = {"max_iter": spec["max_iterations"], "tol": spec["tolerance"], "random_state": spec["seed"]}
            fitted = model(algorithm, k, n_init=1, **options).fit(rows)
        with bench.stage("silhouettes"):
            labels = fitted.labels_[: len(sample)]
            parts = silhouettes(sample, labels, folds, repeats, bench.args.threads)
        # MiniBatchKMeans reports the inertia of batches that it saw; this is that of all rows.
        inertia = float(-fitted.score(rows)) if algorithm == "minibatch" else float(fitted.inertia_)
        table.append(
            {"k": k, "inertia": inertia, "iterations": int(fitted.n_iter_), "silhouette": float(np.mean(parts))}
        )
    bench.values["sweep"] = table


def fit(bench, algorithm):
    """One fit from the given start."""
    spec = bench.spec
    rows, start = matrix(spec["matrix"]), matrix(spec["start"])
    options = {"init": start, "n_init": 1, "max_iter": spec["iterations"], "tol": 0}
    with bench.stage("fit"):
        fitted = model(algorithm, len(start), **options).fit(rows)
    inertia = float(-fitted.score(rows)) if algorithm == "minibatch" else float(fitted.inertia_)
    bench.values.update(inertia=inertia, iterations=int(fitted.n_iter_))


def assign(bench, algorithm):
    """All rows to the nearest of the given centroids."""
    spec = bench.spec
    rows, start = matrix(spec["matrix"]), matrix(spec["centroids"])
    fitted = model(algorithm, len(start), init=start, n_init=1, max_iter=1).fit(start)
    fitted.cluster_centers_ = start
    with bench.stage("assign"):
        labels = fitted.predict(rows)
    inertia = float(((rows - start[labels]).astype(np.float64) ** 2).sum())
    bench.values.update(rows_per_second=len(rows) / bench.stages["assign"], inertia=inertia)


def main():
    """The measured process."""
    bench = Bench(__doc__.splitlines()[0], "algorithm")
    warnings.simplefilter("ignore")
    tasks = {"sweep": sweep, "fit": fit, "assign": assign}
    tasks[bench.spec["task"]](bench, bench.args.algorithm or "lloyd")
    bench.finish(version=sklearn.__version__)


if __name__ == "__main__":
    main()
