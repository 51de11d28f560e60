"""What every peer's script shares: its arguments, its clock and its result file."""

import argparse
import contextlib
import json
import os
import resource
import time

import numpy as np


class Bench:
    """Seconds by stage of one measured process, written as JSON when it ends."""

    def __init__(self, description, *extra):
        """Reads the arguments: the spec, and names of further string options."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("spec", help="JSON file that says what to do")
        parser.add_argument("--result", required=True, help="JSON file to write")
        parser.add_argument("--out", help="folder for the tables")
        parser.add_argument("--tmp", help="folder to spill to")
        parser.add_argument("--memory", type=float, help="memory limit in GiB, where the engine has one")
        parser.add_argument("--threads", type=int, default=2)
        for name in extra:
            parser.add_argument(f"--{name}")
        self.args = parser.parse_args()
        with open(self.args.spec, encoding="utf-8") as file:
            self.spec = json.load(file)
        for folder in (self.args.out, self.args.tmp):
            if folder:
                os.makedirs(folder, exist_ok=True)
        self.stages = {}
        self.values = {}

    @contextlib.contextmanager
    def stage(self, name):
        """Adds the time of the block to a stage."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - begun

    def finish(self, **values):
        """Writes the result: stages, their sum, CPU seconds and any other values."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        result = {
            "seconds": sum(self.stages.values()),
            "stages": self.stages,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            **self.values,
            **values,
        }
        with open(self.args.result, "w", encoding="utf-8") as out:
            json.dump(result, out, indent=1)


def matrix(description):
    """A row-major little-endian f32 file as an array in memory: {"path", "rows", "dims"}."""
    shape = (description["rows"], description["dims"])
    return np.fromfile(description["path"], dtype="<f4", count=shape[0] * shape[1]).reshape(shape)


def write_matrix(path, rows):
    """Writes an array as a raw f32 file and returns its description."""
    np.ascontiguousarray(rows, dtype="<f4").tofile(path)
    return {"path": os.path.abspath(path), "rows": int(rows.shape[0]), "dims": int(rows.shape[1])}
