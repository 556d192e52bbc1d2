import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from recipes import compare
from recipes.common.checkpoints.snapshot import load_checkpoint
from recipes.common.command_line.options import build, parse
from recipes.common.results.plots import Curves
from recipes.common.results.run_folder import RunFolder
from recipes.common.training.ema import averaged_weights, innermost
from recipes.common.training.task import evaluation_batch
from recipes.compare.__main__ import main as compare_main
from recipes.vision import model as models
from recipes.vision.config import VisionConfig, resolve
from recipes.vision.data import load_images
from recipes.vision.recipe import RECIPE
from tests.backends import only_on

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _repeatable_convolutions(backend, monkeypatch):
    """PyTorch's own convolutions: those of oneDNN are not repeatable on every processor."""
    if backend == "torch":
        torch = pytest.importorskip("torch")
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)


@pytest.fixture
def tiny(tmp_path, monkeypatch, backend):
    """Options of a run of six updates on the digits, with models that compile in no time."""
    monkeypatch.setitem(models.MODELS, "resnet8", models.ResNet((1, 1), (4, 8)))
    monkeypatch.setitem(models.MODELS, "vit-micro", models.ViT(1, 8, 2))
    return [
        "--data=digits",
        "--model=resnet8",
        "--batch-size=16",
        "--steps=6",
        "--eval-every=2",
        "--peak-lr=0.05",
        "--workers=0",
        "--jit=off" if backend == "tensorflow" else "--jit=auto",
        f"--runs={tmp_path / 'runs'}",
    ]


def rows(path):
    with path.open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def predict(path):
    """Logits and labels of all held-out digits, of a saved model."""
    data = load_images("digits")
    model = keras.saving.load_model(path)
    # The saved model normalises.
    return model.predict(data.validation.images, verbose=0).astype("float64"), data


