"""Keras ModelCheckpoint into the outputs, and load_weights when there is something to load."""

import common
import numpy
import tensorflow as tf
from polyaxon_helper import get_outputs_path

rng = numpy.random.default_rng(7)
x = rng.normal(size=(256, 16)).astype("float32")
y = (x.sum(axis=1) > 0).astype("float32")

model = tf.keras.Sequential([tf.keras.Input((16,)), tf.keras.layers.Dense(32, activation="relu"),
                             tf.keras.layers.Dense(1, activation="sigmoid")])
model.compile("sgd", "binary_crossentropy")
model_weights = '{}/weights.h5'.format(get_outputs_path())
counter = '{}/epoch'.format(get_outputs_path())
epoch = 0
if common.exists(model_weights):
    model.load_weights(model_weights)
    with open(counter) as file:
        epoch = int(file.read())
common.started(epoch, common.digest(model.get_weights()))

checkpoint = tf.keras.callbacks.ModelCheckpoint(model_weights, save_weights_only=True, verbose=0)


class Report(tf.keras.callbacks.Callback):
    def on_epoch_end(self, number, logs=None):
        with open(counter, "w") as file:
            file.write(str(number + 1))
        if (number + 1) % common.EVERY == 0:
            common.saved(number + 1, common.digest(self.model.get_weights()))


model.fit(x, y, initial_epoch=epoch, epochs=common.LAST, verbose=0, callbacks=[checkpoint, Report()])
