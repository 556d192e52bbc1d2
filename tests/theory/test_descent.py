"""The reference table of the separation instance, and the loop that counts the steps."""

import keras
import numpy as np
import pytest

from keras_h0h1 import AdaptiveGD
from keras_h0h1.theory import bounds, problems
from keras_h0h1.theory.descent import RULES, descend, rule
from keras_h0h1.theory.smoothness import Smoothness

# Steps to a gap of 1e-6 from cosh(w1) - 1 = 10, 100, 1000, 10000 and w2 = 1; -1: diverges.
REFERENCE = {
    "alimisis": (580, 623, 669, 715),
    "sharp": (54, 56, 59, 61),
    "fixed": (596, 5464, 54153, 541044),
    "0.99 of the largest stable": (95, 518, 3596, 27589),
    "1.01 of the largest stable": (-1, -1, -1, -1),
}
GAPS = (10.0, 100.0, 1000.0, 10000.0)
EPSILON = 1e-6


def step_rule(row, problem, gap):
    if row in RULES:
        return rule(problem.smoothness, row)
    if row == "fixed":
        size = 1.0 / (1.0 + float(problem.value(problem.start(gap))))
    else:
        size = float(row.split()[0]) * bounds.largest_stable_step(problem.smoothness, gap)
    return lambda loss, norm, step: size


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize("row", list(REFERENCE))
def test_the_reference_table(row, column, float64, backend):
    problem, gap, expected = problems.Separation(0.1), GAPS[column], REFERENCE[row][column]
    start = problem.start(gap)
    if backend == "torch" and expected > 600:
        pytest.skip("a loop in Python: minutes for the same arithmetic")
    result = descend(
        problem, step_rule(row, problem, gap), keras.ops.convert_to_tensor(start), EPSILON
    )
    assert int(result.steps) == expected
    assert bool(result.diverged) == (expected < 0)
    assert bool(result.reached) == (expected > 0)


@pytest.mark.parametrize("row", ["alimisis", "sharp", "0.99 of the largest stable"])
def test_numpy_counts_the_same_steps(row):
    problem = problems.Separation(0.1)
    for gap, expected in zip(GAPS[:2], REFERENCE[row][:2], strict=True):
        result = descend(problem, step_rule(row, problem, gap), problem.start(gap), EPSILON)
        assert int(result.steps) == expected


@pytest.mark.parametrize(("row", "column"), [("alimisis", 3), *(("sharp", i) for i in range(4))])
def test_adaptive_gd_takes_the_steps_of_the_table(row, column, float64):
    problem = problems.Separation(0.1)
    w = keras.Variable(problem.start(GAPS[column]), dtype="float64")
    optimizer = AdaptiveGD(H0=1.0, H1=1.0, rule=row)
    optimizer.build([w])
    steps = 0
    while float(loss := problem.value(w.value)) > EPSILON:
        optimizer.apply([problem.gradient(w.value)], [w], loss=loss)
        steps += 1
        assert steps < 1000
    assert steps == REFERENCE[row][column]


@pytest.mark.parametrize("name", ["power", "envelope"])
def test_adaptive_gd_takes_the_steps_of_the_other_rules(name, float64):
    problem = problems.Separation(0.1)
    start, by_numpy = problem.start(1000.0), rule(problem.smoothness, name)
    expected = int(descend(problem, by_numpy, start, EPSILON).steps)
    w = keras.Variable(start, dtype="float64")
    optimizer = AdaptiveGD(H0=1.0, H1=1.0, rule=name)
    optimizer.build([w])
    steps = 0
    while float(loss := problem.value(w.value)) > EPSILON:
        optimizer.apply([problem.gradient(w.value)], [w], loss=loss)
        steps += 1
        assert steps < 1000
    assert steps == expected


def test_a_batch_counts_each_member_alone(float64):
    problem = problems.Separation(0.1)
    starts = np.stack([problem.start(gap) for gap in GAPS])
    for start in (starts, keras.ops.convert_to_tensor(starts)):
        result = descend(problem, rule(problem.smoothness), start, EPSILON)
        assert tuple(result.steps) == REFERENCE["sharp"]
        assert np.all(result.gap <= EPSILON)


def test_the_rule_sees_loss_norm_and_step():
    seen = []

    def spy(loss, norm, step):
        seen.append((float(loss), float(norm), float(step)))
        return 0.5

    result = descend(problems.Quadratic([1.0]), spy, np.array([4.0]), 0.6)
    assert seen[0] == (8.0, 4.0, 0.0) and seen[1] == (2.0, 2.0, 1.0)
    assert int(result.steps) == 2 and result.w == pytest.approx([1.0])


def test_the_start_and_the_limit_count_as_they_should():
    problem, half = problems.Quadratic([1.0]), lambda loss, norm, step: 0.5
    assert int(descend(problem, half, np.zeros(1), 0.0).steps) == 0
    assert int(descend(problem, half, np.array([4.0]), 0.6, max_steps=2).steps) == 2
    late = descend(problem, half, np.array([4.0]), 0.6, max_steps=1)
    assert int(late.steps) == -1 and not late.reached and not late.diverged


def test_rules_at_a_known_point():
    smoothness, f, G = Smoothness(2.0, 3.0, f_star=1.0), 2.0, 1.5
    expected = {
        "alimisis": 1 / 80,
        "sharp": 1 / 5,
        "power": 0.5 * min(1 / 2, 1 / 9),
        "envelope": np.arctanh(3**0.5 * G / 5) / (3**0.5 * G),
        "aiming": 0.7 / 7,
    }
    for name, value in expected.items():
        assert float(rule(smoothness, name, theta=0.7)(f, G, 0)) == pytest.approx(value, rel=1e-12)


def test_the_envelope_step_lands_on_the_minimiser_of_the_worst_case():
    # Its definition: the exact step to the minimum for cosh, as far up as x = tanh(sqrt(H1) w)
    # is not clipped at 1 - 1e-6.
    for H0, H1 in ((1.0, 1.0), (0.3, 5.0)):
        problem = problems.Cosh(H0, H1)
        for w in (0.1, 1.0, 2.5):
            result = descend(problem, rule(problem.smoothness, "envelope"), np.array([w]), 1e-9)
            assert int(result.steps) == 1


def test_general_rho_contracts_the_power_by_its_known_factor():
    # sharp on |w|^p: w+ = w (1 - 1/(p - 1)), whatever w is.
    for p in (3.0, 4.0, 6.5):
        problem = problems.NormPower(p)
        step = rule(problem.smoothness)
        size = step(problem.value([2.0]), 0.0, 0)
        after = 2.0 - size * problem.gradient([2.0])[0]
        assert after == pytest.approx(2.0 * (p - 2) / (p - 1), rel=1e-12)


def test_bad_arguments_say_what_was_received():
    for make in (
        lambda: rule(Smoothness(1.0, 1.0), "best"),
        lambda: rule(Smoothness(1.0, 1.0, rho=0.5), "alimisis"),
        lambda: rule(Smoothness(1.0, 1.0), "aiming", theta=0.0),
        lambda: descend(problems.Cosh(), rule(Smoothness(1.0, 1.0)), np.ones(1), -1.0),
        lambda: descend(problems.Cosh(), rule(Smoothness(1.0, 1.0)), np.ones(1), 1.0, -1),
    ):
        with pytest.raises(ValueError, match=r"Received: "):
            make()
