#!/usr/bin/env python3
"""Checks that the folders depend on each other one way only (docs/ARCHITECTURE.md).

usage: include_rules.py [ROOT]      prints one line per broken rule; exits 1 if there was any
"""

import pathlib
import re
import sys

SOURCES = {".h", ".cc", ".c", ".cpp", ".hpp"}

# Folder -> what of the project it may include: whole folders, or single headers.
# A folder may always include itself, and anybody may include uapi/.
PROJECT = {
    "uapi": [],
    "base": [],
    "cow": ["base/"],
    "catalog": ["base/", "cow/page_table.h", "cow/ids.h"],
    # px-fs is where the engine is given its page table, so it alone sees catalog's implementation;
    # and it keeps the seals of objects.
    "fs": ["base/", "cow/", "catalog/catalog_repair.h", "catalog/page_table.h", "catalog/salvage.h", "catalog/seal_table.h"],
    "launcher": ["base/", "catalog/"],
}

# Headers and calls of the outside world -> the only folders (or files, by prefix) that may use them.
SYSTEM = [
    (
        "libfuse or the kernel's FUSE header",
        re.compile(r"^(fuse3/.*|fuse(_\w+)?\.h|cuse_lowlevel\.h|linux/fuse\.h)$"),
        ["fs/", "tests/mount/", "tests/testing/", "tests/unit/forged_requests_test.cc", "tests/crash/",
         "tests/fuzz/", "bench/"],
    ),
    ("SQLite", re.compile(r"^(sqlite3(ext)?\.h|SQLiteCpp/.*)$"), ["catalog/"]),
    ("yaml-cpp", re.compile(r"^yaml-cpp/.*$"), ["launcher/"]),
]
CALLS = [
    (
        "starts a process",
        re.compile(r"(?<![\w.>])(?:::)?(v?fork|posix_spawnp?|clone3|popen|system)\s*\("),
        # `px-fs mount` starts the daemon and calls fusermount3.
        ["launcher/", "fs/mount_command.cc", "fs/keeper.cc", "fs/notifier.cc", "tests/", "bench/"],
    ),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def without_noise(text):
    """The text with comments and literals blanked out, line numbers kept."""
    return NOISE.sub(lambda m: "\n" * m.group().count("\n"), text)


def allowed(path, places):
    return any(path.startswith(place) for place in places)


def check_include(path, header, quoted):
    folder = path.split("/")[0]
    target = header.split("/")[0]
    if quoted and "/" in header and target in PROJECT:
        if folder in PROJECT and target not in (folder, "uapi"):
            if not allowed(header, PROJECT[folder]):
                return f'{folder}/ must not include "{header}"'
        return None
    for what, pattern, places in SYSTEM:
        if pattern.match(header) and not allowed(path, places):
            return f"<{header}>: only {', '.join(places)} may include {what}"
    return None


def check_file(path, text):
    """Yields (line, message) for every broken rule of one file; `path` is relative to the root."""
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            message = check_include(path, match.group(2), match.group(1) == '"')
            if message:
                yield number, message
    for number, line in enumerate(without_noise(text).splitlines(), 1):
        for what, pattern, places in CALLS:
            match = pattern.search(line)
            if match and not allowed(path, places):
                yield number, f"{match.group(1)}() {what}: only {', '.join(places)} may"


def sources(root):
    for folder in [*PROJECT, "tests", "bench"]:
        for file in sorted((root / folder).rglob("*")):
            if file.suffix in SOURCES and file.is_file():
                yield file


def check_tree(root):
    return [
        f"{file.relative_to(root)}:{line}: {message}"
        for file in sources(root)
        for line, message in check_file(
            file.relative_to(root).as_posix(), file.read_text(encoding="utf-8")
        )
    ]


def main(argv):
    root = pathlib.Path(argv[1] if len(argv) > 1 else ".").resolve()
    files = sum(1 for _ in sources(root))
    if not files:
        print(f"no sources below {root}", file=sys.stderr)
        return 2
    problems = check_tree(root)
    for problem in problems:
        print(problem)
    print(f"{files} files, {len(problems)} broken include rules")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
