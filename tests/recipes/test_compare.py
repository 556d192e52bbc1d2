import csv
import json
import math

import numpy as np
import pytest
from rich.console import Console

from recipes import compare
from recipes.common.results.formatting import text
from recipes.common.results.plots import plot_runs
from recipes.common.results.runs import Curves
from recipes.common.results.smoothing import running_mean
from recipes.common.results.tables import markdown, print_table
from recipes.compare.__main__ import main


def curves(*losses):
    steps = np.arange(len(losses)) * 10.0
    return Curves({}, {"step": steps, "validation_loss": np.array(losses)})


def run(schedule, seed, *losses, diverged=False, full=None):
    nan = float("nan")
    summary = {
        "diverged": diverged,
        "final_validation_loss": nan if diverged else losses[-1],
        "final_training_loss": nan if diverged else losses[-1] - 0.5,
        "first_step_at_peak_rate": full,
        "seconds": 2.0,
    }
    return compare.Run(schedule, seed, summary, curves(*losses))


def test_steps_to_a_target():
    assert compare.steps_to(curves(7.0, 5.0, 4.0), 7.5) == 0
    assert compare.steps_to(curves(7.0, 5.0, 4.0), 6.0) == 5
    assert compare.steps_to(curves(7.0, 5.0, 4.0), 4.0) == 20
    assert math.isnan(compare.steps_to(curves(7.0, 5.0), 4.0))
    # Not fooled by a run that was not a number in between.
    assert compare.steps_to(curves(7.0, float("nan"), 4.0), 5.0) == 20


def test_table_of_means_with_divergences_counted():
    rows, target = compare.tabulate(
        [
            run("none", 0, 7.0, 5.0, 4.0, full=1),
            run("none", 1, 7.0, float("nan"), diverged=True, full=1),
            run("h0h1", 0, 7.0, 4.0, 3.0, full=10),
            run("h0h1", 1, 7.0, 4.0, 3.4, full=21),
        ],
        None,
    )
    assert target == 4.0
    none, h0h1 = rows
    assert (none["schedule"], h0h1["schedule"]) == ("none", "h0h1")
    assert none["validation"] == 4.0 and none["diverged"] == "1 of 2"
    assert none["steps to 4.00"] is None  # one of its runs never got there
    assert h0h1["steps to 4.00"] == 10
    assert h0h1["validation"] == pytest.approx(3.2)
    assert h0h1["spread"] == pytest.approx(0.2 * 2**0.5)
    assert h0h1["perplexity"] == pytest.approx(math.exp(3.2))
    assert h0h1["peak from"] == 16
    rows, _ = compare.tabulate([run("none", 0, 7.0, float("nan"), diverged=True)], None)
    assert math.isnan(rows[0]["validation"])
    assert "spread" not in rows[0]
    print_table(rows, Console(quiet=True))


def test_cells():
    assert [text(v) for v in (None, float("nan"), 1.23456, 198.25, 3, True, "a")] == [
        "-", "-", "1.2346", "198.2", "3", "yes", "a",
    ]  # fmt: skip
    assert markdown([{"a": 1, "b": None}]) == "| a | b |\n|---|---|\n| 1 | - |"


def test_smoothing_is_a_running_mean():
    values = np.array([4.0, 2.0, 6.0, 0.0])
    np.testing.assert_allclose(running_mean(values, 2), [4, 3, 4, 3])
    np.testing.assert_allclose(running_mean(values, 1), values)


def test_averages_end_with_the_shortest_run():
    mean = compare.average([curves(4.0, 2.0, 1.0), curves(6.0, 4.0)])
    np.testing.assert_allclose(mean.evaluations["validation_loss"], [5.0, 3.0])


def test_plot_of_nothing_yet(tmp_path):
    plot_runs({"none": Curves({}, {})}, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_compares_with_the_same_batches_and_weights(tiny_options, tmp_path, capsys):
    rows = main(["gpt", *tiny_options, "--schedules=none,h0h1", "--sample-tokens=0"])
    assert [row["schedule"] for row in rows] == ["none", "h0h1"]
    (folder,) = (tmp_path / "runs").iterdir()
    assert {p.name for p in folder.iterdir() if p.is_file()} == {
        "comparison.png", "comparison.md", "comparison.csv", "comparison.json",
    }  # fmt: skip

    def first(name, file, column):
        with (folder / name / file).open() as handle:
            return next(csv.DictReader(handle))[column]

    # Before the first update nothing but the schedule differs.
    first_loss = first("none-seed0", "metrics.csv", "loss")
    assert first("h0h1-seed0", "metrics.csv", "loss") == first_loss
    assert float(first("none-seed0", "metrics.csv", "learning_rate")) == pytest.approx(0.01)
    assert float(first("h0h1-seed0", "metrics.csv", "learning_rate")) < 0.006
    data = json.loads((folder / "comparison.json").read_text())
    assert len(data["runs"]) == 2 and data["environment"]["versions"]["keras"]
    printed = capsys.readouterr().out
    assert "Lowest validation loss" in printed and "unigram" in printed


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["gtp"], "Received: recipe='gtp'"),
        (["--schedules=none,lineer"], "Did you mean linear? Received: lineer"),
        (["--schedules=none,none"], "Received: schedules=none twice"),
        (["--schedule=none"], "--schedules"),
        (["--seeds=-1"], "Received: seeds=-1"),
        (["--seeds=1,1"], "Received: seeds=1 twice"),
        (["--peak-lr=0"], "Received: peak_lr=0.0"),
        (["--steps=1", "--epochs=1"], "--steps has no effect with --epochs"),
        (["--schedules=none", "--warmup=0.1"], "--warmup has no effect"),
    ],
)
def test_mistakes(argv, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err
