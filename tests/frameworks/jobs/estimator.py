"""A DNNClassifier whose model_dir is the outputs: it resumes by itself."""

import common
import numpy
import tensorflow as tf
from polyaxon_helper import get_outputs_path

rng = numpy.random.default_rng(7)
x = rng.normal(size=(256, 4)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int32")


def feed():
    return tf.data.Dataset.from_tensor_slices(({"x": x}, y)).repeat().batch(32)


my_feature_columns = [tf.feature_column.numeric_column("x", shape=(4,))]
classifier = tf.estimator.DNNClassifier(
    feature_columns=my_feature_columns,
    hidden_units=[10, 10],
    n_classes=3,
    model_dir=get_outputs_path(),
    config=tf.estimator.RunConfig(save_checkpoints_steps=common.EVERY, log_step_count_steps=None))


class Report(tf.estimator.SessionRunHook):
    """Says where training really began, and after each save where it is."""

    def after_create_session(self, session, coord):
        step = int(session.run(tf.compat.v1.train.get_global_step()))
        common.started(step, digest_of(session))


class Saved(tf.estimator.CheckpointSaverListener):
    def after_save(self, session, step):
        if step > 0:
            common.saved(int(step), digest_of(session))


def digest_of(session):
    variables = sorted(session.graph.get_collection("trainable_variables"), key=lambda v: v.name)
    return common.digest(session.run(variables))


classifier.train(feed, max_steps=common.LAST, hooks=[Report()], saving_listeners=[Saved()])
