"""Random networks inside their guards, each assumption dropped, and the record of the long run."""

import time

import numpy as np
import pytest

from benchmarks import networks
from benchmarks.network_assumptions import DROPPED
from benchmarks.network_instances import KINDS
from keras_h0h1.theory import certify
from tests.backends import only_on

pytestmark = only_on("jax", reason="in NumPy alone: one backend is enough")


@pytest.mark.parametrize("name", DROPPED)
def test_certify_finds_a_violation_without(name):
    began = time.process_time()
    found = networks.dropped(name, 3)
    assert time.process_time() - began < 10  # of this process: others may share the machine
    assert found.violated
    claim = DROPPED[name](np.random.default_rng(3))
    hessian, loss = claim.problem.hessian(found.point), float(claim.problem.value(found.point))
    assert np.linalg.norm(hessian, 2) > claim.smoothness.bound(loss)


@pytest.mark.parametrize("kind", KINDS)
def test_certify_finds_none_inside(kind):
    for seed in (1000, 1001):
        instance = KINDS[kind](networks.generator(kind, seed))
        found = certify.find_violation(
            instance.problem,
            instance.smoothness,
            restrict=instance.restrict,
            radius=networks.RADIUS,
            samples=128,
            segments=8,
            ascent_steps=20,
            seed=seed,
        )
        assert not found.violated, str(found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_points_of_an_instance_are_inside_its_set(kind):
    for seed in range(20):
        instance = KINDS[kind](networks.generator(kind, seed))
        problem, points = instance.problem, instance.points
        assert points.shape == (4, problem.dimension) and np.all(np.isfinite(problem.value(points)))
        if "balanced" in kind:
            assert np.all(problem.imbalance(points) <= 1e-9 * np.sum(points**2, axis=1))
        if "aligned" in kind:
            assert np.all(np.isfinite(instance.restrict(points)))


def test_tightness_counts_violations_and_near_equalities():
    row = networks.tightness_of(np.array([[2.0, 4.0], [1.0, 8.0]]), np.array([[2.0, 1.0], [2, 2]]))
    assert row == {
        "instances": 2,
        "violations": 1,
        "tightest": 0.5,
        "median": 2.5,
        "loosest": 4.0,
        "within 1%": 2,
    }


@pytest.mark.parametrize("kind", networks.EQUAL)
def test_the_bound_is_attained(kind):
    row = networks.tightness_of(*networks.equalities(kind, 20))
    assert row["tightest"] == pytest.approx(1, rel=1e-9)
    assert row["loosest"] == pytest.approx(1, rel=1e-9)


def test_the_record_has_no_violation_inside_and_one_without_each_assumption():
    record = {part: content["results"] for part, content in networks.load().items()}
    assert set(record["tightness"]["curvature"]) == set(KINDS)
    for rows in record["tightness"].values():
        assert all(row["violations"] == 0 for row in rows.values())
    curvature = record["tightness"]["curvature"].values()
    assert all(row["instances"] >= 1000 for row in curvature)
    for kind in networks.REQUIRED:
        assert len(record["certify"][kind]) >= networks.SEARCHES
    for rows in record["certify"].values():
        assert not any(row["violated"] for row in rows)
        assert [row["seed"] for row in rows] == list(range(len(rows)))
    assert set(record["dropped"]) == set(DROPPED)
    for row in record["dropped"].values():
        assert row["violated"] == row["instances"] and row["longest processor seconds"] < 10


def test_the_tables_are_those_of_the_record():
    assert networks.tables() == (networks.RESULTS / "NETWORKS.md").read_text(encoding="utf-8")


def test_kinds_without_the_searches_are_refused(capsys, monkeypatch):
    for part in networks.PARTS:
        monkeypatch.setitem(networks.PARTS, part, lambda *kinds: pytest.fail("it ran"))
    with pytest.raises(SystemExit):
        networks.main(["--parts", "dropped", "--kinds", "TwoLayerNet"])
    assert "Received: --parts ['dropped']" in capsys.readouterr().err
