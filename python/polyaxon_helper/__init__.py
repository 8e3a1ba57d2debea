"""What a job may ask about itself: outputs, declarations, cluster; and where it reports metrics.

Every getter reads the environment that the launcher prepared, and returns None outside a job. Names
of old and new Polyaxon versions are both understood, the new one first.
"""

import json
import os

from polyaxon_helper._records import append_record, plain_number

__version__ = "0.1.0"

__all__ = [
    "get_api",
    "get_cluster_def",
    "get_data_path",
    "get_data_paths",
    "get_declarations",
    "get_experiment_info",
    "get_job_info",
    "get_log_level",
    "get_outputs_path",
    "get_outputs_refs_paths",
    "get_params",
    "get_task_info",
    "get_tf_config",
    "get_user_token",
    "send_metrics",
]


def _text(*names):
    """The first of the variables that is set, or None."""
    for name in names:
        value = os.environ.get(name)
        if value:
            return value
    return None


def _parsed(what, *names):
    """The first of the variables that is set, parsed; None if none is set or it is not JSON."""
    value = _text(*names)
    if value is None:
        return None
    try:
        return json.loads(value)
    except ValueError:
        print(
            "Could not get {}, please make sure this is running inside a polyaxon job.".format(what)
        )
        return None


def get_cluster_def():
    """{"master": ["host:port"], "worker": [...], "ps": [...]}."""
    return _parsed("cluster definition", "POLYAXON_CLUSTER")


def get_task_info():
    """{"type": "master", "index": 0}."""
    return _parsed("task info", "POLYAXON_TASK_INFO")


def get_experiment_info():
    """Names ("root.mnist.23") and uuids of the experiment, its group and its project."""
    return _parsed("experiment info", "POLYAXON_EXPERIMENT_INFO")


def get_job_info():
    """Names and uuids of the job and its project."""
    return _parsed("job info", "POLYAXON_JOB_INFO")


def get_params():
    """All declarations and matrix values of the experiment."""
    return _parsed("params", "POLYAXON_PARAMS", "POLYAXON_DECLARATIONS")


def get_declarations():
    """get_params() under its older name."""
    return get_params()


def get_outputs_path():
    """Where to write; the original's directory in an experiment that was resumed."""
    return _text("POLYAXON_RUN_OUTPUTS_PATH", "POLYAXON_OUTPUTS_PATH")


def get_outputs_refs_paths():
    """{"experiments": [path, ...], "jobs": [path, ...]} of the outputs that the file refers to."""
    return _parsed("outputs references", "POLYAXON_REFS_OUTPUTS_PATHS")


def get_data_path():
    """The experiment's data path, as text."""
    return _text("POLYAXON_DATA_PATH")


def get_data_paths():
    """{volume name: path} of the data volumes."""
    names = ["POLYAXON_RUN_DATA_PATHS", "POLYAXON_DATA_PATHS"]
    # For a few versions the singular name held this mapping.
    if (get_data_path() or "").lstrip().startswith("{"):
        names.append("POLYAXON_DATA_PATH")
    return _parsed("data paths", *names)


def get_log_level():
    """"INFO", "DEBUG", "WARN", "ERROR" or "FATAL"."""
    return _text("POLYAXON_LOG_LEVEL")


def get_tf_config(envvar="TF_CONFIG"):
    """TensorFlow's description of cluster and task.

    Inside a job it is also put into the environment under the name `envvar`; None leaves that out.
    Outside a job its values are None, and the environment stays as it is.
    """
    config = {
        "cluster": get_cluster_def(),
        "task": get_task_info(),
        "model_dir": get_outputs_path(),
        "environment": "cloud",
    }
    if envvar and config["cluster"] is not None:
        os.environ[envvar] = json.dumps(config)
    return config


def get_api(version="v1"):
    """The address of the API, such as "http://host:80/api/v1"."""
    api = _text("POLYAXON_API", "POLYAXON_API_HTTP_HOST")
    return None if api is None else "{}/api/{}".format(api, version)


def get_user_token():
    """The token of the user that the job runs for."""
    return _text("POLYAXON_SECRET_USER_TOKEN", "POLYAXON_USER_TOKEN")


def send_metrics(**metrics):
    """Reports metrics, each of which float() must accept. Does nothing outside a job."""
    if os.environ.get("PX_METRICS_PATH") and metrics:
        append_record("metrics", {name: plain_number(value) for name, value in metrics.items()})
