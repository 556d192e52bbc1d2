"""Each optimizer follows the NumPy reference, step by step, in the committed golden table."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from tests.core.optimizers_family.cases import CASES, DECAY
from tests.core.optimizers_family.reference import GOLDEN, PROBLEMS, STEPS, Problem, table

ROWS = json.loads(GOLDEN.read_text())
# On PyTorch Keras computes some operations of float64 numbers by way of float32.
RTOL = 1e-5 if keras.backend.backend() == "torch" else 1e-8


def run(optimizer, problem, steps=STEPS, before_step=None):
    """The losses and rates of the Keras optimizer and the final weights, as NumPy arrays."""
    variables = [keras.Variable(w, dtype=keras.config.floatx()) for w in problem.start]
    optimizer.build(variables)
    losses, rates = [], []
    for step in range(steps):
        weights = [ops.convert_to_numpy(v).astype("float64") for v in variables]
        loss, gradients = problem(weights, step)
        if before_step is not None:
            before_step(step)
        gradients = [ops.convert_to_tensor(g, dtype=keras.config.floatx()) for g in gradients]
        optimizer.apply(
            gradients, variables, loss=ops.convert_to_tensor(loss, dtype=keras.config.floatx())
        )
        losses.append(loss)
        rates.append(float(optimizer.effective_learning_rate))
    return losses, rates, [ops.convert_to_numpy(v) for v in variables]


def test_the_table_is_the_reference_s():
    rows = table()
    assert rows.keys() == ROWS.keys()
    for key, row in rows.items():
        for field, values in row.items():
            for expected, value in zip(ROWS[key][field], values, strict=True):
                np.testing.assert_allclose(value, expected, rtol=1e-9, err_msg=key)


@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("name", CASES)
def test_golden_table(name, decay, float64):
    case = CASES[name]
    for problem in PROBLEMS:
        optimizer = case.make(**case.arguments, weight_decay=decay or None)
        losses, rates, weights = run(optimizer, Problem(problem))
        row = ROWS[f"{name} | {problem} | {decay}"]
        np.testing.assert_allclose(losses, row["losses"], rtol=RTOL)
        np.testing.assert_allclose(rates, row["rates"], rtol=RTOL, atol=1e-12)
        for ours, theirs in zip(weights, row["weights"], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=RTOL, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_single_precision(name):
    case = CASES[name]
    _, rates, weights = run(case.make(**case.arguments), Problem("network"))
    row = ROWS[f"{name} | network | 0.0"]
    np.testing.assert_allclose(rates, row["rates"], rtol=1e-3)
    for ours, theirs in zip(weights, row["weights"], strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_the_cases_exercise_the_rule(name):
    """In some problem the cap does not bind: the table is not that of a constant rate."""
    rates = np.array([ROWS[f"{name} | {problem} | 0.0"]["rates"] for problem in PROBLEMS])
    assert np.ptp(rates) > 0.1 * rates.max()


@pytest.mark.parametrize("name", ["MoMo", "MoMoAdam", "NGNMD"])
def test_the_averages_are_computed_once_in_a_step(name, monkeypatch):
    case = CASES[name]
    optimizer, problem, calls = case.make(**case.arguments), Problem("network"), []
    kind = type(optimizer.inner_optimizer)
    direction = kind.direction

    def counted(self, gradient, variable, count):
        calls.append(variable)
        return direction(self, gradient, variable, count)

    monkeypatch.setattr(kind, "direction", counted)
    run(optimizer, problem, steps=3)
    assert len(calls) == 3 * len(problem.start)
