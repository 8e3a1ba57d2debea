import contextlib
import io
import json
import multiprocessing
import os
import re

import polyaxon_helper
from polyaxon_helper import send_metrics

from tests.environment import JobEnvironmentTest

JSON_GETTERS = {
    "get_cluster_def": ("POLYAXON_CLUSTER", {"master": ["localhost:2222"]}),
    "get_task_info": ("POLYAXON_TASK_INFO", {"type": "master", "index": 0}),
    "get_experiment_info": ("POLYAXON_EXPERIMENT_INFO", {"experiment_name": "root.mnist.23"}),
    "get_job_info": ("POLYAXON_JOB_INFO", {"job_name": "root.mnist.jobs.2"}),
    "get_declarations": ("POLYAXON_DECLARATIONS", {"lr": 0.01}),
    "get_params": ("POLYAXON_PARAMS", {"lr": 0.01}),
    "get_outputs_refs_paths": ("POLYAXON_REFS_OUTPUTS_PATHS", {"experiments": ["/a", "/b"]}),
    "get_data_paths": ("POLYAXON_RUN_DATA_PATHS", {"data1": "/data/1"}),
}
TEXT_GETTERS = {
    "get_outputs_path": "POLYAXON_OUTPUTS_PATH",
    "get_data_path": "POLYAXON_DATA_PATH",
    "get_log_level": "POLYAXON_LOG_LEVEL",
    "get_user_token": "POLYAXON_USER_TOKEN",
}


def call(name):
    return getattr(polyaxon_helper, name)()


class OutsideAJobTest(JobEnvironmentTest):
    def test_every_getter_gives_none(self):
        for name in [*JSON_GETTERS, *TEXT_GETTERS, "get_api"]:
            self.assertIsNone(call(name), name)

    def test_send_metrics_does_nothing(self):
        send_metrics(loss=0.5)
        send_metrics(loss="not a number")

    def test_tf_config_has_no_values_and_leaves_the_environment_alone(self):
        config = polyaxon_helper.get_tf_config()
        self.assertEqual(
            config, {"cluster": None, "task": None, "model_dir": None, "environment": "cloud"}
        )
        self.assertNotIn("TF_CONFIG", os.environ)