def test_a_run_leaves_losses_and_accuracies_behind(tiny, tmp_path, capsys):
    summary = RECIPE.main(
        [
            *tiny,
            "--name=r",
            "--schedule=h0h1",
            "--label-smoothing=0.1",
            "--gradient-accumulation-steps=2",
        ]
    )
    folder = tmp_path / "runs" / "r"
    # The accuracy and the loss are those of all 360 held-out images, with their true labels.
    logits, data = predict(folder / "model.keras")
    labels = data.validation.labels
    accuracy = np.mean(logits.argmax(1) == labels)
    loss = -np.mean((logits - np.log(np.exp(logits).sum(1, keepdims=True)))[range(360), labels])
    evaluations = rows(folder / "evaluations.csv")
    assert [row["step"] for row in evaluations] == [0, 2, 4, 6]
    assert evaluations[-1]["validation_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert evaluations[-1]["validation_loss"] == pytest.approx(loss, rel=1e-5)
    assert summary["final_validation_accuracy"] == evaluations[-1]["validation_accuracy"]
    # Of each update, not a running mean: 32 images, so multiples of 1/32, with their mean beside
    # the evaluation.
    metrics = rows(folder / "metrics.csv")
    counts = np.array([row["accuracy"] for row in metrics]) * 32
    np.testing.assert_allclose(counts, np.round(counts), atol=2e-3)
    assert len(set(counts)) > 1
    assert evaluations[-1]["accuracy"] == pytest.approx(counts[4:].mean() / 32, abs=1e-6)
    assert "perplexity" not in summary and 0 <= summary["share_waiting_for_data"] <= 1
    config = json.loads((folder / "config.json").read_text())
    floor = models.entropy_of_smoothed(0.1, 10)
    assert config["f_star"] == floor and config["C"] == (math.log(10) - floor) / 2
    assert config["optimizer"] == "sgd" and config["global_clipnorm"] == 0 and config["crop"] == 0
    printed = capsys.readouterr().out
    assert "digits" in printed and f"{summary['final_validation_accuracy']:.2%}" in printed
    count = keras.saving.load_model(folder / "model.keras").count_params()
    assert f"{count:,} parameters" in printed


@pytest.mark.parametrize(
    "options",
    [
        ["--ema=0.8", "--stochastic-depth=0.3", "--momentum=0.5"],
        [
            "--model=vit-micro",
            "--stochastic-depth=0.3",
            "--mixup=0.2",
            "--gradient-accumulation-steps=2",
        ],
    ],
    ids=["resnet", "vit"],
)
def test_resumed_equals_uninterrupted_bit_for_bit(tiny, tmp_path, options):
    RECIPE.main([*tiny, *options, "--name=whole"])
    # Stopped between two evaluations.
    RECIPE.main([*tiny, *options, "--name=parts", "--stop-after=3"])
    whole, parts = tmp_path / "runs" / "whole", tmp_path / "runs" / "parts"
    assert RECIPE.main([f"--resume={parts}"])["finished"]

    def state(path):
        model = load_checkpoint(RunFolder(path).latest_checkpoint()[0])
        variables = (*model.variables, *model.optimizer.variables)
        return [keras.ops.convert_to_numpy(v) for v in variables]

    for one, other in zip(state(whole), state(parts), strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ("loss", "accuracy", "learning_rate"):
        assert [r[name] for r in rows(whole / "metrics.csv")] == [
            r[name] for r in rows(parts / "metrics.csv")
        ]


def test_the_average_is_evaluated_and_the_weights_are_trained(tiny, tmp_path):
    options = [*tiny, "--decay=0", "--schedule=none"]
    RECIPE.main([*options, "--name=plain"])
    RECIPE.main([*options, "--name=ema", "--ema=0.6", "--eval-every=1"])
    plain, ema = tmp_path / "runs" / "plain", tmp_path / "runs" / "ema"
    # Averaging, and how often one looks, change nothing in the training itself.
    assert [r["loss"] for r in rows(ema / "metrics.csv")] == pytest.approx(
        [r["loss"] for r in rows(plain / "metrics.csv")], rel=1e-5
    )
    model = load_checkpoint(RunFolder(ema).latest_checkpoint()[0])
    last = [keras.ops.convert_to_numpy(w).copy() for w in model.trainable_variables]
    reference = load_checkpoint(RunFolder(plain).latest_checkpoint()[0])
    for weight, same in zip(last, reference.trainable_variables, strict=True):
        np.testing.assert_allclose(weight, keras.ops.convert_to_numpy(same), rtol=1e-4, atol=1e-6)
    averages = [
        keras.ops.convert_to_numpy(a)
        for a in innermost(model.optimizer)._model_variables_moving_average
    ]
    assert max(np.abs(a - w).max() for a, w in zip(averages, last, strict=True)) > 1e-3
    saved = keras.saving.load_model(ema / "model.keras")
    for weight, average in zip(saved.trainable_variables, averages, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), average)
    # What the block changes it puts back, after an error too.
    with pytest.raises(KeyError), averaged_weights(model):
        raise KeyError
    for weight, value in zip(model.trainable_variables, last, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)
    # The accuracy in the file is that of the averages.
    logits, data = predict(ema / "model.keras")
    accuracy = np.mean(logits.argmax(1) == data.validation.labels)
    assert rows(ema / "evaluations.csv")[-1]["validation_accuracy"] == pytest.approx(accuracy)


def test_the_average_follows_its_formula(tiny, tmp_path):
    """Average = m average + (1 - m) weights after each update, beginning with the first weights."""
    weights = []
    for steps in (1, 2, 3):
        RECIPE.main([*tiny, "--ema=0.8", "--eval-every=1", "--name=r", f"--stop-after={steps}"]
                    if steps == 1 else [f"--resume={tmp_path / 'runs' / 'r'}",
                                        f"--stop-after={steps}"])  # fmt: skip
        model = load_checkpoint(RunFolder(tmp_path / "runs" / "r").latest_checkpoint()[0])
        weights.append(keras.ops.convert_to_numpy(model.trainable_variables[0]).copy())
    (got, *_) = innermost(model.optimizer)._model_variables_moving_average
    want = 0.8 * (0.8 * weights[0] + 0.2 * weights[1]) + 0.2 * weights[2]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(got), want, rtol=1e-5, atol=1e-7)


