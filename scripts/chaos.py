"""The rounds of scripts/chaos.sh, which says what they are."""

import datetime
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

PROGRAM = os.environ["PACKWISE"]
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
# Of ten signals so many are of each kind.
SHARES = {"SIGKILL": 8, "SIGTERM": 1, "SIGINT": 1}
# So many parts, that a run which was stopped in the middle has finished some.
RUN = ["run", "--set", "resources.buckets=24"]
# Compares a run with the one before it, whatever that was.
COMPARES = "rfm_migration"
# Seconds in which a program may not have begun to watch for signals.
STARTING = 0.1


class Broken(Exception):
    """A promise was not kept."""


class Chaos:
    def __init__(self, folder, rounds, seed, seconds):
        self.folder = Path(folder)
        self.rounds = rounds
        self.random = random.Random(seed)
        self.until = time.monotonic() + seconds
        self.counts = Counter()
        self.moments = []
        self.slowest_stop = 0.0

    def command(self, name, *arguments):
        return [PROGRAM, name, "-c", "packwise-demo/packwise.toml", *arguments]

    def packwise(self, *arguments, codes=(0,)):
        done = subprocess.run(self.command(*arguments), cwd=self.folder, capture_output=True, text=True)
        if done.returncode not in codes:
            raise Broken(f"{arguments} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def run(self):
        """A run that nobody disturbs: its id, whether it went on with another, its files' checksums."""
        published = json.loads(self.packwise(*RUN, "--json"))
        return published["run_id"], self.manifest(published["run_id"])

    def manifest(self, run):
        return json.loads((self.folder / f"packwise-demo/out/runs/{run}/manifest.json").read_text())

    def seen(self):
        """The run that readers go by, every file of it compared with its checksum."""
        verified = json.loads(self.packwise("runs", "--json", "verify", codes=(0, 1)))
        if verified["damaged"]:
            raise Broken(f"readers see {verified}")
        self.counts["files compared"] += verified["files"]
        return verified["run_id"]

    def disturb(self, whole):
        """Starts a run and sends it a signal; its end."""
        name = self.random.choices(list(SHARES), weights=SHARES.values())[0]
        moment = self.random.random()
        child = subprocess.Popen(
            self.command(*RUN), cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        time.sleep(moment * whole)
        ended = child.poll() is not None
        sent = time.monotonic()
        child.send_signal(SIGNALS[name])
        _, said = child.communicate()
        if "panicked" in said:
            raise Broken(f"a panic: {said}")
        if ended:
            self.counts["ended before the signal"] += 1
        else:
            self.counts[name] += 1
            self.moments.append(moment)
            if name != "SIGKILL":
                self.slowest_stop = max(self.slowest_stop, time.monotonic() - sent)
                expected = {"SIGTERM": 143, "SIGINT": 130}[name]
                # Until the program watches for signals they end it themselves, which a shell shows as the same code.
                starting = moment * whole < STARTING and child.returncode == -SIGNALS[name]
                if child.returncode not in (expected, 0) and not starting:
                    raise Broken(f"{name} ended with {child.returncode}: {said}")
        return child.returncode

    def play(self):
        demo = [PROGRAM, "demo", "--transactions", "20000", "--customers", "2000"]
        subprocess.run(demo, cwd=self.folder, check=True, capture_output=True)
        first, manifest = self.run()
        wanted = checksums(manifest)
        started = time.monotonic()
        old, _ = self.run()
        # A little more, so that some signals come while it publishes.
        whole = (time.monotonic() - started) * 1.1
        for number in range(self.rounds):
            if time.monotonic() > self.until:
                break
            before = self.known()
            self.disturb(whole)
            now = self.seen()
            self.counts["rounds"] += 1
            new = self.known() - before
            if now == old and not new:
                self.counts["readers saw the old run"] += 1
            elif new == {now}:
                self.counts["readers saw the new run"] += 1
                if checksums(self.manifest(now)) != wanted:
                    raise Broken(f"run {now} has other bytes")
                old = now
            else:
                raise Broken(f"after {old} readers see {now}, new are {new}")
            if number % 3 == 2:
                old, manifest = self.run()
                if checksums(manifest) != wanted:
                    raise Broken(f"run {old} has other bytes")
                self.counts["undisturbed runs, the same bytes"] += 1
                if manifest.get("resumed"):
                    self.counts["of them gone on with"] += 1
                    self.counts["parts not done again"] += manifest["resumed"]["parts"]
                if self.seen() != old:
                    raise Broken(f"readers do not see {old}")
            if number % 20 == 19:
                self.packwise("runs", "gc", "--keep", "3", "--older-than", "0d", "--grace", "0d")
        self.run()
        self.packwise("runs", "gc", "--keep", "1", "--older-than", "0d", "--grace", "0d")
        left = sorted(path.name for path in (self.folder / "packwise-demo/scratch").iterdir())
        if left != [".packwise.lock"] or len(self.known()) != 1:
            raise Broken(f"left over: scratch {left}, runs {self.known()}")
        folders = list((self.folder / "packwise-demo/out/runs").iterdir())
        if len(folders) != 1:
            raise Broken(f"left over: {folders}")
        return whole / 1.1

    def known(self):
        runs = (self.folder / "packwise-demo/out/runs").glob("*/manifest.json")
        return {path.parent.name for path in runs}


def checksums(manifest):
    return {
        file["path"]: file["checksum"]
        for name, table in manifest["tables"].items()
        if name != COMPARES
        for file in table["files"]
    }


def report(chaos, whole, seed, seconds):
    c = chaos.counts
    quarters = Counter(min(3, int(moment * 4)) for moment in chaos.moments)
    rows = [
        ("rounds", c["rounds"]),
        ("killed by SIGKILL", c["SIGKILL"]),
        ("stopped by SIGTERM or SIGINT", c["SIGTERM"] + c["SIGINT"]),
        ("ended before the signal came", c["ended before the signal"]),
        ("signals by quarter of the run", ", ".join(str(quarters[q]) for q in range(4))),
        ("after it readers saw the old run, whole", c["readers saw the old run"]),
        ("after it readers saw the new run, whole", c["readers saw the new run"]),
        ("anything else", 0),
        ("files compared with their checksums", c["files compared"]),
        ("undisturbed runs afterwards, the same bytes", c["undisturbed runs, the same bytes"]),
        ("of them went on with a stopped run", c["of them gone on with"]),
        ("parts that they did not do again", c["parts not done again"]),
        ("slowest end after SIGTERM or SIGINT", f"{chaos.slowest_stop:.2f} s"),
    ]
    lines = ["| | |", "|---|---:|"] + [f"| {name} | {value:,} |" if isinstance(value, int) else f"| {name} | {value} |" for name, value in rows]
    today = datetime.datetime.now(datetime.timezone.utc).date()
    about = (
        f"`scripts/chaos.sh {chaos.rounds} {seed}` on {today}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores: 20,000 purchases, a run takes {whole:.1f} s, {seconds / 60:.0f} minutes in all."
    )
    return about + "\n\n" + "\n".join(lines)


def write(path, text):
    path = Path(path)
    page = path.read_text()
    head, rest = page.split("<!-- chaos -->\n", 1)
    _, tail = rest.split("<!-- /chaos -->", 1)
    path.write_text(f"{head}<!-- chaos -->\n{text}\n<!-- /chaos -->{tail}")


def main():
    rounds, seed, seconds, page = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    folder = tempfile.mkdtemp(prefix="packwise-chaos-")
    started = time.monotonic()
    try:
        chaos = Chaos(folder, rounds, seed, seconds)
        whole = chaos.play()
    except Broken as broken:
        print(f"broken promise: {broken}\nsee {folder}", file=sys.stderr)
        return 1
    text = report(chaos, whole, seed, time.monotonic() - started)
    print(text)
    if page:
        write(page, text)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
