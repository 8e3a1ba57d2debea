"""The JSON-lines file named by PX_METRICS_PATH, which the launcher reads."""

import datetime
import json
import math
import os
import sys


def plain_number(value):
    """float(value); what JSON has no number for becomes "nan", "inf" or "-inf"."""
    number = float(value)
    return number if math.isfinite(number) else str(number)


def append_record(key, value):
    """Appends {"at": now, key: value}. Without PX_METRICS_PATH, does nothing.

    A file that cannot be written is reported on standard error once per call, never raised: a full
    disk must not end a training run for the sake of a metric.
    """
    path = os.environ.get("PX_METRICS_PATH")
    if not path:
        return
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    at = now.isoformat(timespec="microseconds") + "Z"
    line = json.dumps({"at": at, key: value}, default=str) + "\n"
    try:
        # One write to a file opened for appending: lines of several processes do not mix.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.write(descriptor, line.encode("utf-8"))
        finally:
            os.close(descriptor)
    except OSError as error:
        print("Could not report {}: {}".format(key, error), file=sys.stderr)
