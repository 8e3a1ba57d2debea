"""Kills real saves of checkpoints at random moments: none may be lost.

usage: saves.py [--framework torch|keras|h5] [--kills N] [--seed N] [--mode passthrough|cached]

A process saves again and again over the same file, as the framework does it (it truncates the file and
writes; no fsync), and is killed (SIGKILL) at a random moment of a save. Then the file is whole, the
last one that was saved or the one that was being saved; or it is torn, `px-fs versions` lists the last
good one, and `px-fs restore` brings it back. Needs root, the framework, and PX_BUILD, a build folder.
The last line has the figures; exit status 1 if anything was lost.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

ELEMENTS = 700_000  # of each of the three arrays


class Torch:
    name = "checkpoint.pt"

    def __init__(self):
        import torch

        torch.set_num_threads(1)
        self.torch = torch

    def save(self, path, step):
        arrays = {name: self.torch.full((ELEMENTS,), float(step)) for name in "abc"}
        self.torch.save({"step": step, "model": arrays}, path)

    def load(self, path):
        """The step, or None where the file is not whole."""
        try:
            state = self.torch.load(path)
        except Exception:  # it says in many ways that a file is torn
            return None
        whole = all(bool((array == float(state["step"])).all()) for array in state["model"].values())
        return state["step"] if whole else None


class Keras:
    """model.save() of Keras, in either of its formats. Only the process that saves computes anything:
    TensorFlow's threads do not survive a fork."""

    def __init__(self, name):
        from tensorflow import keras

        self.keras = keras
        self.name = name
        self.model = None

    def save(self, path, step):
        keras = self.keras
        if self.model is None:
            self.model = keras.Sequential([keras.layers.Input((1000,)), keras.layers.Dense(1500),
                                           keras.layers.Dense(300)])
        self.model.set_weights([weight * 0 + step for weight in self.model.get_weights()])
        self.model.save(path)

    def load(self, path):
        import h5py

        try:
            if path.suffix == ".keras":
                with zipfile.ZipFile(path) as archive:
                    if archive.testzip() is not None:
                        return None
                    with archive.open("model.weights.h5") as weights, h5py.File(weights) as file:
                        return self.step_of(file)
            with h5py.File(path) as file:
                return self.step_of(file)
        except (OSError, KeyError, zipfile.BadZipFile):
            return None

    @staticmethod
    def step_of(file):
        import h5py

        values, count = set(), 0

        def visit(_, item):
            nonlocal count
            if isinstance(item, h5py.Dataset) and item.ndim > 0:
                count += item.size
                values.update({float(item[...].min()), float(item[...].max())})

        file.visititems(visit)
        whole = len(values) == 1 and count >= 1000 * 1500
        return int(values.pop()) if whole else None


FRAMEWORKS = {"torch": Torch, "keras": lambda: Keras("model.keras"), "h5": lambda: Keras("model.h5")}


class Mount:
    def __init__(self, mode):
        build = pathlib.Path(os.environ.get("PX_BUILD") or
                             pathlib.Path(__file__).resolve().parents[2] / "build/release")
        self.px_fs = str((build / "bin/px-fs").resolve(strict=True))
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="px-saves-"))
        self.root = self.folder / "mnt"
        self.root.mkdir()
        options = [] if mode == "passthrough" else ["-o", "nopassthrough"]
        self.run("mount", "--store", str(self.folder / "store"), *options, str(self.root))
        self.run("create", str(self.root / "volume"))

    def run(self, *words):
        done = subprocess.run([self.px_fs, *words], text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(f"px-fs {' '.join(words)} gave {done.returncode}: {done.stdout}")
        return done.stdout

    def close(self):
        self.run("umount", str(self.root))
        self.run("fsck", str(self.folder / "store"))
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)


def save_until_killed(framework, path, step, pipe):
    """In a child: saves step + 1, step + 2..., and says when each begins and ends."""
    while True:
        step += 1
        os.write(pipe, b"%d begins\n" % step)
        framework.save(path, step)
        os.write(pipe, b"%d ends\n" % step)


def run_and_kill(framework, path, step, rng):
    """The last step that was saved, and the last that was begun."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            save_until_killed(framework, path, step, writer)
        finally:
            os._exit(1)
    os.close(writer)
    begun = saved = step
    with os.fdopen(reader, "rb") as lines:
        durations, started = [], 0.0
        # Two saves say how long one takes; then one is killed at any moment of it.
        while len(durations) < 2 or begun == saved:
            line = lines.readline()
            if not line:
                raise RuntimeError("the process that saves ended by itself")
            number, what = line.split()
            if what == b"begins":
                begun, started = int(number), time.monotonic()
            else:
                saved = int(number)
                durations.append(time.monotonic() - started)
        time.sleep(rng.uniform(0, 1.1) * min(durations))
        os.kill(child, signal.SIGKILL)
        for line in lines:  # what it still said
            number, what = line.split()
            if what == b"begins":
                begun = int(number)
            else:
                saved = int(number)
    os.waitpid(child, 0)
    return saved, begun


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--framework", choices=FRAMEWORKS, default="torch")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=["passthrough", "cached"], default="passthrough")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    framework = FRAMEWORKS[options.framework]()
    mount = Mount(options.mode)
    path = mount.root / "volume" / framework.name
    step = whole = restored = 0
    lost = []
    for kill in range(options.kills):
        saved, begun = run_and_kill(framework, path, step, rng)
        now = framework.load(path)
        if now in (saved, begun):
            whole += 1
        else:
            listed = json.loads(mount.run("versions", "--json", str(path)))
            if listed:
                mount.run("restore", str(path))
            now = framework.load(path)
            if now == saved:
                restored += 1
            else:
                lost.append(f"kill {kill + 1}: saved {saved}, begun {begun}, after a restore {now}, "
                            f"{len(listed)} versions")
                break
        step = begun
    if lost:
        print("\n".join(lost), f"left in {mount.folder}", sep="\n")
    else:
        mount.close()
    print(f"{'ok' if not lost else 'FAILED'}: {options.framework}, {options.mode}, seed {options.seed}: "
          f"{whole + restored + len(lost)} saves killed, {step} begun, {whole} found whole, "
          f"{restored} restored, {len(lost)} lost")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
