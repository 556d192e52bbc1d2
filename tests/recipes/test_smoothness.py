"""`python -m recipes.smoothness`: it runs, and its figures are those of the models it names."""

import csv
import json

import keras
import numpy as np
import pytest

from recipes.common.command_line.options import build
from recipes.gpt.model import Size
from recipes.smoothness import recipe
from recipes.smoothness.cases import cases
from recipes.smoothness.config import Smoothness
from recipes.smoothness.data import load_data
from recipes.vision.model import ResNet, ViT, parameter_count


@pytest.fixture(autouse=True)
def _one_backend(backend):
    if backend != "jax":
        pytest.skip("one backend: the probe has its own tests on the others")


def test_it_measures_and_leaves_its_results(text_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.smoothness.config._QUICK", Size(1, 8, 4, 12))
    table = recipe.main(
        [
            "--quick", "--only=architectures", f"--data={text_folder}", "--steps=3", "--points=3",
            "--batch-size=4", "--vocabulary=300", "--context=8", f"--out={tmp_path / 'out'}",
        ]
    )  # fmt: skip
    assert [row["case"] for row in table] == ["LSTM", "linear attention", "ResNet", "ViT"]
    folder = tmp_path / "out"
    assert (folder / "architectures.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((folder / "summary.json").read_text())
    assert len(summary["fits"]) == 4 and summary["config"]["steps"] == 3
    for row in table:
        with (folder / "architectures" / f"{row['case'].replace(' ', '-')}.csv").open() as file:
            measured = list(csv.DictReader(file))
        assert float(measured[0]["loss"]) == pytest.approx(row["first_loss"])
        assert float(measured[-1]["loss"]) == pytest.approx(row["last_loss"])
        assert all(float(point["curvature"]) > 0 for point in measured)


def test_its_image_models_are_those_of_the_vision_recipe():
    x, y, source = load_data(100)
    assert x.dtype == np.float32 and y.dtype == np.int32 and len(x) == len(y) == 100
    assert set(y) <= set(range(10)) and "100 used" in source
    shape = x.shape[1:]
    config = build(Smoothness, {"quick": True}).resolved()
    made = {case.name: case for case in cases(config, shape, 10)["architectures"]}
    patch = 7 if shape[0] % 7 == 0 else 2
    expected = {
        "ResNet": parameter_count(ResNet((1, 1), (8, 16)), 10, shape),
        "ViT": parameter_count(ViT(2, 64, heads=4, patch=patch), 10, shape),
    }
    for name, count in expected.items():
        with keras.StatelessScope():
            assert made[name].model().count_params() == count
