"""`python -m recipes.theory`: what it finds, and what it leaves behind."""

import csv
import json

import numpy as np
import pytest
from rich.console import Console

from keras_h0h1.theory import bounds, problems
from recipes.theory import schedules
from recipes.theory.recipe import EXPERIMENTS, Theory, main, run
from tests.backends import only_on

pytestmark = only_on("tensorflow", "jax", reason="on PyTorch its eager steps take two minutes")

QUICK = ("separation", "bounds", "sharpness", "two_layer", "chains", "powers")
QUICK += ("exponents", "networks", "phases")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import keras

    before, folder = keras.config.floatx(), tmp_path_factory.mktemp("theory")
    run(Theory(quick=True, only=QUICK, out=str(folder)), Console(quiet=True))
    keras.config.set_floatx(before)
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", False)
    return folder


def rows(folder, name):
    with open(folder / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_experiment_leaves_figure_table_and_data(folder):
    for name in QUICK:
        assert (folder / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert (folder / f"{name}.md").read_text(encoding="utf-8").startswith("| ")
        data = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        assert data["findings"] and len(data["rows"]) == len(rows(folder, name))
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert set(summary["findings"]) == set(QUICK) == set(summary["seconds"])


def test_the_separation_is_the_reference_table(folder):
    table = {row["step"]: row for row in rows(folder, "separation")}
    columns = ("Δ₀ = 10", "Δ₀ = 100", "Δ₀ = 1000", "Δ₀ = 10000")
    for step, expected in {
        "paper: 1/(10 + 20 Δ)": (580, 623, 669, 715),
        "sharp: 1/(1 + Δ)": (54, 56, 59, 61),
        "fixed: 1/(1 + Δ₀)": (596, 5464, 54153, 541044),
        "fixed: 0.99 of the largest stable": (95, 518, 3596, 27589),
    }.items():
        assert tuple(int(table[step][column]) for column in columns) == expected
    data = json.loads((folder / "separation.json").read_text(encoding="utf-8"))
    assert data["gaps"][0] == pytest.approx(10) and data["gaps"][-1] >= 9999
    assert all(data["diverged at 1.01"])
    # Growth like log Δ₀ against growth like Δ₀.
    assert float(table["paper: 1/(10 + 20 Δ)"]["exponent of Δ₀"]) < 0.05
    assert 0.95 < float(table["fixed: 1/(1 + Δ₀)"]["exponent of Δ₀"]) < 1.0
    slope = float(table["paper: 1/(10 + 20 Δ)"]["steps per factor e of Δ₀"])
    assert slope == pytest.approx((715 - 580) / 6.9078, rel=0.02)


def test_no_bound_is_violated(folder):
    for row in rows(folder, "bounds"):
        assert 0 < int(row["steps"]) <= float(row["at most"]), row


def test_the_sharpness_falls_then_rises(folder):
    small, large, unbalanced = rows(folder, "sharpness")
    value = lambda row, name: float(row[name])  # noqa: E731
    assert value(small, "lowest") == pytest.approx(1.0, abs=0.02)
    assert value(small, "sharpness at the start") == pytest.approx(2 - 2 * 0.01, rel=1e-9)
    assert value(small, "at the end") == pytest.approx(4.0, abs=1e-3)
    # u = v = 2: 2 * 4 + 2 * |8 - 1| = 22
    assert value(large, "sharpness at the start") == pytest.approx(22.0)
    # Gradient flow keeps u^2 - v^2, which measures the integrator.
    assert all(value(row, "drift of u² − v²") < 1e-6 for row in (small, large, unbalanced))


def test_the_chains_have_their_exponents_and_the_powers_their_closed_form(folder):
    for row in rows(folder, "chains"):
        expected = 1 - 1 / int(row["depth L"])
        assert float(row["exponent of the loss, far out"]) == pytest.approx(expected, abs=1e-3)
        assert float(row["curvature / bound on the line"]) <= 1 < float(row["off the line"])
    for row in rows(folder, "powers"):
        assert row["sharp, 1/(Kρ Δ^ρ)"] == row["closed form"]


def test_direct_bounds_are_between_the_counted_steps_and_the_reduced_bounds(folder):
    for row in rows(folder, "exponents"):
        direct, reduced = float(row["direct bound"]), float(row["reduced bound"])
        assert 0 < int(row["steps"]) <= direct <= reduced <= float(row["ρ"]) * direct


def test_adaptive_steps_with_certified_constants_beat_the_fixed_step_of_the_start(folder):
    found = rows(folder, "networks")
    assert len({row["network"] for row in found}) == 5
    arrived = [row for row in found if row["adaptive, 1/ℓ(Δ)"]]
    assert len(arrived) >= len(found) - 1  # the two-layer network's constants are very loose
    for row in arrived:
        first = row["fixed, 1/ℓ(Δ₀)"]
        # Its first step is that of the fixed rule, all others are longer.
        assert not first or 0 < int(row["adaptive, 1/ℓ(Δ)"]) < int(first), row
    assert all(int(row["best fixed step"]) > 0 for row in found)


def test_the_sharpness_of_networks_turns_where_predicted(folder):
    turns = {row["flow"]: row for row in rows(folder, "phases")}
    for label, count in {
        "scalar layers, L = 2": 1,
        "scalar layers, L = 3": 2,
        "scalar layers, L = 4": 2,
        "d = 1, ridge 0.05": 1,
        "d = 1, ridge 0.7": 0,
    }.items():
        row = turns[label]
        predicted, found = (
            [float(x) for x in row[k].split(", ") if x] for k in ("predicted at", "found at")
        )
        assert int(row["turns"]) == len(predicted) == count
        np.testing.assert_allclose(found, predicted, atol=0.02)
    for label, row in turns.items():
        if "L = 3" not in label and "L = 4" not in label and "0.7" not in label:
            assert float(row["lowest"]) < float(row["at the start"]) < float(row["at the end"])


def test_an_adaptive_step_beats_a_small_search_of_schedules(float64):
    problem = problems.Separation(0.1)
    start, stable = problem.start(100.0)[None], bounds.largest_stable_step(problem.smoothness, 100)
    found = schedules._search(
        problem, start, np.array([stable]), "cosine", 518, fine=6, tick=lambda: None
    )
    # The reference table has 518 steps at 0.99 of the largest stable; a search does no worse.
    assert 500 <= int(found[0][0]) <= 518
    assert float(found[1][0]) < stable * (1 + 1e-6)


def test_the_command_line_names_the_nearest_option(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--quik"])
    assert caught.value.code == 2 and "Did you mean --quick?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--only", "everything"])
    assert "Received: everything" in capsys.readouterr().err
    assert len(EXPERIMENTS) == 10
