"""The rows of bench/run that are about px alone: memory, mount time, latency beside background work.

Each is a dictionary with row, value, unit, goal (at most) and, where it helps, details.
"""

import contextlib
import json
import os
import pathlib
import threading
import time

import images

FILES_PER_DIR = 1000
ROWS = ["memory", "mount_time", "latency"]


def daemon_pid(mountpoint):
    """Of the daemon, not of its keeper, which holds the store's lock."""
    px_fs = images.program("px-fs")
    return json.loads(images.command(px_fs, "status", "--json", mountpoint).stdout)["pid"]


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has gone")


def stat_all(directory):
    """Asks for the attributes of everything; the number of files."""
    files = 0
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            files += stat_all(entry.path)
        else:
            entry.stat(follow_symlinks=False)
            files += 1
    return files


def create(directory, begin, end):
    for number in range(begin, end):
        parent = f"{directory}/d{number // FILES_PER_DIR}"
        if number % FILES_PER_DIR == 0:
            os.mkdir(parent)
        os.close(os.open(f"{parent}/f{number}", os.O_CREAT | os.O_WRONLY, 0o644))


def latency(directory, seconds):
    return json.loads(images.command(images.program("latency"), directory,
                                     f"--seconds={seconds}").stdout)


def memory_and_latency(work, disk, options, rows):
    """One store of --big-files files serves both rows: making it takes longest."""
    store = disk.get("xfs") / "big"
    mountpoint = work / "big"
    mountpoint.mkdir()
    results = []
    with images.px_mount(store, mountpoint, "allow_other") as px_fs:
        pid = daemon_pid(mountpoint)
        for name in ("volume", "other"):
            images.command(px_fs, "create", mountpoint / name)
        idle = latency(mountpoint / "other", options.seconds)
        tenth = options.big_files // 10 // FILES_PER_DIR * FILES_PER_DIR
        create(mountpoint / "volume", 0, tenth)
        at_tenth = resident_mib(pid)
        create(mountpoint / "volume", tenth, options.big_files)
        created = resident_mib(pid)
        stat_all(mountpoint / "volume")
        images.command(px_fs, "clone", mountpoint / "volume", mountpoint / "clone")
        stat_all(mountpoint / "clone")
        if "memory" in rows:
            results.append({"row": "memory", "value": resident_mib(pid), "unit": "MiB", "goal": 256,
                            "details": {"a tenth created": at_tenth, "created": created}})
        if "latency" in rows:
            results += latency_rows(px_fs, mountpoint, idle, options)
    images.remove(store)
    return results


@contextlib.contextmanager
def syncing(directory):
    """Flushes the store again and again while the body runs."""
    stop = threading.Event()

    def sync():
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        while not stop.is_set():
            os.fsync(fd)
        os.close(fd)

    thread = threading.Thread(target=sync)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def latency_rows(px_fs, mountpoint, idle, options):
    other = mountpoint / "other"
    for name in ("clone", "volume"):
        images.command(px_fs, "rm", "--now", mountpoint / name)
    measured = {"reclaim": latency(other, options.seconds)}
    with syncing(mountpoint):
        measured["sync"] = latency(other, options.seconds)
    return [{"row": f"latency_{name}", "value": one["p99_us"] / idle["p99_us"], "unit": "x idle",
             "goal": 2, "details": {"p99_us": one["p99_us"], "idle_p99_us": idle["p99_us"]}}
            for name, one in measured.items()]


def mount_time(work, disk, options):
    mountpoint = work / "many"
    mountpoint.mkdir()
    results = []
    for name, own in (("shared", 0), ("own", options.own_files)):
        store = disk.get("xfs") / f"many-{name}"
        images.command(images.program("bigstore"), store, f"--volumes={options.volumes}",
                       f"--files={options.volume_files}", f"--own={own}")
        seconds = []
        for _ in range(3):
            disk.forget_cache("xfs")
            started = time.monotonic()
            with images.px_mount(store, mountpoint, "allow_other"):
                seconds.append(time.monotonic() - started)
        results.append({"row": f"mount_{name}", "value": sorted(seconds)[1], "unit": "s", "goal": 1,
                        "details": {"volumes": options.volumes,
                                    "inodes": options.volumes * (options.volume_files + own),
                                    "min": min(seconds), "max": max(seconds)}})
        images.remove(store)
    return results


def measure(work, disk, options, rows):
    results = []
    if "mount_time" in rows:
        results += mount_time(work, disk, options)
    if "memory" in rows or "latency" in rows:
        results += memory_and_latency(work, disk, options, rows)
    return results


def print_rows(results):
    print("\npx alone (as root, store on XFS):")
    for one in results:
        verdict = "ok  " if one["value"] <= one["goal"] else "MISS"
        details = ", ".join(f"{name} {value:.4g}" for name, value in one["details"].items())
        print(f"  {verdict} {one['row']:16} {one['value']:8.2f} {one['unit']:8} "
              f"(goal <= {one['goal']}; {details})")
