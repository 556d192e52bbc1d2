"""Several devices, and several processes, give the trajectory of one device."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from recipes.common.distribution.devices import Devices
from recipes.common.distribution.distribute import distribute
from recipes.common.results.run_folder import RunFolder
from recipes.gpt.layout import LAYOUT
from recipes.gpt.model import SIZES, build_language_model

ROOT = Path(__file__).parents[2]
STEPS = 50


def _start(folder, runs, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.recipes.distributed_runs", str(folder), json.dumps(runs)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(*processes, code=0):
    for process in processes:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == code, output[-3000:]


def _options(text_folder, folder, name, *more):
    """The demo GPT, with shorter windows so that fifty updates take seconds."""
    return [
        f"--data={text_folder}",
        f"--runs={folder}",
        f"--name={name}",
        f"--steps={STEPS}",
        f"--eval-every={STEPS}",
        "--context=16",
        "--batch-size=8",
        "--eval-tokens=256",
        "--sample-tokens=0",
        # Losses from 7.6 down to 4 on this text: the rate follows them all the way.
        "--schedule=h0h1",
        "--C=5.5",
        *more,
    ]


def _losses(folder, name):
    return np.array([row["loss"] for row in RunFolder(folder / name).read("metrics.csv")])


def _agree(folder, name, single="single"):
    expected, losses = _losses(folder, single), _losses(folder, name)
    assert len(expected) == STEPS and expected[-1] < expected[0] - 1
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    factors = [row["factor"] for row in RunFolder(folder / name).read("metrics.csv")]
    assert min(factors) < 0.8 and max(factors) == 1.0
    evaluations = [RunFolder(folder / n).read("evaluations.csv")[-1] for n in (name, single)]
    assert evaluations[0]["validation_loss"] == pytest.approx(
        evaluations[1]["validation_loss"], rel=1e-4
    )


def _wait_for_a_checkpoint(folder, process):
    end = time.monotonic() + 300
    while not any(folder.checkpoints.path.glob("step-*")):
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < end
        time.sleep(0.05)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_jax_devices_and_processes(backend, text_folder, tmp_path):
    """Eight simulated devices in one process, then two processes on the loopback interface.

    One of the two is told to stop on the way; both do, after the same update, and are resumed.
    """
    if backend != "jax":
        pytest.skip("keras.distribution is implemented on JAX")

    def options(name, *more):
        return _options(text_folder, tmp_path, name, *more)

    _finish(
        _start(
            tmp_path,
            [
                options("single", "--distribute=none"),
                options("data", "--distribute=data"),
                options("model", "--distribute=model", "--model-shards=4"),
            ],
            XLA_FLAGS="--xla_force_host_platform_device_count=8",
        )
    )
    _agree(tmp_path, "data")
    _agree(tmp_path, "model")

    def start_hosts(*run):
        environment = {
            "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{_free_port()}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "TMPDIR": str(tmp_path),
        }
        return [
            _start(tmp_path, [run], KERAS_DISTRIBUTION_PROCESS_ID=str(i), **environment)
            for i in range(2)
        ]

    first, second = start_hosts(*options("hosts", "--checkpoint-every=5"))
    folder = RunFolder(tmp_path / "hosts")
    _wait_for_a_checkpoint(folder, first)
    second.send_signal(signal.SIGTERM)
    _finish(first, second, code=143)
    _, step = folder.latest_checkpoint()
    assert 5 <= step < STEPS and step % 5 == 0
    _finish(*start_hosts(f"--resume={folder.path}"))
    _agree(tmp_path, "hosts")
    with (
        np.load(tmp_path / "hosts-host0.npz") as first,
        np.load(tmp_path / "hosts-host1.npz") as second,
    ):
        assert len(first.files) == len(second.files) > 50
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name])
    # The second process wrote to a folder of its own and removed it.
    assert not list(tmp_path.glob("keras-h0h1-host-*"))


def test_tensorflow_mirrored(backend, text_folder, tmp_path):
    if backend != "tensorflow":
        pytest.skip("tf.distribute is TensorFlow's")

    def options(name, *more):
        return _options(text_folder, tmp_path, name, *more)

    runs = [
        options("single", "--distribute=none", "--jit=off"),
        options("mirrored", "--distribute=mirrored"),
    ]
    _finish(_start(tmp_path, runs))
    # The gradient is clipped in most of these updates, so clipping each replica's own would show,
    # and so would a batch lost at the start.
    _agree(tmp_path, "mirrored")


def test_models_of_other_shapes_follow_each_other(backend):
    """As in a comparison of several models."""
    if backend != "tensorflow":
        pytest.skip("tf.distribute is TensorFlow's")
    for width in (3, 5):
        with distribute("mirrored") as devices, devices.strategy.scope():
            model = keras.Sequential([keras.Input((width,)), keras.layers.Dense(1, use_bias=False)])
            model.compile("sgd", "mse", jit_compile=False)
            before = model.get_weights()[0]
            x = np.eye(width, dtype="float32")[:2]
            model.fit(x, np.full((2, 1), 9.0, "float32"), batch_size=2, verbose=0)
        # From the mean of (w_i - 9)^2 over the two rows, one on each device.
        expected = before.copy()
        expected[:2] -= 0.01 * (before[:2] - 9)
        np.testing.assert_allclose(model.get_weights()[0], expected, rtol=1e-5)


def test_a_run_goes_on_with_other_devices(backend, tiny_options, tmp_path):
    """The same batches, and so the same losses, as of the run that was never interrupted."""
    if backend == "torch":
        pytest.skip("there is nothing to distribute to on PyTorch")
    import recipes.gpt.recipe as gpt

    kinds = {"jax": ["data", "model"], "tensorflow": ["mirrored"]}[backend]
    gpt.RECIPE.main([*tiny_options, "--name=whole"])
    for kind in kinds:
        gpt.RECIPE.main([*tiny_options, f"--name={kind}", "--stop-after=2"])
        resume = [f"--resume={tmp_path / 'runs' / kind}"]
        gpt.RECIPE.main([*resume, f"--distribute={kind}", "--stop-after=4"])
        gpt.RECIPE.main([*resume, "--distribute=none"])
        losses = _losses(tmp_path / "runs", kind)
        assert len(losses) == 6
        np.testing.assert_allclose(losses, _losses(tmp_path / "runs", "whole"), rtol=1e-4)


def test_the_weights_are_cut_as_the_layout_says(backend):
    if backend != "jax":
        pytest.skip("keras.distribution is implemented on JAX")
    for arch in ("gpt2", "llama"):
        with distribute("model", layout=LAYOUT) as devices:
            assert (devices.replicas, devices.model_shards) == (1, 2)
            model = build_language_model(arch, SIZES["demo"], 256, 16)
            cut = {
                v.path.split("layer_0/")[-1]: v.value.sharding.shard_shape(v.value.shape)
                for v in model.trainable_variables
            }
        width, heads, hidden = 128, 4, {"gpt2": 512, "llama": 384}[arch]
        assert cut["token_embedding/embeddings"] == (128, width)
        assert cut["self_attention/query/kernel"] == (width, heads // 2, 32)
        assert cut["self_attention/attention_output/kernel"] == (heads // 2, 32, width)
        assert cut["feedforward_intermediate_dense/kernel"] == (width, hidden // 2)
        assert cut["feedforward_output_dense/kernel"] == (hidden // 2, width)
        whole = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        # All but the positions, the norms and a few biases is on one device only.
        assert sum(int(np.prod(shape)) for shape in cut.values()) < 0.51 * whole
    assert keras.distribution.distribution() is None


def test_hosts_read_disjoint_rows_that_make_up_the_batch():
    x, y = np.arange(24).reshape(12, 2), np.arange(12)
    parts = [Devices(parts=3, part=i).local((x, y), batch_size=6) for i in range(3)]
    first_batch = np.concatenate([rows[1][:2] for rows in parts])
    np.testing.assert_array_equal(first_batch, y[:6])
    np.testing.assert_array_equal(np.concatenate([rows[0][2:] for rows in parts]), x[6:])


def _refuses(tiny_options, capsys, message, *more):
    import recipes.gpt.recipe as gpt

    with pytest.raises(SystemExit) as caught:
        gpt.RECIPE.main([*tiny_options, *more])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error and "Received:" in error
    assert error.count("\n") == 1


def test_a_kind_of_another_backend_is_refused(backend, tiny_options, capsys):
    kind = "mirrored" if backend == "jax" else "data"
    needed = "tensorflow" if backend == "jax" else "jax"
    _refuses(tiny_options, capsys, f"needs KERAS_BACKEND={needed}", f"--distribute={kind}")


def test_what_does_not_fit_the_devices_is_refused(backend, tiny_options, capsys, monkeypatch):
    if backend == "torch":
        pytest.skip("there is nothing to distribute to on PyTorch")
    if backend == "jax":
        odd = ("--distribute=data", "--batch-size=3")
        _refuses(tiny_options, capsys, "multiple of the 2 replicas", *odd)
        shards = ("--distribute=model", "--model-shards=3")
        _refuses(tiny_options, capsys, "must divide the number of devices, 2", *shards)
        _refuses(tiny_options, capsys, "`model_shards` is of --distribute model", shards[1])
    else:
        more = "--distribute=mirrored"
        accumulate = "--gradient-accumulation-steps=2"
        _refuses(tiny_options, capsys, "cannot accumulate gradients", more, accumulate)
        _refuses(tiny_options, capsys, "XLA cannot compile", more, "--jit=on")
        _refuses(tiny_options, capsys, "MultiWorkerMirrored", "--distribute=multiworker")
        monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
        _refuses(tiny_options, capsys, "Several hosts need KERAS_BACKEND=jax", more)


_MULTIWORKER = """
import json, os, sys
os.environ["TF_CONFIG"] = json.dumps({
    "cluster": {"worker": [f"127.0.0.1:{port}" for port in sys.argv[2:]]},
    "task": {"type": "worker", "index": int(sys.argv[1])},
})
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
import keras
import numpy as np
x, y = np.ones((8, 4), "float32"), np.zeros((8,), "int32")
with strategy.scope():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                  jit_compile=False)
    # Everything is built, and the symbolic build that stops has nothing left to do.
    model._symbolic_build(data_batch=(x, y))
    model.optimizer.build(model.trainable_variables)
try:
    model.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(4), verbose=0)
except ValueError as error:
    assert "PerReplica" in str(error), error
    try:
        model._maybe_symbolic_build = lambda **_: None
        model.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(4), verbose=0)
    except ValueError as error:
        assert "Invalid reduction dimension" in str(error), error
        print("refused twice")
"""


def test_why_several_tensorflow_hosts_are_refused(backend):
    """Keras' own two errors. Once this turns red, `--distribute multiworker` can be let through."""
    if backend != "tensorflow":
        pytest.skip("tf.distribute is TensorFlow's")
    ports = [str(_free_port()), str(_free_port())]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _MULTIWORKER, str(i), *ports],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    for worker in workers:
        output, _ = worker.communicate(timeout=120)
        assert "refused twice" in output, output[-3000:]
