import csv
import json
import math

import keras
import numpy as np
import pytest

from keras_h0h1 import step_sizes
from recipes.common.checkpoints.snapshot import load_checkpoint
from recipes.common.command_line.options import build, parse
from recipes.common.results.run_folder import RunFolder
from recipes.gpt.config import GPTConfig, resolve
from recipes.gpt.data import load_data
from recipes.gpt.recipe import RECIPE
from recipes.text.batches import TokenBatches
from recipes.text.tokens import load_corpus


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def state(folder):
    """Everything that moves, at the last checkpoint."""
    model = load_checkpoint(folder.latest_checkpoint()[0])
    variables = (*model.variables, *model.optimizer.variables)
    return [keras.ops.convert_to_numpy(v) for v in variables]


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_a_run_leaves_everything_behind(tiny_options, tmp_path, arch, capsys):
    summary = RECIPE.main(
        [
            *tiny_options,
            "--name=r",
            "--schedule=h0h1",
            f"--arch={arch}",
            *(["--jit=auto"] if arch == "llama" else []),
        ]
    )
    folder = tmp_path / "runs" / "r"
    left = {path.name for path in folder.iterdir()}
    assert left == {
        "config.json", "data.json", "metrics.csv", "evaluations.csv", "tensorboard", "checkpoints",
        "model.keras", "preset", "run.lock", "sample.txt", "plot.png", "summary.json",
    }  # fmt: skip
    assert json.loads((folder / "summary.json").read_text())["steps"] == 6
    config = json.loads((folder / "config.json").read_text())
    assert None not in [config[k] for k in ("steps", "C", "eval_every", "batch_size", "context")]
    assert any((folder / "tensorboard").iterdir())
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert len((folder / "sample.txt").read_text()) > 20

    # The rate in the file is the rule's, from the loss in the same row.
    metrics = rows(folder / "metrics.csv")
    assert [int(row["step"]) for row in metrics] == [1, 2, 3, 4, 5, 6]
    for k, row in enumerate(metrics):
        base = 0.01 if k <= 5 else 0.01 - (0.01 - 1e-5) * (k - 5)
        factor = step_sizes.practical_factor(float(row["loss"]), C=config["C"])
        assert float(row["learning_rate"]) == pytest.approx(base * factor, rel=1e-5)
        assert factor < 1

    # The validation loss in the file is that of the saved model, computed here in NumPy.
    corpus = load_corpus(config["data"], config["vocabulary"], config["validation_share"])
    evaluations = rows(folder / "evaluations.csv")
    assert [int(row["step"]) for row in evaluations] == [0, 2, 4, 6]
    model = keras.saving.load_model(folder / "model.keras")
    windows = (len(corpus.validation) - 1) // 8
    chosen = np.arange(8) * windows // 8
    ids = np.stack([corpus.validation[w * 8 : w * 8 + 9] for w in chosen]).astype("int32")
    inputs = {"token_ids": ids[:, :-1], "padding_mask": np.ones_like(ids[:, :-1], bool)}
    logits = keras.ops.convert_to_numpy(model(inputs)).astype("float64")
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    loss = -np.take_along_axis(logits, ids[:, 1:, None], -1).mean()
    assert float(evaluations[-1]["validation_loss"]) == pytest.approx(loss, rel=1e-5)
    assert summary["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    assert float(evaluations[0]["validation_loss"]) == pytest.approx(math.log(300), rel=0.02)

    printed = capsys.readouterr().out
    assert "The rate never reached its peak" in printed
    assert "unigram" in printed and "documents" in printed and "tokens/s" in printed


def test_it_learns_more_than_frequencies(tiny_options, tmp_path):
    """Pairs of words that always follow one another: the unigram model cannot know."""
    rng = np.random.default_rng(0)
    text = tmp_path / "pairs"
    text.mkdir()
    for i in range(30):
        pairs = rng.choice(["red apple", "blue sky", "green grass", "black ink"], 100)
        (text / f"{i}.txt").write_text(" ".join(pairs))
    summary = RECIPE.main(
        [*tiny_options, f"--data={text}", "--steps=150", "--eval-every=75", "--peak-lr=0.02"]
    )
    assert summary["final_validation_loss"] < 0.7 * summary["baselines"]["unigram"]
    # The loss fell below 0.6 of the first one: the rate rose to its peak as fast as it may. With
    # PyTorch's initial weights it falls later, and the final decay may come first.
    peak = summary["first_step_at_peak_rate"]
    assert peak == 100 or (keras.backend.backend() == "torch" and (peak is None or peak > 100))


@pytest.mark.parametrize(
    "options",
    [
        ["--schedule=auto", "--gradient-accumulation-steps=2", "--dropout=0.1"],
        ["--schedule=h0h1", "--precision=mixed_float16", "--arch=llama"],
    ],
    ids=["accumulate-dropout", "float16"],
)
def test_resumed_equals_uninterrupted_bit_for_bit(tiny_options, tmp_path, options, backend):
    if backend == "jax" and "--precision=mixed_float16" in options:
        # JAX's own limit: its CPU has no such matrix product.
        with pytest.raises(Exception, match="F16_F16_F32"):
            RECIPE.main([*tiny_options, *options])
        return
    RECIPE.main([*tiny_options, *options, "--name=whole"])
    # Stopped between two evaluations, so that the rhythm has to be found again too.
    part = RECIPE.main([*tiny_options, *options, "--name=parts", "--stop-after=3"])
    assert not part["finished"]
    whole, parts = tmp_path / "runs" / "whole", tmp_path / "runs" / "parts"
    # What a killed run may have written after its last checkpoint is done again.
    with (parts / "metrics.csv").open("a") as file:
        file.write("4,0,0,0,0,0\n")
    resumed = RECIPE.main([f"--resume={parts}"])
    assert resumed["finished"]
    a, b = state(RunFolder(whole)), state(RunFolder(parts))
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ("loss", "learning_rate"):
        assert [row[name] for row in rows(whole / "metrics.csv")] == [
            row[name] for row in rows(parts / "metrics.csv")
        ]
    assert (whole / "sample.txt").read_text() == (parts / "sample.txt").read_text()


def test_resume_refuses_another_experiment(tiny_options, tmp_path, capsys):
    RECIPE.main([*tiny_options, "--name=r", "--stop-after=2"])
    run = f"--resume={tmp_path / 'runs' / 'r'}"

    def refused(argv, words):
        with pytest.raises(SystemExit) as stopped:
            RECIPE.main(argv)
        assert stopped.value.code == 2
        message = capsys.readouterr().err
        assert words in message and message.count("\n") == 1

    refused([run, "--peak-lr=0.5"], "peak_lr=0.5, the run has 0.01")
    refused([f"--resume={tmp_path / 'nowhere'}"], "there is no config.json")
    # A folder with a run in it is not written over.
    refused([*tiny_options, "--name=r"], "Received: ")
    # An option that says the same as the run is no contradiction.
    RECIPE.main([run, "--peak-lr=0.01", "--stop-after=4"])
    (tmp_path / "texts" / "00.txt").write_text("the data has changed " * 30)
    refused([run], "data is not that of the run")
    assert RunFolder(tmp_path / "runs" / "r").latest_checkpoint()[1] == 4


def test_divergence_is_reported_and_leaves_the_last_good_checkpoint(tiny_options, tmp_path, capsys):
    summary = RECIPE.main(
        [
            *tiny_options,
            "--name=r",
            "--peak-lr=1e18",
            "--schedule=none",
            "--global-clipnorm=0",
            "--decay=0",
        ]
    )
    assert summary["diverged"] and summary["finished"]
    assert math.isnan(summary["final_validation_loss"])
    folder = tmp_path / "runs" / "r"
    assert not (folder / "model.keras").exists()
    # JSON has no NaN; the file has to be readable by anything.
    assert json.loads((folder / "summary.json").read_text())["final_validation_loss"] is None
    assert "Diverged" in capsys.readouterr().out


def test_a_token_file_trains_without_a_tokenizer(tiny_options, tmp_path):
    tokens = np.tile(np.arange(40, dtype=np.uint16), 60)
    tokens.tofile(tmp_path / "t.bin")
    RECIPE.main([*tiny_options, f"--data={tmp_path / 't.bin'}", "--name=r", "--vocabulary=40"])
    ids = (tmp_path / "runs" / "r" / "sample.txt").read_text().split()
    assert len(ids) == 5 and all(0 <= int(i) < 40 for i in ids)


def test_more_tokens_than_the_model_has_is_an_error(tiny_options, tmp_path, capsys):
    np.arange(400, dtype=np.uint16).tofile(tmp_path / "t.bin")
    with pytest.raises(SystemExit):
        RECIPE.main([*tiny_options, f"--data={tmp_path / 't.bin'}"])
    assert "Received: vocabulary=300" in capsys.readouterr().err


def test_epochs_decide_the_steps(tiny_options):
    options = [o for o in tiny_options if not o.startswith(("--steps", "--eval-every"))]
    config = build(
        GPTConfig, parse([GPTConfig], [*options, "--epochs=2", "--gradient-accumulation-steps=3"])
    )
    corpus = load_data(config)
    resolved = resolve(config, corpus)
    windows = TokenBatches(corpus.training, 8, 4).windows
    assert resolved.steps == round(2 * windows / 12)
    assert resolved.eval_every == resolved.steps // 10
    # What a resumed run reads back is resolved already, and must not move.
    assert resolve(resolved, corpus) == resolved
