"""Loop images, mounts and the programs to compare, for bench/run and bench/clone."""

import contextlib
import os
import pathlib
import shutil
import stat
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def command(*argv, check=True, **keywords):
    return subprocess.run([str(word) for word in argv], check=check, text=True,
                          capture_output=True, **keywords)


def newest(pattern):
    """The newest of the project's files that match, or None."""
    found = [path for path in ROOT.glob(pattern) if path.is_file()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def program(name):
    """A program of ours from the newest build (PX_BUILD says which), or None."""
    if os.environ.get("PX_BUILD"):
        path = pathlib.Path(os.environ["PX_BUILD"]).resolve() / "bin" / name
        return path if path.exists() else None
    return newest(f"build*/bin/{name}") or newest(f"build/*/bin/{name}")


def is_mounted(path):
    return any(line.split()[4] == str(path)
               for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines())


def wait_for_mount(path, process):
    """Until `process`, a FUSE daemon, has mounted `path` and answers."""
    deadline = time.monotonic() + 20
    while not is_mounted(path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args[0]} did not mount {path}")
        time.sleep(0.02)
    os.statvfs(path)


class Images:
    """Fresh images on loop devices, made when first asked for; all is taken away at the end."""

    MAKE = {
        "xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"],
        "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
        "btrfs": ["mkfs.btrfs", "-q"],
    }

    def __init__(self, work, size_gib):
        self.work = pathlib.Path(work)
        self.size = size_gib << 30
        self.mounted = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for path in reversed(self.mounted):
            command("umount", path, check=False)

    def get(self, kind):
        path = self.work / kind
        if path in self.mounted:
            return path
        image = self.work / f"{kind}.img"
        with open(image, "wb") as file:
            file.truncate(self.size)
        command(*self.MAKE[kind], image)
        path.mkdir()
        command("mount", "-o", "loop", image, path)
        path.chmod(0o755)
        self.mounted.append(path)
        return path

    def forget_cache(self, kind):
        """Mounts the image anew: what the kernel remembers of its files is gone."""
        path = self.work / kind
        command("umount", path)
        command("mount", "-o", "loop", self.work / f"{kind}.img", path)


@contextlib.contextmanager
def daemon(argv, mountpoint):
    """A FUSE filesystem in the foreground."""
    process = subprocess.Popen([str(word) for word in argv], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        wait_for_mount(mountpoint, process)
        yield
    finally:
        command("umount", mountpoint, check=False)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            command("umount", "-l", mountpoint, check=False)


@contextlib.contextmanager
def px_mount(store, mountpoint, options):
    px_fs = program("px-fs")
    store.mkdir(parents=True, exist_ok=True)
    command(px_fs, "mount", "--store", store, "-o", options, mountpoint)
    try:
        yield px_fs
    finally:
        command(px_fs, "umount", mountpoint)


def lend_fuse_device(directory):
    """A /dev/fuse for everybody, as distributions have it; for a mount namespace of our own."""
    node = pathlib.Path(directory) / "fuse"
    os.mknod(node, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
    node.chmod(0o666)
    return node


def remove(path):
    if path.exists() and not is_mounted(path):
        shutil.rmtree(path, ignore_errors=True)
