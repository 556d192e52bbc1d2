"""Checkpoints with a valid checksum that name what the file cannot hold."""

import json
import shutil
import time
import zipfile

import keras
import numpy as np
import pytest

from recipes.common.checkpoints import snapshot as checkpoints
from recipes.common.checkpoints.reading import HEADER
from recipes.common.checkpoints.snapshot import load_checkpoint, save_checkpoint
from recipes.common.command_line.errors import InputError
from tests.attack.targets_checkpoints import pack

# Elements of what no layer here may allocate: a gigabyte as float32.
HUGE = 2**28


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """A sound checkpoint of a small model, unpacked."""
    folder = tmp_path_factory.mktemp("checkpoint")
    inputs = keras.Input((4,))
    x = keras.layers.Reshape((2, 2))(inputs)
    x = keras.layers.Conv1D(3, 1)(x)
    x = keras.layers.LSTM(3)(x)
    outputs = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(1)])(x)
    model = keras.Model(inputs, outputs)
    model.compile("adam", "mse", metrics=[keras.metrics.AUC(num_thresholds=9)])
    save_checkpoint(model, folder / "a.npz", 3)
    with zipfile.ZipFile(folder / "a.npz") as archive:
        archive.extractall(folder / "members")
    return folder / "members"


def replaced(value, key, new, owner):
    """Copies JSON with another value for `key` in each configuration of a class."""
    if isinstance(value, list):
        return [replaced(item, key, new, owner) for item in value]
    if not isinstance(value, dict):
        return value
    result = {name: replaced(item, key, new, owner) for name, item in value.items()}
    if value.get("class_name") == owner:
        result["config"] = {**result["config"], key: new}
    return result


def packed(members, tmp_path, change=lambda header: header, **files):
    folder = shutil.copytree(members, tmp_path / "members")
    header = json.loads((folder / HEADER).read_text())
    (folder / HEADER).write_text(json.dumps(change(header)))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    pack(folder, tmp_path / "step-0000003.npz")
    return tmp_path / "step-0000003.npz"


def test_the_sound_one_is_loaded(members, tmp_path):
    before = keras.Layer.add_weight
    assert load_checkpoint(packed(members, tmp_path)).count_params() == 9 + 84 + 8 + 3
    assert keras.Layer.add_weight is before


@pytest.mark.parametrize(
    ("owner", "key", "value"),
    [
        ("Dense", "units", HUGE),
        ("Dense", "units", 10**18),
        ("Dense", "units", 10**400),
        ("LSTM", "units", 2**14),
        ("Conv1D", "filters", HUGE),
        ("Conv1D", "kernel_size", [HUGE]),
        ("AUC", "num_labels", HUGE),
        ("AUC", "num_thresholds", 10**9),
        ("AUC", "num_thresholds", 10**400),
    ],
)
def test_a_layer_that_the_file_cannot_hold(members, tmp_path, owner, key, value):
    path = packed(
        members,
        tmp_path,
        lambda header: {**header, "model": replaced(header["model"], key, value, owner)},
    )
    with pytest.raises(InputError, match=r"Received: .*step-0000003\.npz") as refused:
        load_checkpoint(path)
    message = str(refused.value)
    expected = ("weights or more", "Keras cannot make", "more than 10,000 thresholds")
    assert any(words in message for words in expected)
    assert len(message) < 1000


def test_more_layers_than_the_file_holds_however_small(members, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_SPARE_VARIABLES", 5)
    path = packed(members, tmp_path)
    assert load_checkpoint(path)
    layers = [{"class_name": "Dense", "config": {"units": 1, "name": f"d{i}"}} for i in range(25)]
    layers = [{"class_name": "InputLayer", "config": {"batch_shape": [None, 3]}}, *layers]

    def change(header):
        return {**header, "model": replaced(header["model"], "layers", layers, "Sequential")}

    shutil.rmtree(tmp_path / "members")
    with pytest.raises(InputError, match=r"weights or more, many more than the file.*Received: "):
        load_checkpoint(packed(members, tmp_path, change))


# The last three have as many values as follow, by their product.
@pytest.mark.parametrize(
    "shape",
    [
        (2**62,),
        (2**40, 2**40),
        (-1,),
        (0, 2**62),
        (2**62, 0),
        (-1, -16),
        (-4, -4),
        (16, *[1] * 32),
    ],
)
def test_an_array_that_the_file_cannot_hold(members, tmp_path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    start = np.lib.format.magic(1, 0) + len(header).to_bytes(2, "little") + header
    path = packed(members, tmp_path, **{"00000.npy": start + bytes(64)})
    # Before the model is made: its variables are compared with the arrays' shapes as well.
    with pytest.raises(InputError, match=r"An array of shape .* takes .*Received: .*-0000003\.npz"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["float64", "V4", "O", "U4", "f4,f4", "float128", "\0", "x" * 999])
def test_a_type_that_the_array_does_not_have(members, tmp_path, name):
    def change(header):
        return {**header, "dtypes": [name, *header["dtypes"][1:]]}

    with pytest.raises(InputError, match=r"Received: ") as refused:
        load_checkpoint(packed(members, tmp_path, change))
    assert len(str(refused.value)) < 1000


def test_thousands_of_small_layers(members, tmp_path):
    """Keras would need minutes to make them, before any of their weights could be counted."""
    layers = [{"class_name": "Dense", "config": {"units": 1, "name": f"d{i}"}} for i in range(4096)]

    def change(header):
        return {**header, "model": replaced(header["model"], "layers", layers, "Sequential")}

    path = packed(members, tmp_path, change)
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"more than 600 layers. Received: .*npz"):
        load_checkpoint(path)
    assert time.perf_counter() - start < 10
