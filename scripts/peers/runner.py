"""Runs one measured process: wall time, peak memory of its tree, bytes that it spilled, and how it ended."""

import os
import resource
import signal
import subprocess
import time

INTERVAL = 0.05


def total_memory_mib():
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def tree(pid):
    """The process and all that descend from it."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        try:
            for thread in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{thread}/children", encoding="ascii") as children:
                    waiting += [int(child) for child in children.read().split()]
        except OSError:
            continue
    return found


def resident_mib(pid):
    """Resident memory of a process tree now. Pages that its processes share are counted for each of them."""
    pages = 0
    for one in tree(pid):
        try:
            with open(f"/proc/{one}/statm", encoding="ascii") as statm:
                pages += int(statm.read().split()[1])
        except (OSError, IndexError, ValueError):
            continue
    return pages * resource.getpagesize() / 2**20


def high_water_mib(pid):
    """The most resident memory that a process has had since it started its program; 0 when it is gone.

    ru_maxrss will not do: it begins with the memory of the process that started this one.
    """
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def folder_bytes(folder):
    """Bytes of the files in a folder now."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_blocks * 512
            except OSError:
                continue
    return total


def run(command, folder, name, timeout, spill=None, environment=None, cwd=None):
    """Runs a command with its output in `folder/name.out` and `.err`; ends it, and it alone, when it takes too
    long or nine tenths of the machine's memory.

    Returns {"status": "ok" | "failed" | "timeout" | "memory", "wall", "rss_mib", "spilled_mib", "cpu_seconds",
    "message"}. Peak memory is the larger of the process's own high-water mark and of samples of its whole tree, both as
    last seen at most 0.05 s before the end.
    """
    most = 0.9 * total_memory_mib()
    out, err = os.path.join(folder, f"{name}.out"), os.path.join(folder, f"{name}.err")
    begun = time.perf_counter()
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        process = subprocess.Popen(
            command, stdout=stdout, stderr=stderr, cwd=cwd, env={**os.environ, **(environment or {})},
            start_new_session=True,
        )  # fmt: skip
        status, peak, spilled = "ok", 0.0, 0
        ended, code, usage = 0, 0, None
        try:
            while not ended:
                ended, code, usage = os.wait4(process.pid, os.WNOHANG)
                if ended:
                    break
                resident = resident_mib(process.pid)
                peak = max(peak, resident, high_water_mib(process.pid))
                if spill:
                    spilled = max(spilled, folder_bytes(spill))
                late = time.perf_counter() - begun > timeout
                if status == "ok" and (late or resident > most):
                    status = "timeout" if late else "memory"
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(INTERVAL)
        finally:
            if not ended:
                os.killpg(process.pid, signal.SIGKILL)
                os.waitpid(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(code)
    if status == "ok" and process.returncode != 0:
        status = "failed"
    message = ""
    if status != "ok":
        with open(err, encoding="utf-8", errors="replace") as text:
            message = text.read().strip()[-400:]
    return {
        "status": status,
        "wall": wall,
        "rss_mib": peak,
        "spilled_mib": spilled / 2**20,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "message": message,
    }