# Records the losses of twenty updates from given weights; run on another backend.
_LOSSES = """
import json, sys
from recipes.vision import model as models
from recipes.vision.recipe import RECIPE
models.MODELS["resnet8"] = models.ResNet((1, 1), (4, 8))
models.MODELS["vit-micro"] = models.ViT(1, 8, 2)
for options in json.loads(sys.argv[1]):
    RECIPE.main(options)
"""


@only_on("tensorflow", "torch", reason="TensorFlow and PyTorch compare themselves with JAX")
def test_the_first_losses_are_those_of_the_other_backend(tiny, tmp_path):
    pytest.importorskip("jax")
    names = ("resnet8", "vit-micro")
    elsewhere = []
    for model in names:
        RECIPE.main([*tiny, f"--model={model}", "--steps=1", f"--name={model}-start"])
        weights = tmp_path / f"{model}.weights.h5"
        started = tmp_path / "runs" / f"{model}-start" / "model.keras"
        keras.saving.load_model(started).save_weights(weights)
        options = [
            *tiny, f"--model={model}", "--steps=20", "--eval-every=20", "--schedule=h0h1",
            f"--initial-weights={weights}", "--label-smoothing=0.1", "--peak-lr=0.01", "--jit=off",
        ]  # fmt: skip
        RECIPE.main([*options, f"--name={model}-here"])
        elsewhere.append([*options, f"--name={model}-there"])
    subprocess.run(
        [sys.executable, "-c", _LOSSES, json.dumps(elsewhere)],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=300,
    )
    for model in names:
        here, there = (
            rows(tmp_path / "runs" / f"{model}-{place}" / "metrics.csv")
            for place in ("here", "there")
        )
        assert len(here) == len(there) == 20
        np.testing.assert_allclose(
            [row["loss"] for row in here], [row["loss"] for row in there], atol=1e-4, rtol=0
        )
        assert here[0]["loss"] != here[-1]["loss"]


@pytest.mark.parametrize("library", models.LIBRARIES)
def test_both_libraries_train(tiny, library, monkeypatch):
    if library == "keras_cv":
        pytest.importorskip("keras_cv")
    monkeypatch.setitem(models.MODELS, "resnet8", models.ResNet((2, 2), (8, 16)))
    summary = RECIPE.main(
        [
            *tiny, f"--library={library}", "--steps=60", "--eval-every=30", "--peak-lr=0.02",
            # 60 updates are too few for the self-tuned warm-up, which takes 100.
            "--schedule=h0h1",
        ]
    )  # fmt: skip
    # The mean of the second half; the held-out loss is that of moving statistics, which lag.
    assert summary["final_training_loss"] < 0.85 * math.log(10)
    assert summary["final_training_accuracy"] > 0.3
    assert math.isfinite(summary["final_validation_loss"])


def test_quick_and_the_models_decide_what_is_left_open():
    data = load_images("digits")
    vit = resolve(VisionConfig(model="vit-tiny", quick=True), data)
    resnet = resolve(VisionConfig(model="resnet18", schedule="h0h1"), data)
    assert (vit.optimizer, vit.patch, vit.global_clipnorm, vit.peak_lr) == ("adamw", 4, 1.0, 1e-3)
    # 0.1 for 256 images; here an update takes 64.
    assert (resnet.optimizer, resnet.patch, resnet.global_clipnorm) == ("sgd", None, 0.0)
    assert resnet.peak_lr == 0.025
    assert vit.steps < resnet.steps
    assert resnet.C == math.log(10) / 2 and resnet.f_star == 0
    # The self-tuned rule has no such constant.
    assert vit.schedule == "auto" and vit.C is None
    # What a resumed run reads back is resolved already, and must not move.
    assert resolve(vit, data) == vit and resolve(resnet, data) == resnet
    given = build(VisionConfig, parse([VisionConfig], ["--flip", "--crop=0", "--f-star=0.2"]))
    resolved = resolve(given, data)
    assert resolved.flip and resolved.crop == 0 and resolved.f_star == 0.2