class InsideAJobTest(JobEnvironmentTest):
    def test_json_getters(self):
        for name, (variable, value) in JSON_GETTERS.items():
            self.set(**{variable: value})
            self.assertEqual(call(name), value, name)

    def test_text_getters(self):
        for name, variable in TEXT_GETTERS.items():
            self.set(**{variable: "/text/of/" + name})
            self.assertEqual(call(name), "/text/of/" + name)

    def test_broken_json_is_reported_and_gives_none(self):
        for name, (variable, _) in JSON_GETTERS.items():
            with contextlib.redirect_stdout(io.StringIO()) as output:
                self.set(**{variable: "{'lr': 1"})
                self.assertIsNone(call(name), name)
            self.assertRegex(output.getvalue(), "Could not get .*inside a polyaxon job", name)
            del os.environ[variable]

    def test_newer_names_win(self):
        self.set(POLYAXON_OUTPUTS_PATH="/old", POLYAXON_RUN_OUTPUTS_PATH="/new")
        self.set(POLYAXON_DECLARATIONS={"lr": 1}, POLYAXON_PARAMS={"lr": 2})
        self.assertEqual(polyaxon_helper.get_outputs_path(), "/new")
        self.assertEqual(polyaxon_helper.get_params(), {"lr": 2})
        self.assertEqual(polyaxon_helper.get_declarations(), {"lr": 2})

    def test_either_name_serves_both_getters(self):
        self.set(POLYAXON_DECLARATIONS={"lr": 1})
        self.assertEqual(polyaxon_helper.get_params(), {"lr": 1})

    def test_declarations_null_is_none(self):
        self.set(POLYAXON_DECLARATIONS="null")
        self.assertIsNone(polyaxon_helper.get_declarations())

    def test_data_paths_under_their_three_names(self):
        paths = {"data1": "/data/1"}
        for variable in ["POLYAXON_RUN_DATA_PATHS", "POLYAXON_DATA_PATHS", "POLYAXON_DATA_PATH"]:
            self.set(**{variable: paths})
            self.assertEqual(polyaxon_helper.get_data_paths(), paths)
            del os.environ[variable]

    def test_a_plain_data_path_is_no_mapping(self):
        self.set(POLYAXON_DATA_PATH="/data/root/mnist")
        self.assertIsNone(polyaxon_helper.get_data_paths())

    def test_api_has_its_version(self):
        self.set(POLYAXON_API="http://host:80")
        self.assertEqual(polyaxon_helper.get_api(), "http://host:80/api/v1")
        self.assertEqual(polyaxon_helper.get_api(version="v2"), "http://host:80/api/v2")

    def test_tf_config_goes_into_the_named_variable(self):
        self.set(POLYAXON_CLUSTER={"master": ["a:1"]}, POLYAXON_TASK_INFO={"type": "master", "index": 0})
        self.set(POLYAXON_OUTPUTS_PATH="/outputs/1")
        config = polyaxon_helper.get_tf_config()
        self.assertEqual(json.loads(os.environ["TF_CONFIG"]), config)
        self.assertEqual(config["model_dir"], "/outputs/1")
        polyaxon_helper.get_tf_config(envvar="OTHER_CONFIG")
        self.assertEqual(json.loads(os.environ.pop("OTHER_CONFIG")), config)

    def test_tf_config_without_a_variable(self):
        self.set(POLYAXON_CLUSTER={"master": ["a:1"]})
        polyaxon_helper.get_tf_config(envvar=None)
        self.assertNotIn("TF_CONFIG", os.environ)


def send_many(count):
    for step in range(count):
        send_metrics(step=step, filler=1.5)


class SendMetricsTest(JobEnvironmentTest):
    def setUp(self):
        super().setUp()
        self.report_to()

    def test_appends_one_line_each(self):
        send_metrics(loss=0.5, accuracy=1)
        send_metrics(loss=0.25)
        self.assertEqual(
            [record["metrics"] for record in self.records()],
            [{"loss": 0.5, "accuracy": 1.0}, {"loss": 0.25}],
        )

    def test_time_is_utc_iso_8601(self):
        send_metrics(loss=1)
        at = self.records()[0]["at"]
        self.assertTrue(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", at), at)

    def test_what_json_cannot_say_is_text(self):
        send_metrics(a=float("nan"), b=float("inf"), c=float("-inf"))
        self.assertEqual(self.records()[0]["metrics"], {"a": "nan", "b": "inf", "c": "-inf"})

    def test_anything_float_accepts(self):
        class Scalar:
            def __float__(self):
                return 2.5

        send_metrics(loss=Scalar(), text="3")
        self.assertEqual(self.records()[0]["metrics"], {"loss": 2.5, "text": 3.0})

    def test_what_is_no_number_is_an_error_of_the_caller(self):
        with self.assertRaises(ValueError):
            send_metrics(loss="low")
        self.assertEqual(self.records(), [])

    def test_no_metrics_no_line(self):
        send_metrics()
        self.assertEqual(self.records(), [])

    def test_a_file_that_cannot_be_written_does_not_raise(self):
        self.set(PX_METRICS_PATH=str(self.folder / "missing" / "metrics"))
        with contextlib.redirect_stderr(io.StringIO()) as output:
            send_metrics(loss=1)
        self.assertIn("Could not report metrics", output.getvalue())

    def test_lines_of_several_processes_do_not_mix(self):
        context = multiprocessing.get_context("spawn")
        writers = [context.Process(target=send_many, args=(200,)) for _ in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        self.assertEqual(len(self.records()), 600)
