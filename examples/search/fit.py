"""Fits a line by gradient descent, without any library: a moment's work for a search to run.

usage: fit.py LEARNING_RATE
"""

import json
import os
import sys
import time

from polyaxon_client.tracking import Experiment

rate = float(sys.argv[1])
points = [(x / 10, 3 * x / 10 + 1) for x in range(20)]
slope = intercept = 0.0
experiment = Experiment()
print(f"lr={rate:g} on {os.environ.get('CUDA_VISIBLE_DEVICES', 'no GPU')}")
for epoch in range(10):
    for _ in range(20):
        errors = [slope * x + intercept - y for x, y in points]
        slope -= rate * sum(error * x for error, (x, _) in zip(errors, points)) / len(points)
        intercept -= rate * sum(errors) / len(points)
    loss = sum((slope * x + intercept - y) ** 2 for x, y in points) / len(points)
    experiment.log_metrics(loss=loss)
    time.sleep(0.07)  # so that it can be watched
with open(experiment.get_outputs_path() + "/line.ckpt", "w") as file:
    json.dump({"slope": slope, "intercept": intercept}, file)
print(f"y = {slope:.3f} x + {intercept:.3f}, loss {loss:.2g}")
