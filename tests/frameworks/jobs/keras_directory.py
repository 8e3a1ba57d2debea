"""ModelCheckpoint given the outputs path itself, as the documentation shows: a SavedModel."""

import common
import numpy
import tensorflow as tf
from polyaxon_helper import get_outputs_path

rng = numpy.random.default_rng(7)
x = rng.normal(size=(256, 16)).astype("float32")
y = (x.sum(axis=1) > 0).astype("float32")


class Step(tf.keras.layers.Layer):
    """Counts epochs inside of the model, so that the number is saved with it."""

    def build(self, shape):
        self.count = self.add_weight("count", shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        return inputs + 0 * self.count


if common.exists('{}/saved_model.pb'.format(get_outputs_path())):
    model = tf.keras.models.load_model(get_outputs_path(), custom_objects={"Step": Step})
else:
    model = tf.keras.Sequential([tf.keras.Input((16,)), Step(name="step"),
                                 tf.keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
epoch = int(model.get_layer("step").count.numpy())
common.started(epoch, common.digest(model.get_weights()))

checkpoint = tf.keras.callbacks.ModelCheckpoint(get_outputs_path(), monitor='val_loss', verbose=0,
                                                save_best_only=True, mode='auto')


class Count(tf.keras.callbacks.Callback):
    def on_epoch_end(self, number, logs=None):
        self.model.get_layer("step").count.assign(number + 1)
        # Best so far, always: what is tested is the saving.
        checkpoint.best = numpy.inf


class Report(tf.keras.callbacks.Callback):
    def on_epoch_end(self, number, logs=None):
        if (number + 1) % common.EVERY == 0:
            common.saved(number + 1, common.digest(self.model.get_weights()))


model.fit(x, y, validation_data=(x, y), initial_epoch=epoch, epochs=common.LAST, verbose=0,
          callbacks=[Count(), checkpoint, Report()])
