"""Each framework's way of saving, killed half-way, resumed, and copied while it was half-way."""

import hashlib
import json
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from px import Px  # noqa: E402

JOBS = pathlib.Path(__file__).parent / "jobs"
sys.path.insert(0, str(JOBS))
from common import EVERY, LAST  # noqa: E402


def contents(folder):
    """{path: hash} of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


class FrameworkCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.px = Px(JOBS)
        cls.addClassCleanup(cls.close)
        cls.px.polyaxon("init", "frameworks")

    @classmethod
    def close(cls):
        left = cls.px.close()
        assert not left, f"left behind: {left}"

    def reports(self, number, event):
        path = self.px.reports / str(number)
        lines = path.read_text().splitlines() if path.exists() else []
        return [record for record in map(json.loads, lines) if record["event"] == event]

    def run_and_kill(self, python, job):
        """Runs a job until it has saved twice, kills it, and returns its number."""
        (self.px.code / "polyaxonfile.yml").write_text(
            f"version: 1\nkind: experiment\nrun:\n  cmd: {python} {job}.py\n")
        number = self.px.number_in(self.px.polyaxon("run", "-f", "polyaxonfile.yml"))

        def waiting_or_over():
            if self.reports(number, "waiting"):
                return "waiting"
            return self.px.status(number) in ("failed", "succeeded", "stopped") and "over"

        state = self.px.wait_for(waiting_or_over, f"{job} to save twice", 180)
        self.assertEqual(state, "waiting", self.px.log(number)[-3000:])
        self.px.kill_job(number)
        self.px.finish(number, "failed")
        self.assertEqual(self.reports(number, "saved")[-1]["step"], 2 * EVERY)
        return number

    def check_goes_on(self, number, source):
        """The experiment began where `source` last saved, with the same weights, and went to the end."""
        self.px.finish(number, "succeeded")
        last = self.reports(source, "saved")[-1]
        began = self.reports(number, "started")[0]
        self.assertEqual(began["step"], last["step"])
        self.assertEqual(began["weights"], last["weights"])
        self.assertEqual(self.reports(number, "saved")[-1]["step"], LAST)

    def check_resume(self, python, job):
        source = self.run_and_kill(python, job)
        clone = self.px.number_in(self.px.polyaxon("experiment", "-xp", str(source), "resume"))
        self.check_goes_on(clone, source)
        self.assertEqual(os.path.realpath(self.px.outputs(clone)),
                         os.path.realpath(self.px.outputs(source)))

    def check_copy(self, python, job):
        source = self.run_and_kill(python, job)
        before = contents(self.px.outputs(source))
        clone = self.px.number_in(
            self.px.polyaxon("experiment", "-xp", str(source), "restart", "--copy"))
        self.check_goes_on(clone, source)
        self.assertEqual(contents(self.px.outputs(source)), before, "the original was changed")
        self.assertNotEqual(contents(self.px.outputs(clone)), before)


class TorchTest(FrameworkCase):
    python = os.environ["PX_TEST_TORCH_PYTHON"]

    def test_state_dict_resumes(self):
        self.check_resume(self.python, "torch_state")

    def test_state_dict_copied_goes_on(self):
        self.check_copy(self.python, "torch_state")

    def test_whole_model_resumes(self):
        self.check_resume(self.python, "torch_model")

    def test_whole_model_copied_goes_on(self):
        self.check_copy(self.python, "torch_model")


class TensorFlowTest(FrameworkCase):
    python = os.environ["PX_TEST_TENSORFLOW_PYTHON"]

    def test_estimator_resumes_from_its_last_global_step(self):
        self.check_resume(self.python, "estimator")

    def test_estimator_copied_goes_on(self):
        self.check_copy(self.python, "estimator")

    def test_keras_weights_resume(self):
        self.check_resume(self.python, "keras_weights")

    def test_keras_weights_copied_go_on(self):
        self.check_copy(self.python, "keras_weights")

    def test_keras_saved_model_in_the_outputs_path_itself_resumes(self):
        self.check_resume(self.python, "keras_directory")

    def test_keras_saved_model_copied_goes_on(self):
        self.check_copy(self.python, "keras_directory")


class Result(unittest.TextTestResult):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


if __name__ == "__main__":
    program = unittest.main(verbosity=2, exit=False,
                            testRunner=unittest.TextTestRunner(resultclass=Result, verbosity=2))
    result = program.result
    bad = len(result.failures) + len(result.errors)
    print(f"{result.passed} passed, {bad} failed")
    sys.exit(1 if bad or not result.passed else 0)
