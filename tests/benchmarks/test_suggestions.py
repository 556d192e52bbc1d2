"""The table of suggested base rates, from numbers worked out by hand and the committed results."""

import re

import pytest

from tests.backends import only_on

pytestmark = only_on("jax", reason="the study runs on JAX")


def test_the_loss_between_two_rates_of_a_grid():
    from benchmarks import suggestions

    losses = {0.01: 2.0, 0.1: 1.0, 1.0: 3.0}
    assert suggestions.loss_at(10**-1.5, losses) == pytest.approx(1.5)
    assert suggestions.loss_at(10**-0.25, losses) == pytest.approx(2.5)
    assert suggestions.loss_at(1e-4, losses) == 2.0 and suggestions.loss_at(9.0, losses) == 3.0
    assert suggestions.excess(10**-1.5, losses) == pytest.approx(50.0)


def test_the_rule_is_the_one_that_the_choice_takes():
    from benchmarks import suggestions
    from keras_h0h1.suggestion.rule import NORMALISED_SHARES, SGD_SHARES

    taken = re.findall(r"^\| (.*) \(taken\)", suggestions.choose(), re.MULTILINE)
    shares = [tuple(None if v == "-" else float(v) for v in row.split(", ")) for row in taken]
    assert shares == [tuple(NORMALISED_SHARES), tuple(SGD_SHARES)]


def test_a_stored_measurement_gives_the_rate_that_suggest_gave():
    from benchmarks import suggestions

    found = suggestions.read()
    # Measured before the rule was chosen: the development workloads.
    for key in ("vae/0", "vit/1", "fine_tuning/0"):
        stored = found[key]["suggestion"]
        assert suggestions.recommend_again(stored) == pytest.approx(stored["base"])
