from polyaxon_client.exceptions import PolyaxonClientException
from polyaxon_client.tracking import (
    Experiment,
    Group,
    Job,
    get_base_outputs_path,
    get_data_paths,
    get_log_level,
    get_outputs_path,
    get_outputs_refs_paths,
)

from tests.environment import JobEnvironmentTest

FUNCTIONS = [
    get_base_outputs_path,
    get_data_paths,
    get_log_level,
    get_outputs_path,
    get_outputs_refs_paths,
]


class OutsideAJobTest(JobEnvironmentTest):
    def test_functions_raise(self):
        for function in FUNCTIONS:
            with self.assertRaisesRegex(PolyaxonClientException, "not managed by Polyaxon"):
                function()

    def test_an_experiment_can_be_made_but_not_used(self):
        experiment = Experiment(project="mnist")
        self.assertIsNone(experiment.experiment_id)
        for use in [lambda: experiment.log_metrics(loss=1), Experiment.get_params, experiment.create]:
            with self.assertRaises(PolyaxonClientException):
                use()

    def test_no_op_makes_everything_none(self):
        self.set(POLYAXON_NO_OP="1")
        experiment = Experiment()
        for function in [*FUNCTIONS, Experiment.get_params, experiment.get_outputs_path]:
            self.assertIsNone(function())
        self.assertIsNone(experiment.log_metrics(loss=1))
        self.assertIsNone(experiment.log_artifact("/nonexistent"))


class InsideAJobTest(JobEnvironmentTest):
    def setUp(self):
        super().setUp()
        self.report_to()
        self.outputs = self.folder / "outputs"
        self.outputs.mkdir()
        self.set(POLYAXON_IS_MANAGED="1", POLYAXON_RUN_OUTPUTS_PATH=str(self.outputs))
        self.set(POLYAXON_EXPERIMENT_INFO={
            "project_name": "root.mnist",
            "experiment_group_name": "root.mnist.2",
            "experiment_name": "root.mnist.2.7",
        })

    def last(self, key):
        return self.records()[-1][key]

    def test_managed_but_unset_is_none(self):
        for function in [get_data_paths, get_log_level, get_outputs_refs_paths, get_base_outputs_path]:
            self.assertIsNone(function())

    def test_either_variable_makes_it_managed(self):
        for name in ["POLYAXON_IS_MANAGED", "POLYAXON_IN_CLUSTER"]:
            self.set(POLYAXON_IS_MANAGED="", POLYAXON_IN_CLUSTER="")
            self.set(**{name: "true"})
            self.assertEqual(get_outputs_path(), str(self.outputs))

    def test_no_op_wins_inside_a_job_too(self):
        self.set(POLYAXON_NO_OP="true")
        Experiment().log_metrics(loss=1)
        self.assertIsNone(get_outputs_path())
        self.assertEqual(self.records(), [])

    def test_ids_are_the_last_part_of_the_names(self):
        experiment = Experiment()
        self.assertEqual((experiment.experiment_id, experiment.group_id), (7, 2))
        self.assertEqual(experiment.project, "root.mnist")
        self.assertEqual(Group().group_id, 2)

    def test_a_job_has_its_own_id(self):
        self.set(POLYAXON_JOB_INFO={"project_name": "root.mnist", "job_name": "root.mnist.jobs.5"})
        self.assertEqual(Job().job_id, 5)

    def test_static_getters(self):
        self.set(POLYAXON_PARAMS={"lr": 0.1}, POLYAXON_TASK_INFO={"type": "master", "index": 0})
        self.assertEqual(Experiment.get_params(), {"lr": 0.1})
        self.assertEqual(Experiment.get_declarations(), {"lr": 0.1})
        self.assertEqual(Experiment.get_task_info()["type"], "master")
        self.assertEqual(Experiment().get_outputs_path(), str(self.outputs))

    def test_metrics_with_a_step(self):
        Experiment().log_metrics(step=3, loss=0.5)
        self.assertEqual(self.last("metrics"), {"step": 3.0, "loss": 0.5})

    def test_params_and_tags(self):
        experiment = Experiment()
        experiment.log_params(lr=0.1, optimizer="adam")
        self.assertEqual(
            self.last("params"), {"values": {"lr": 0.1, "optimizer": "adam"}, "reset": False}
        )
        experiment.log_tags("a, b", reset=True)
        self.assertEqual(self.last("tags"), {"values": ["a", "b"], "reset": True})
        experiment.log_tags(["c"])
        self.assertEqual(self.last("tags")["values"], ["c"])

    def test_statuses(self):
        experiment = Experiment()
        experiment.log_failed("diverged", traceback="line 1")
        self.assertEqual(
            self.last("status"), {"status": "failed", "message": "diverged", "traceback": "line 1"}
        )
        experiment.log_succeeded()
        self.assertEqual(self.last("status")["status"], "succeeded")
        experiment.log_stopped()
        self.assertEqual(self.last("status")["status"], "stopped")

    def test_create_describes_the_present_experiment(self):
        experiment = Experiment()
        self.assertIs(experiment.create(name="n", tags=["t"], description="d"), experiment)
        self.assertEqual([next(key for key in record if key != "at") for record in self.records()],
                         ["name", "description", "tags"])

    def test_artifacts_are_copied_into_the_outputs(self):
        (self.folder / "model.pt").write_text("weights")
        (self.folder / "plots" / "deep").mkdir(parents=True)
        (self.folder / "plots" / "deep" / "loss.svg").write_text("<svg/>")
        experiment = Experiment()
        experiment.log_artifact(str(self.folder / "model.pt"))
        for _ in range(2):
            experiment.log_artifacts(str(self.folder / "plots") + "/")
        self.assertEqual((self.outputs / "model.pt").read_text(), "weights")
        self.assertEqual((self.outputs / "plots" / "deep" / "loss.svg").read_text(), "<svg/>")

    def test_an_artifact_that_is_in_the_outputs_already_stays(self):
        (self.outputs / "model.pt").write_text("weights")
        Experiment().log_artifact(str(self.outputs / "model.pt"))
        self.assertEqual((self.outputs / "model.pt").read_text(), "weights")
