"""Polyaxon 0.5's tracking interface over the same environment and the same JSON-lines file.

Outside a job everything but the constructors raises PolyaxonClientException; where POLYAXON_NO_OP is
set everything does nothing and returns None.
"""

import functools
import os
import shutil

import polyaxon_helper
from polyaxon_client.exceptions import PolyaxonClientException
from polyaxon_helper._records import append_record, plain_number

__all__ = [
    "BuildJob",
    "Experiment",
    "Group",
    "Job",
    "get_base_outputs_path",
    "get_data_paths",
    "get_log_level",
    "get_outputs_path",
    "get_outputs_refs_paths",
]

_FALSE = ("", "0", "false", "no", "off", "f", "n")


def _is_true(name):
    return os.environ.get(name, "").strip().lower() not in _FALSE


def _is_managed():
    return (
        _is_true("POLYAXON_IS_MANAGED")
        or _is_true("POLYAXON_IN_CLUSTER")
        or "POLYAXON_EXPERIMENT_INFO" in os.environ
        or "POLYAXON_JOB_INFO" in os.environ
    )


def _tracked(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        if _is_true("POLYAXON_NO_OP"):
            return None
        if not _is_managed():
            raise PolyaxonClientException(
                "This experiment/job is not managed by Polyaxon. "
                "(Set POLYAXON_NO_OP=1 to run it outside a job.)"
            )
        return function(*args, **kwargs)

    return call


get_data_paths = _tracked(polyaxon_helper.get_data_paths)
get_outputs_path = _tracked(polyaxon_helper.get_outputs_path)
get_outputs_refs_paths = _tracked(polyaxon_helper.get_outputs_refs_paths)
get_log_level = _tracked(polyaxon_helper.get_log_level)


@_tracked
def get_base_outputs_path():
    """The directory below which every experiment's outputs are."""
    return os.environ.get("POLYAXON_BASE_OUTPUTS_PATH")


def _number_of(dotted_name):
    last = str(dotted_name or "").rsplit(".", 1)[-1]
    return int(last) if last.isdigit() else None


class _Tracked:
    """What an experiment, a job, a build and a group have in common."""

    get_outputs_path = staticmethod(get_outputs_path)
    get_log_level = staticmethod(get_log_level)
    get_data_paths = staticmethod(get_data_paths)

    def __init__(self, project=None, client=None, track_logs=True, track_code=True, track_env=True,
                 outputs_store=None):
        self.project = project
        self.client = client
        self.track_logs = track_logs
        self.track_code = track_code
        self.track_env = track_env
        self.outputs_store = outputs_store

    @_tracked
    def create(self, name=None, tags=None, description=None, **_unused):
        """The launcher made the record already; this gives it what is named here."""
        if name:
            self.set_name(name)
        if description:
            self.set_description(description)
        if tags:
            self.log_tags(tags)
        return self

    @_tracked
    def log_status(self, status, message=None, traceback=None):
        append_record("status", {"status": status, "message": message, "traceback": traceback})

    def log_succeeded(self, message="Job has succeeded"):
        return self.log_status("succeeded", message)

    def log_failed(self, message="Job has failed", traceback=None):
        return self.log_status("failed", message, traceback)

    def log_stopped(self, message="Job is stopped"):
        return self.log_status("stopped", message)

    @_tracked
    def log_tags(self, tags, reset=False):
        """`tags`: a list, or text with commas between."""
        if isinstance(tags, str):
            tags = [tag.strip() for tag in tags.split(",") if tag.strip()]
        append_record("tags", {"values": list(tags), "reset": bool(reset)})

    @_tracked
    def log_params(self, reset=False, **params):
        append_record("params", {"values": params, "reset": bool(reset)})

    @_tracked
    def log_code_ref(self, code_ref=None):
        append_record("code_ref", code_ref)

    @_tracked
    def log_run_env(self, run_env=None):
        append_record("run_env", run_env)

    @_tracked
    def log_data_ref(self, data, data_name="data", reset=False):
        append_record("data_ref", {"name": data_name, "value": str(data), "reset": bool(reset)})

    @_tracked
    def set_name(self, name):
        append_record("name", name)

    @_tracked
    def set_description(self, description):
        append_record("description", description)

    @_tracked
    def log_artifact(self, file_path):
        """Copies one file into the outputs."""
        outputs = polyaxon_helper.get_outputs_path()
        if outputs:
            target = os.path.join(outputs, os.path.basename(file_path))
            if os.path.realpath(file_path) != os.path.realpath(target):
                shutil.copy2(file_path, target)

    @_tracked
    def log_artifacts(self, dir_path):
        """Copies a directory, with its name, into the outputs."""
        outputs = polyaxon_helper.get_outputs_path()
        if outputs:
            target = os.path.join(outputs, os.path.basename(os.path.normpath(dir_path)))
            if os.path.realpath(dir_path) != os.path.realpath(target):
                shutil.copytree(dir_path, target, dirs_exist_ok=True)

    # Earlier names of the two above.
    log_output = log_artifact
    log_outputs = log_artifacts


class Experiment(_Tracked):
    get_cluster_def = staticmethod(_tracked(polyaxon_helper.get_cluster_def))
    get_task_info = staticmethod(_tracked(polyaxon_helper.get_task_info))
    get_experiment_info = staticmethod(_tracked(polyaxon_helper.get_experiment_info))
    get_tf_config = staticmethod(_tracked(polyaxon_helper.get_tf_config))
    get_params = staticmethod(_tracked(polyaxon_helper.get_params))
    get_declarations = staticmethod(_tracked(polyaxon_helper.get_declarations))
    get_outputs_refs_paths = staticmethod(get_outputs_refs_paths)

    def __init__(self, project=None, experiment_id=None, group_id=None, **kwargs):
        super().__init__(project, **kwargs)
        info = polyaxon_helper.get_experiment_info() or {}
        self.project = project or info.get("project_name")
        self.experiment_id = experiment_id or _number_of(info.get("experiment_name"))
        self.group_id = group_id or _number_of(info.get("experiment_group_name"))

    @_tracked
    def log_metrics(self, **metrics):
        """Metrics, `step` among them where there is one; float() must accept each."""
        if metrics:
            append_record("metrics", {name: plain_number(value) for name, value in metrics.items()})


class Job(_Tracked):
    get_job_info = staticmethod(_tracked(polyaxon_helper.get_job_info))
    get_params = staticmethod(_tracked(polyaxon_helper.get_params))
    get_declarations = staticmethod(_tracked(polyaxon_helper.get_declarations))
    get_outputs_refs_paths = staticmethod(get_outputs_refs_paths)

    def __init__(self, project=None, job_id=None, **kwargs):
        super().__init__(project, **kwargs)
        info = polyaxon_helper.get_job_info() or {}
        self.project = project or info.get("project_name")
        self.job_id = job_id or _number_of(info.get("job_name"))


class BuildJob(Job):
    pass


class Group(_Tracked):
    def __init__(self, project=None, group_id=None, **kwargs):
        super().__init__(project, **kwargs)
        info = polyaxon_helper.get_experiment_info() or {}
        self.project = project or info.get("project_name")
        self.group_id = group_id or _number_of(info.get("experiment_group_name"))
