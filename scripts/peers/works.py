"""What is run for every work: packwise's commands and the peers', and how the figures are taken from each."""

import glob
import json
import os
import shutil
import sys

import check_w1
import matrices
import runner
from common import matrix

HERE = os.path.dirname(os.path.abspath(__file__))
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS",
                    "RAYON_NUM_THREADS", "NUMEXPR_MAX_THREADS")  # fmt: skip
COLUMNS = ["MSISDN", "PACKAGE_CODE", "CHANNEL", "BUY_DATE"]
TABLES = ["customer_features", "customer_packages"]
KS = list(range(2, 101, 5))


class Entry:
    """One thing that is measured: a group of comparable ones, who does it, and how."""

    def __init__(self, group, who, start):
        """`start` runs it once and returns its figures; figures["status"] is "ok" when they count."""
        self.group, self.who, self.start = group, who, start
        self.runs = []


class Place:
    """Folders, programs and settings of one bench."""

    def __init__(self, settings):
        """`settings` as drive.py reads them."""
        self.__dict__.update(settings)
        # Known once the matrices are there.
        self.customers = None
        self.logs = os.path.join(self.folder, "logs")
        self.scratch = os.path.join(self.folder, "work")
        for folder in (self.logs, self.scratch):
            os.makedirs(folder, exist_ok=True)
        self.environment = {name: str(self.threads) for name in THREAD_VARIABLES}

    def path(self, *names):
        """A path below the bench's folder."""
        return os.path.join(self.folder, *names)

    def fresh(self, name):
        """An empty folder for one run."""
        path = os.path.join(self.scratch, name)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        return path

    def spec(self, name, content):
        """Writes a spec and returns its path."""
        path = self.path(f"{name}.json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(content, out, indent=1)
        return path

    def peer(self, script, name, spec, *options, tables=False):
        """Runs a peer's script once; the seconds are those that it measured itself, after its imports."""
        tmp = self.fresh("tmp")
        result = self.path(f"{name}.result.json")
        if os.path.exists(result):
            os.remove(result)
        command = [sys.executable, os.path.join(HERE, script), spec, "--result", result]
        command += ["--threads", str(self.threads), "--tmp", tmp, *options]
        if tables:
            command += ["--out", self.fresh("peer")]
        figures = runner.run(command, self.logs, name, self.timeout, spill=tmp, environment=self.environment)
        shutil.rmtree(tmp, ignore_errors=True)
        return merged(figures, result)

    def kernels(self, name, spec):
        """Runs one task of benches/peers.rs."""
        result = self.path(f"{name}.result.json")
        if os.path.exists(result):
            os.remove(result)
        path = self.spec(name, {"threads": self.threads, "result": result, **spec})
        return merged(runner.run([self.bench_binary, path], self.logs, name, self.timeout), result)

    def packwise(self, name, memory, until=None, out=None, settings=()):
        """Runs `packwise run` once; the stages and the spilled bytes are its own account."""
        out = out or self.fresh("packwise")
        scratch = self.fresh("scratch")
        command = [self.binary, "run", "--json", "-c", "config/telco.toml", "--memory", f"{memory}GiB"]
        for key, value in (
            ("transactions.path", f"{self.data}/transactions/*.parquet"),
            ("catalogue.path", f"{self.data}/packages.parquet"),
            ("output.path", out),
            ("resources.scratch", scratch),
            ("resources.threads", self.threads),
            *settings,
        ):
            command += ["--set", f"{key}={value}"]
        stops = until and self.can_stop
        if stops:
            command += ["--until", until]
        figures = runner.run(command, self.logs, name, self.timeout, cwd=self.root)
        if figures["status"] != "ok":
            return figures
        with open(os.path.join(self.logs, f"{name}.out"), encoding="utf-8") as printed:
            stages = json.load(printed)["stages"]
        if until and not stops:
            last = next(at for at, stage in enumerate(stages) if stage["stage"] == until)
            stages = stages[: last + 1]
            figures["rss_mib"] = max(stage["peak_bytes"] for stage in stages) / 2**20
            figures["wall"] = sum(stage["seconds"] for stage in stages)
        figures["seconds"] = figures["wall"]
        figures["stages"] = {stage["stage"]: stage["seconds"] for stage in stages}
        figures["spilled_mib"] = sum(stage["spilled_bytes"] for stage in stages) / 2**20
        return figures


def merged(figures, result):
    """The runner's figures with those of the result file; without the file the run failed."""
    if figures["status"] != "ok":
        return figures
    if not os.path.exists(result):
        return {**figures, "status": "failed", "message": "no result was written"}
    with open(result, encoding="utf-8") as file:
        own = json.load(file)
    return {**own, **figures, "seconds": own["seconds"]}


def run_folder(out):
    """The folder with a run's tables."""
    return max(glob.glob(os.path.join(out, "runs", "*", "")), key=os.path.getmtime).rstrip("/")


def reference(place):
    """Tables of packwise that peers are compared with and matrices are made from; made once for a data set."""
    out = place.path("reference")
    if not glob.glob(os.path.join(out, "runs", "*", "customer_packages", "*.parquet")):
        shutil.rmtree(out, ignore_errors=True)
        figures = place.packwise("reference", 2, until="features", out=out)
        if figures["status"] != "ok":
            raise RuntimeError(f"packwise {figures['status']}: {figures['message']}")
    return run_folder(out)


def w1(place, job):
    """Features: packwise, DuckDB and DataFusion at every limit, Polars and Dask, and the floor."""
    run = reference(place)

    def checked(figures):
        if figures["status"] == "ok" and "check" not in figures:
            figures["check"] = check_w1.check(run, os.path.join(place.scratch, "peer"))
            figures["agrees"] = figures["check"]["agrees"]
        return figures

    def table(script, memory):
        options = ["--memory", str(memory)] if memory else []
        name = f"{script}-{memory or 'free'}"
        return checked(place.peer(f"{script}.py", name, job, *options, tables=True))

    def ours(memory):
        # The two tables and nothing else, as the peers make them: customer value would collect purchases on the way.
        return place.packwise(
            f"w1-packwise-{memory}", memory, until="features", settings=(("value.enabled", "false"),)
        )

    entries = []
    for memory in place.memories:
        group = f"W1 features, {memory} GiB"
        entries.append(Entry(group, "packwise", lambda memory=memory: ours(memory)))
        entries.append(Entry(group, "DuckDB", lambda memory=memory: table("w1_duckdb", memory)))
        entries.append(Entry(group, "DataFusion", lambda memory=memory: table("w1_datafusion", memory)))
    free = "W1 features, no limit"
    entries.append(Entry(free, "DataFusion", lambda: table("w1_datafusion", None)))
    entries.append(Entry(free, "Polars", lambda: table("w1_polars", None)))
    most = int(runner.total_memory_mib() / 1024 * 0.7)
    entries.append(Entry(f"W1 features, {most} GiB", "Dask", lambda: table("w1_dask", most)))
    with open(job, encoding="utf-8") as file:
        files = json.load(file)["files"]
    floor = {"task": "decode", "files": files, "columns": COLUMNS}
    entries.append(Entry("W1 floor: decode only", "arrow-rs", lambda: place.kernels("w1-decode", floor)))
    tables = {name: sorted(glob.glob(os.path.join(run, name, "*.parquet"))) for name in TABLES}

    def encoded():
        return place.kernels("w1-encode", {"task": "encode", "tables": tables, "out": place.fresh("encoded")})

    entries.append(Entry("W1 floor: encode only", "arrow-rs", encoded))
    return entries


def shapes(place, job):
    """matrices.json of the reference run; made once for the pools and the number of neighbours."""
    folder = place.path("-".join(["matrices", *map(str, place.pools), f"k{place.k}"]))
    path = os.path.join(folder, "matrices.json")
    if not os.path.exists(path):
        with open(job, encoding="utf-8") as file:
            packages = json.load(file)["packages"]
        matrices.make(reference(place), folder, place.pools, packages, place.k)
    with open(path, encoding="utf-8") as file:
        made = json.load(file)
    place.customers = made["customers"]
    return made


def w2(place, job):
    """Segments: the sweep, one fit, the assignment."""
    made = shapes(place, job)
    silhouette = {"silhouette_rows": 20_000, "silhouette_repeats": 5}
    ks = [k for k in KS if k < made["sample"]["rows"]]
    tasks = {
        "sweep": {
            "matrix": made["sample"],
            "ks": ks,
            "max_iterations": 100,
            "tolerance": 1e-4,
            "seed": 1,
            **silhouette,
        },
        "fit": {"matrix": made["fit"], "start": made["fit_start"], "iterations": 25},
        "assign": {"matrix": made["vectors"], "centroids": made["fit_start"]},
    }
    entries = []
    for task, spec in tasks.items():
        spec = {"task": task, **spec}
        path = place.spec(f"w2-{task}", spec)
        rows = spec["matrix"]
        group = f"W2 {task} {rows['rows']:,} × {rows['dims']}"
        peers = (("scikit-learn lloyd", "w2_sklearn", "lloyd"), ("scikit-learn minibatch", "w2_sklearn", "minibatch"))
        entries.append(Entry(group, "packwise", lambda n=task, s=spec: place.kernels(f"w2-packwise-{n}", s)))
        for who, script, algorithm in peers:
            if task == "assign" and algorithm == "minibatch":
                continue
            entries.append(
                Entry(group, who, lambda n=f"w2-{algorithm}-{task}", f=script, p=path, a=algorithm: place.peer(
                    f"{f}.py", n, p, "--algorithm", a))
            )  # fmt: skip
        # Its sweep has no silhouettes, so it is listed for the fits alone.
        who = "faiss (no silhouette)" if task == "sweep" else "faiss"
        entries.append(Entry(group, who, lambda n=f"w2-faiss-{task}", p=path: place.peer("w2_faiss.py", n, p)))
    return entries


SEARCHERS = (
    ("hnswlib M16", "hnswlib", "--links", "16"),
    ("hnswlib M32", "hnswlib", "--links", "32"),
    ("faiss HNSW M16", "faiss-hnsw", "--links", "16"),
    ("faiss HNSW M32", "faiss-hnsw", "--links", "32"),
    ("faiss IVF √n", "faiss-ivf", "--lists", "1"),
    ("faiss IVF 4√n", "faiss-ivf", "--lists", "4"),
    ("faiss Flat", "faiss-flat", "--lists", "1"),
    ("usearch M16", "usearch", "--links", "16"),
)


def w3(place, job):
    """Neighbours: every index over every pool, asked at both recalls."""
    made = shapes(place, job)
    entries = []
    for name, one in made["searches"].items():
        group = f"W3 {name}"
        stem = "w3-" + name.replace(" ", "-")
        spec = {**one, "k": place.k, "recalls": place.recalls, "singles": 5_000}
        path = place.spec(stem, spec)
        for kind in place.kinds:
            own = {"task": "search", "kind": kind, "found": place.path(f"{stem}-{kind}.found"), **spec}
            if kind == "cells":
                # With every cell probed its answers are exact, so it competes there too.
                own["recalls"] = [*place.recalls, 1.0]
            run = f"{stem}-packwise-{kind}"
            entries.append(Entry(group, f"packwise {kind}", lambda n=run, s=own: judged(place.kernels(n, s), s)))
        for who, index, option, value in SEARCHERS:
            run = f"{stem}-{index}{option}{value}"
            options = ("--index", index, option, value)
            entries.append(Entry(group, who, lambda n=run, p=path, o=options: place.peer("w3_search.py", n, p, *o)))
    return entries


def judged(figures, spec):
    """packwise's answers judged by the same code as the peers'."""
    if figures["status"] != "ok":
        return figures
    pool = matrix(spec["pool"])
    truth = matrices.load(spec["judged_truth"])
    queries = matrix(spec["queries"])[: len(truth)]
    for row in figures["recalls"]:
        found = matrices.read_found(row["found"], spec["k"])
        row["recall"] = matrices.recall(pool, queries, found[: len(truth)], truth)
        os.remove(row["found"])
    return figures


def w(place, job):
    """The whole job."""

    def chain():
        # Whole process on both sides: the chain's imports count as packwise's start does.
        figures = place.peer("chain.py", "w-chain", job, "--memory", "16", tables=True)
        figures["seconds"] = figures["wall"]
        return figures

    return [
        # The chain has no policies, and customers whose offers are capped are decided on twice.
        Entry("W whole job", "packwise 2 GiB", lambda: place.packwise("w-packwise", 2, settings=[("policies.path", "")])),
        Entry("W whole job", "chain of peers", chain),
    ]


WORKS = {"W1": w1, "W2": w2, "W3": w3, "W": w}
