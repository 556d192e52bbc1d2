"""`python -m benchmarks.curvature_sizes`: it measures, goes on where it was, and reports."""

import json

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("one backend: the probe has its own tests on the others", allow_module_level=True)

from benchmarks import curvature_sizes
from recipes.gpt.model import SIZES, Size


def test_it_measures_once_and_reports(tmp_path, monkeypatch, capsys):
    text_folder = tmp_path / "text"
    text_folder.mkdir()
    for index in range(40):
        (text_folder / f"{index}.txt").write_text(f"The {index} quick brown foxes jump. " * 20)
    monkeypatch.setitem(SIZES, "demo", Size(1, 8, 4, 12))
    arguments = [
        "--sizes=demo", "--seeds=3", f"--data={text_folder}", "--steps=3", "--points=3",
        "--batch-size=2", "--vocabulary=300", "--context=8",
        f"--out={tmp_path}", f"--cache={tmp_path / 'cache'}",
    ]  # fmt: skip
    report = curvature_sizes.main(arguments)
    run = json.loads((tmp_path / "demo-3.json").read_text())
    assert list(run["cases"]) == ["depth-scaled", "fixed variance"]
    for case in run["cases"].values():
        points = case["points"]
        assert points["step"][0] == 0 and len(points["loss"]) == len(points["curvature"]) == 3
        assert min(points["curvature"]) > 0.0
    # The first loss of small weights is that of the uniform prediction.
    assert run["cases"]["depth-scaled"]["points"]["loss"][0] == pytest.approx(np.log(300), rel=0.01)
    first = report.read_text()
    monkeypatch.setattr(curvature_sizes, "measured", lambda *arguments: pytest.fail("again"))
    assert curvature_sizes.main(arguments).read_text() == first
    with pytest.raises(SystemExit):
        curvature_sizes.main([*arguments, "--steps=4"])
    # On a narrow console the message is wrapped.
    assert "Received: steps=4" in " ".join(capsys.readouterr().err.split())


def test_the_table_gives_the_fits(tmp_path):
    losses = [5.0, 4.0, 3.0]
    fit = {"first_loss": 5.0, "last_loss": 3.0, "R2": 0.987, "note": ""}
    fit |= {"H0": 1.5, "H0_low": 1.0, "H0_high": 2.0, "H1": 2.0, "H1_low": 1.9, "H1_high": 2.1}
    points = {"step": [0, 1, 2], "loss": losses, "curvature": [11.5, 9.5, 7.5]}
    none = {"first_loss": 5.0, "last_loss": 4.9, "note": "no trend", "R2": None, "H0": None}
    none |= {"H0_low": None, "H0_high": None, "H1": None, "H1_low": None, "H1_high": None}
    cases = {
        "depth-scaled": {"fit": fit, "points": points},
        "fixed variance": {"fit": none, "points": points},
    }
    for seed, size in ((1, "3m"), (0, "3m"), (0, "demo")):
        run = {"size": size, "seed": seed, "parameters": 3.04e6}
        run["settings"] = {"steps": 2, "batch_size": 8, "context": 64}
        (tmp_path / f"{size}-{seed}.json").write_text(json.dumps(run | {"cases": cases}))
    rows = curvature_sizes.write_report(tmp_path).read_text().splitlines()[-6:]
    assert [row.split("|")[1].strip() for row in rows] == ["demo"] * 2 + ["3m"] * 4
    cells = "3m", "3.0 million", "depth-scaled", "0", "5.00 to 3.00", "1.5 [1, 2]", "2 [1.9, 2.1]"
    assert rows[2] == "| " + " | ".join((*cells, "0.99", "")) + " |"
    assert rows[3].endswith("| 5.00 to 4.90 |  |  |  | no trend |")
    assert (tmp_path / "curvature_sizes.png").stat().st_size > 10_000