def test_evaluation_takes_every_image_in_batches_that_fit():
    assert [evaluation_batch(n, 128) for n in (10000, 360, 50000, 17)] == [125, 120, 125, 17]
    assert evaluation_batch(359, 64) == 64


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model=vit-micro", "--momentum=0.5"], "Received: momentum=0.5"),
        (["--model=resnet8", "--beta-2=0.9"], "Received: beta_2=0.9"),
        (["--model=resnet8", "--patch=2"], "Received: patch=2"),
        (["--model=vit-micro", "--patch=3"], "Received: patch=3"),
        (["--model=vit-micro", "--library=keras_cv"], "Received: library='keras_cv'"),
        (["--stochastic-depth=1"], "Received: stochastic_depth=1"),
        (["--ema=-0.1"], "Received: ema=-0.1"),
        (["--image-size=8"], "Received: image_size=8"),
        (["--initial-weights=none.weights.h5"], "Received: initial_weights=none.weights.h5"),
        (["--model=resnet9"], "Did you mean resnet"),
    ],
)
def test_mistakes(tiny, options, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        RECIPE.main([*tiny, *options])
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_weights_of_another_model_are_refused(tiny, tmp_path, capsys):
    RECIPE.main([*tiny, "--steps=1", "--name=r"])
    path = tmp_path / "runs" / "r" / "model.keras"
    with pytest.raises(SystemExit):
        RECIPE.main([*tiny, "--model=vit-micro", f"--initial-weights={path}"])
    assert "not the weights of this model" in capsys.readouterr().err


def test_the_table_has_accuracies_with_their_spread():
    def run(seed, accuracy, diverged=False):
        summary = {
            "diverged": diverged,
            "final_validation_loss": 0.5,
            "final_training_loss": 0.4,
            "final_validation_accuracy": accuracy,
            "first_step_at_peak_rate": 3,
            "seconds": 1.0,
        }
        steps = {"step": np.array([0.0, 10.0]), "validation_loss": np.array([2.0, 0.5])}
        return compare.Run("h0h1", seed, summary, Curves({}, steps), "resnet8")

    (row,), _ = compare.tabulate([run(0, 0.8), run(1, 0.9), run(2, 0.1, diverged=True)], None)
    assert row["accuracy"] == pytest.approx(0.85)
    assert row["± accuracy"] == pytest.approx(0.1 / 2**0.5)
    assert "perplexity" not in row and row["diverged"] == "1 of 3"


@only_on("tensorflow", "jax", reason="on PyTorch tests/recipes/test_compare.py is enough")
def test_compares_models_and_schedules(tiny, tmp_path, capsys):
    options = [o for o in tiny if not o.startswith("--model")]
    table = compare_main(["vision", *options, "--schedules=none,h0h1", "--seeds=1", "--steps=2"])
    assert [(row["model"], row["schedule"]) for row in table] == [
        ("resnet8", "none"), ("resnet8", "h0h1"), ("vit-micro", "none"), ("vit-micro", "h0h1"),
    ]  # fmt: skip
    (folder,) = (tmp_path / "runs").iterdir()
    content = json.loads((folder / "comparison.json").read_text())
    assert [run["model"] for run in content["runs"]] == ["resnet8"] * 2 + ["vit-micro"] * 2
    header = (folder / "comparison.csv").read_text().splitlines()[0].split(",")
    assert {"model", "target", "steps to it", "accuracy"} <= set(header)
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "vit-micro-h0h1-seed1" / "summary.json").exists()
    # Weights and batches are the same for each schedule.
    first = [
        rows(folder / f"resnet8-{s}-seed1" / "metrics.csv")[0]["loss"] for s in ("none", "h0h1")
    ]
    assert first[0] == first[1]
    assert "vit-micro: Lowest validation loss" in capsys.readouterr().out
