#!/usr/bin/env python3
"""Counts what scripts/test ran, names what failed, and exits 1 if anything did."""

import argparse
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree


def cases(program):
    """(passed, failed names, skipped names) of one ctest program; GoogleTest's cases one by one."""
    name = program.get("name")
    output = program.findtext("system-out") or ""
    status = program.get("status")
    if status in ("notrun", "disabled"):
        return 0, ([name + " (could not be run)"] if status == "notrun" else []), []
    passed = len(re.findall(r"^\[       OK \]", output, re.M))
    skipped = re.findall(r"^\[  SKIPPED \] (\S+) \(\d+ ms\)", output, re.M)
    failed = re.findall(r"^\[  FAILED  \] (\S+?),? .*\(\d+ ms\)", output, re.M)
    if status == "fail" and not failed:
        failed = [name]
    if not passed and not failed and not skipped:
        passed = 1
    return passed, [f"{name}: {case}" for case in failed], [f"{name}: {case}" for case in skipped]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--python-status", type=int, default=0)
    parser.add_argument("--no-skips", action="store_true")
    parser.add_argument("--seconds", type=int, default=0)
    options = parser.parse_args()

    passed, failed, skipped = 0, [], []
    report = options.build / "ctest.xml"
    if report.exists():
        for program in ElementTree.parse(report).getroot().iter("testcase"):
            ok, bad, left_out = cases(program)
            passed += ok
            failed += bad
            skipped += left_out
    else:
        failed.append("ctest wrote no report")

    python_log = options.build / "python.log"
    if python_log.exists():
        text = python_log.read_text()
        ran = int((re.search(r"^Ran (\d+) tests?", text, re.M) or [0, 0])[1])
        bad = re.findall(r"^(?:FAIL|ERROR): (.*)", text, re.M)
        if options.python_status and not bad:
            bad = ["python/tests could not be run"]
        passed += max(0, ran - len(bad))
        failed += [f"python: {case}" for case in bad]

    leftovers = options.build / "leftovers"
    if leftovers.exists() and leftovers.read_text().strip():
        failed.append("the tests left something behind:\n    " +
                      leftovers.read_text().strip().replace("\n", "\n    "))

    for case in skipped:
        print(f"skipped: {case}")
    if options.no_skips and skipped:
        failed.append(f"{len(skipped)} tests were skipped, and here none may be")
    for case in failed:
        print(f"failed: {case}")
    print(f"test: {options.seconds} s")
    print(f"{passed} passed, {len(failed)} failed" + (f", {len(skipped)} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
