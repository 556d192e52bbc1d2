"""A program of its own: trains the GPT recipe once for each list of options, on several devices.

    python distributed_runs.py FOLDER '[["--name=a", ...], ...]'

Devices have to be asked for before a backend starts, so tests run this in a process. It leaves the
weights that this process ends with as `FOLDER/NAME-host0.npz`.
"""

import json
import os
import sys
from pathlib import Path

import keras
import numpy as np

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )

import recipes.common.training.experiment as experiment
import recipes.gpt.recipe as gpt

trained = []


def run_training(model, *rest):
    trained.append(model)
    return original(model, *rest)


original, experiment.run_training = experiment.run_training, run_training
for options in json.loads(sys.argv[2]):
    gpt.RECIPE.main(options)
    run = next(o.partition("=")[2] for o in options if o.startswith(("--name=", "--resume=")))
    host = os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", "0")
    np.savez(Path(sys.argv[1]) / f"{Path(run).name}-host{host}.npz", *trained[-1].get_weights())
