"""A test case whose environment holds no variable of a job but those that the test sets."""

import json
import os
import pathlib
import tempfile
import unittest
from unittest import mock

PREFIXES = ("POLYAXON_", "PX_", "TF_CONFIG")


class JobEnvironmentTest(unittest.TestCase):
    def setUp(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
        patch = mock.patch.dict(os.environ, kept, clear=True)
        patch.start()
        self.addCleanup(patch.stop)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def set(self, **variables):
        """Sets variables; what is not text is written as JSON."""
        for name, value in variables.items():
            os.environ[name] = value if isinstance(value, str) else json.dumps(value)

    def report_to(self, name="metrics.jsonl"):
        self.set(PX_METRICS_PATH=str(self.folder / name))

    def records(self, name="metrics.jsonl"):
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
