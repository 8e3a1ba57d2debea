"""A px of its own in a temporary place: home, mount, project; and the end of all of it."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DONE = {"succeeded", "failed", "stopped"}


def binary_folder(to):
    """A folder with px-fs, px-launch and polyaxon, of the build folder PX_BUILD or build/release."""
    build = pathlib.Path(os.environ.get("PX_BUILD") or ROOT / "build/release")
    for program in ["bin/px-fs", "bin/px-launch"]:
        (to / pathlib.Path(program).name).symlink_to((build / program).resolve(strict=True))
    (to / "polyaxon").symlink_to("px-launch")


class Px:
    def __init__(self, code):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="px-frameworks-"))
        self.home = self.folder / "home"
        self.reports = self.folder / "reports"
        self.code = self.folder / "code"
        for folder in [self.home, self.reports, self.folder / "bin"]:
            folder.mkdir()
        shutil.copytree(code, self.code, ignore=shutil.ignore_patterns("__pycache__"))
        binary_folder(self.folder / "bin")
        kept = {name: value for name, value in os.environ.items()
                if not re.match(r"POLYAXON_|PX_|TF_CONFIG", name)}
        self.environment = {
            **kept,
            "PX_HOME": str(self.home), "PX_USER": "me", "PX_TEST_REPORTS": str(self.reports),
            "PATH": f"{self.folder / 'bin'}:{kept['PATH']}",
            "PYTHONPATH": str(ROOT / "python"), "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_ENABLE_ONEDNN_OPTS": "0", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.outputs_root = self.home / "outputs/me/frameworks/experiments"

    def command(self, *words, check=True):
        run = subprocess.run(words, cwd=self.code, env=self.environment, text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if check and run.returncode != 0:
            raise AssertionError(f"{' '.join(words)} gave {run.returncode}:\n{run.stdout}")
        return run.stdout

    def polyaxon(self, *words):
        return self.command("polyaxon", *words)

    def number_in(self, text):
        """The experiment's number in "Experiment `7` was created" or "… with id 7"."""
        found = re.search(r"Experiment `(\d+)` was created|with id `?(\d+)", text)
        if not found:
            raise AssertionError("no experiment's number in: " + text)
        return int(found.group(1) or found.group(2))

    def outputs(self, number):
        return self.outputs_root / str(number)

    def log(self, number):
        path = self.home / "logs/me/frameworks/experiments" / str(number)
        return path.read_text(errors="replace") if path.exists() else "(no log)"

    def status(self, number):
        text = self.polyaxon("--json", "experiment", "-xp", str(number), "get")
        return json.loads(text)["status"]

    def wait_for(self, condition, what, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError("waited in vain for " + what)

    def finish(self, number, expected):
        status = self.wait_for(lambda: (lambda s: s if s in DONE else None)(self.status(number)),
                               f"experiment {number} to end")
        if status != expected:
            raise AssertionError(f"experiment {number} {status}:\n{self.log(number)[-3000:]}")

    def processes(self, *settings):
        """Ours (by PX_HOME), with these settings in their environment too."""
        wanted = [f"PX_HOME={self.home}".encode(), *[text.encode() for text in settings]]
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                have = set(entry.read_bytes().split(b"\0"))
            except OSError:
                continue
            if all(setting in have for setting in wanted):
                found.append(int(entry.parent.name))
        return found

    def kill_job(self, number):
        victims = self.processes(f"POLYAXON_OUTPUTS_PATH={self.outputs(number)}")
        if not victims:
            raise AssertionError(f"the job of experiment {number} does not run:\n{self.log(number)[-3000:]}")
        for victim in victims:
            os.kill(victim, signal.SIGKILL)

    def close(self):
        """Ends what was started, unmounts, removes the folder. What had to be killed is returned."""
        if os.path.ismount(self.home / "outputs"):
            for path in self.reports.iterdir():
                if self.status(int(path.name)) not in DONE:
                    self.command("polyaxon", "experiment", "-xp", path.name, "stop", "-y", check=False)
            self.command("px-fs", "umount", str(self.home / "outputs"), check=False)
        end = time.monotonic() + 10
        while self.processes() and time.monotonic() < end:
            time.sleep(0.1)
        left = self.processes()
        for victim in left:
            os.kill(victim, signal.SIGKILL)
        if os.path.ismount(self.home / "outputs"):
            subprocess.run(["umount", "-l", str(self.home / "outputs")], check=False)
            left.append("mount")
        shutil.rmtree(self.folder, ignore_errors=True)
        return left
