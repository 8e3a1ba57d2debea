#!/usr/bin/env python3
"""Runs clang-tidy over the compile commands of a build folder, and remembers what was clean.

usage: tidy.py --tidy CLANG_TIDY --build DIR --cache DIR [--jobs N] [FILE...]

A source is looked at again only when its preprocessed text, its flags, .clang-tidy or the version
of clang-tidy changed, so a second run costs one preprocessing of each file.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def preprocess(entry):
    command = [word for word in shlex.split(entry["command"]) if word != "ccache"]
    kept, skip = [], False
    for word in command:
        if skip:
            skip = False
        elif word == "-o":
            skip = True
        elif word != "-c":
            kept.append(word)
    run = subprocess.run(kept + ["-E"], cwd=entry["directory"], capture_output=True)
    return run.stdout if run.returncode == 0 else None


def check(entry, options, salt):
    """Returns (file, output); empty output means clean."""
    file = os.path.relpath(os.path.join(entry["directory"], entry["file"]), ROOT)
    text = preprocess(entry)
    key = None
    if text is not None:
        # NOLINT comments are not in the preprocessed text, so the file itself counts too.
        source = (ROOT / file).read_bytes()
        key = hashlib.sha256(salt + text + source).hexdigest()
        if (options.cache / key).exists():
            return file, ""
    run = subprocess.run(
        [options.tidy, "--quiet", "-p", str(options.build), str(ROOT / file)],
        capture_output=True, text=True, cwd=ROOT,
    )
    if run.returncode == 0:
        if key:
            (options.cache / key).touch()
        return file, ""
    return file, run.stdout + run.stderr


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tidy", required=True)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--cache", required=True, type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)

    entries = json.loads((options.build / "compile_commands.json").read_text())
    if options.files:
        wanted = {str(pathlib.Path(file).resolve()) for file in options.files}
        entries = [entry for entry in entries if entry["file"] in wanted]
    version = subprocess.run([options.tidy, "--version"], capture_output=True, check=True).stdout
    salt = version + (ROOT / ".clang-tidy").read_bytes()

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for file, output in pool.map(lambda entry: check(entry, options, salt), entries):
            if output:
                failed += 1
                print(f"--- {file}\n{output}", flush=True)
    print(f"clang-tidy: {len(entries)} files, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
