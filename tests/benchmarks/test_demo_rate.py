"""The rule that chooses the demo's peak rate."""

import math

import pytest

from benchmarks import demo_rate
from tests.backends import only_on

pytestmark = only_on("jax", reason="arithmetic that does not depend on the backend")


def both(none, linear):
    return {"none": none, "linear": linear}


@pytest.mark.parametrize(
    ("losses", "rate"),
    [
        # Furthest behind among those near the best: 5% at 3, and not 50% at 9.
        ({1: both(2.02, 2.0), 3: both(2.121, 2.02), 9: both(3.3, 2.2)}, 3),
        # A run without warm-up that diverged is furthest behind.
        ({1: both(2.5, 2.0), 3: both(math.nan, 2.02), 9: both(3.3, 2.2)}, 3),
        # Warm-up matters nowhere: the highest of those near the best.
        ({1: both(2.0, 2.0), 3: both(2.01, 2.01), 9: both(3.0, 3.0)}, 3),
        # Linear warm-up diverged: no rate to show.
        ({1: both(2.0, 2.0), 3: both(2.0, math.nan)}, 1),
    ],
)
def test_the_rule(losses, rate):
    assert demo_rate.choose(losses) == rate


def test_it_goes_on_where_it_stopped(tmp_path, monkeypatch):
    made = []

    def run(rate, data):
        made.append(rate)
        if len(made) == 3:
            raise KeyboardInterrupt
        return both(math.nan if rate == 3e-3 else 2.0, 2.0)

    monkeypatch.setattr(demo_rate, "run", run)
    monkeypatch.setattr(demo_rate, "RESULTS", tmp_path)
    monkeypatch.setattr("benchmarks.common.RESULTS", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        demo_rate.main()
    demo_rate.main()
    assert made == [1e-3, 3e-3, 1e-2, 1e-2, 3e-2]
    found = demo_rate.finished({"seed": 1})
    assert list(found) == list(demo_rate.RATES) and math.isnan(found[3e-3]["none"])
    assert demo_rate.choose(found) == 3e-3
