"""The probes of the study: rate times sharpness over the limit, against NumPy."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("the trials of the study run on JAX alone", allow_module_level=True)

from benchmarks.quality import probes, records
from benchmarks.quality import trial as trials
from benchmarks.quality.methods import NONE, Method
from benchmarks.quality.rates import decay
from benchmarks.quality.trial import Trial
from benchmarks.quality.workload import Workload

UPDATES, BATCH, RATE = 40, 16, 0.02


def _model(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])


def _batches(seed, updates):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(updates, BATCH, 4)) * (1.0, 2.0, 3.0, 0.5)).astype("float32")
    return x, x.sum(-1, keepdims=True)


def _workload(optimizer):
    return Workload(
        "least_squares", "development", "for tests", 1, UPDATES, (RATE,), _model, optimizer,
        _batches, lambda: _batches(7, 2), lambda: 100.0, lambda: {"loss": "mse"},
    )  # fmt: skip


@pytest.fixture
def use(monkeypatch):
    def use(optimizer):
        work = _workload(optimizer)
        for module in (probes, trials):
            monkeypatch.setattr(module, "load_workload", lambda name: work)

    return use


def _rates():
    return RATE * np.asarray(decay(np.arange(UPDATES, dtype="float32"), float(UPDATES)))


def test_sgd_on_least_squares(use):
    use(lambda rate: keras.optimizers.SGD(rate, momentum=0.5))
    record = probes.measure(Trial("least_squares", NONE, RATE, 0))
    x = _batches(0, UPDATES)[0].astype("float64")
    last = [x[step - 1] for step in record["updates"]]
    sharpness = np.array([np.linalg.eigvalsh(2 / BATCH * a.T @ a)[-1] for a in last])
    np.testing.assert_allclose(record["sharpness"], sharpness, rtol=1e-3)
    assert record["limit"] == 3.0 and record["updates"][-1] == UPDATES
    following = np.append(_rates(), _rates()[-1])[record["updates"]]
    np.testing.assert_allclose(record["over_limit"], following * sharpness / 3.0, rtol=1e-3)


def test_adam_has_its_preconditioner(use):
    use(lambda rate: keras.optimizers.Adam(rate, epsilon=1e-7))
    record = probes.measure(Trial("least_squares", NONE, RATE, 0))
    weights = _model(0).get_weights()[0].astype("float64")
    m = v = np.zeros_like(weights)
    x, y = (array.astype("float64") for array in _batches(0, UPDATES))
    expected = {}
    for step, rate in enumerate(_rates(), start=1):
        gradient = 2 / BATCH * x[step - 1].T @ (x[step - 1] @ weights - y[step - 1])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        scale = np.sqrt(v / (1 - 0.999**step)) + 1e-7
        weights = weights - rate * m / (1 - 0.9**step) / scale
        hessian = 2 / BATCH * x[step - 1].T @ x[step - 1] / np.sqrt(scale @ scale.T)
        expected[step] = np.linalg.eigvalsh(hessian)[-1]
    wanted = [expected[step] for step in record["updates"]]
    np.testing.assert_allclose(record["sharpness"], wanted, rtol=2e-3)
    assert record["limit"] == pytest.approx(38.0)


def test_the_rule_is_measured_with_its_own_rate_and_a_diverged_run_ends(use, tmp_path):
    use(lambda rate: keras.optimizers.SGD(rate))
    rule = probes.measure(Trial("least_squares", Method("self-tuned"), RATE, 0))
    assert rule["rates"][0] < RATE and rule["limit"] == 2.0
    wild = probes.measure(Trial("least_squares", NONE, 1e9, 0))
    assert wild["updates"][-1] < UPDATES and np.isnan(wild["sharpness"][-1])
    for place, record in enumerate((rule, wild)):
        identity = {**record["identity"], "workload": "gpt_code"}
        entry = {"place": place, "label": "none", **record, "identity": identity}
        records.write(tmp_path / f"{place}.json", entry)
    assert probes.main(["report", "--results", str(tmp_path)]) == 0
    page = (tmp_path / "PROBES.md").read_text()
    assert "not finite at" in page and "| none | " in page
    assert (tmp_path / "stability.png").stat().st_size > 1000
