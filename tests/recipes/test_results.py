"""What reads runs: one reader of tables, one list of what is not the experiment, one way numbers
read."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

from recipes.common.command_line.errors import InputError
from recipes.common.results.configuration import (
    CHANGEABLE,
    DRY_RUN,
    NOT_THE_EXPERIMENT,
    PLACE,
    SINGLE_RUN,
    configuration,
)
from recipes.common.results.csv_files import keep_rows, read_columns, rows_of
from recipes.common.results.formatting import loss, setting
from recipes.common.results.plots import plot_runs
from recipes.common.results.runs import Curves, read_run
from recipes.gpt.recipe import GPTConfig
from recipes.report.training import group
from recipes.vision.config import VisionConfig
from tests.backends import only_on

pytestmark = only_on("jax", reason="files do not depend on the backend")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns_are_what_numpy_reads(end, tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 3))
    values[:, 0], values[7, 2] = np.arange(50), np.nan
    file = io.StringIO()
    np.savetxt(file, values, delimiter=",", header="step,loss,factor", comments="", newline=end)
    path = tmp_path / "a.csv"
    path.write_bytes(file.getvalue().replace("\n", end).replace("\r\r", "\r").encode())
    columns = read_columns(path, ("step", "loss"))
    assert list(columns) == ["step", "loss", "factor"]
    np.testing.assert_array_equal(np.stack(list(columns.values()), 1), values)
    np.testing.assert_array_equal([list(row.values()) for row in rows_of(columns)], values)


def test_a_line_without_its_end_counts_for_no_reader(tmp_path):
    """A number that was cut short looks like a smaller one."""
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"step,loss,learning_rate\n1,2.5,0.1\n2,1.25,0.1\n3,1.12")
    assert read_columns(path)["loss"].tolist() == [2.5, 1.25]
    keep_rows(path, 10)
    assert path.read_bytes() == b"step,loss,learning_rate\n1,2.5,0.1\n2,1.25,0.1\n"
    keep_rows(path, 1)
    assert path.read_bytes() == b"step,loss,learning_rate\n1,2.5,0.1\n"
    path.write_bytes(b"step,lo")
    assert read_columns(path) == {}
    keep_rows(path, 10)
    assert not path.exists()


def test_quoted_names_and_words(tmp_path):
    path, names = tmp_path / "probe.csv", ["step", "mode", "curvature/a, b"]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, [1, "hessian", ""], [2, "hessian", "3e-1"]])
    columns = read_columns(path)
    assert list(columns) == names and columns["mode"].tolist() == ["hessian", "hessian"]
    np.testing.assert_array_equal(columns["curvature/a, b"], [np.nan, 0.3])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"step,loss\n1\n", "line 2 has 1 values for 2 columns"),
        (b"step,loss\n1,x\n", "column `loss`"),
        (b"step,step\n1,2\n", "two columns share a name"),
        (b"loss\n1\n", "no column `step`"),
        (b"step,loss\nnan,1\n", "a step is no number"),
        (b"step,loss\n1e17,1\n", "a step is no number"),
        (b"step,loss\n1,\xff\n", "utf-8"),
        (b"step,loss\n1,2\r3,4\n", "new-line"),
    ],
)
def test_what_is_damaged_is_said(content, words, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{words}.*Received: .*a\.csv$"):
        read_columns(path, ("step",))


def make_run(path, **options):
    path.mkdir()
    config = dataclasses.asdict(GPTConfig()) | options
    (path / "config.json").write_text(json.dumps(config))
    return read_run(path)


OTHER = {
    "runs": "elsewhere", "name": "b", "resume": "a", "stop_after": 3, "suggest": True,
    "dry_run": True, "hardware": "h100", "utilisation": 0.3, "price": 2.5, "target": "h100:1",
    "max_to_keep": 9,
    "checkpoint_every": 7, "distribute": "data", "model_shards": 2, "cache": "c",
}  # fmt: skip


def test_runs_of_one_experiment_are_one_group(tmp_path):
    first = make_run(tmp_path / "first")
    for name, value in OTHER.items():
        other = make_run(tmp_path / name, **{name: value, "seed": 1})
        assert first.experiment == other.experiment, name
    runs = [first, make_run(tmp_path / "rate", peak_lr=0.5), make_run(tmp_path / "all", **OTHER)]
    assert [len(one.runs) for one in group(runs)] == [2, 1]
    assert configuration(GPTConfig(keep=9, cache="c")) == configuration(GPTConfig())
    assert configuration(GPTConfig(seed=1)) != configuration(GPTConfig())


def test_each_name_that_is_not_the_experiment_is_an_option():
    options = {f.name for cls in (GPTConfig, VisionConfig) for f in dataclasses.fields(cls)}
    for names in (PLACE, SINGLE_RUN, DRY_RUN, CHANGEABLE, NOT_THE_EXPERIMENT):
        assert names <= options
    assert NOT_THE_EXPERIMENT == {*OTHER, "workers"}


def test_a_run_in_progress_has_no_curves_yet(tmp_path):
    """A folder as a resumed run leaves it before its first evaluation: a header alone."""
    (tmp_path / "metrics.csv").write_text("step,loss,learning_rate\n")
    curves = Curves.read(type("Folder", (), {"path": tmp_path}))
    assert curves == Curves({}, {}) and curves.steps == 0 and curves.full_rate_from is None
    plot_runs({"none": curves}, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_numbers():
    assert [setting(v) for v in (1e-3, 0.30000000000000004, False, [], [1, 2])] == [
        "0.001", "0.3", "no", "-", "1, 2",
    ]  # fmt: skip
    assert [loss(v) for v in (0.25, 9.99996, 12.3456)] == ["0.2500", "10.0000", "12.35"]
