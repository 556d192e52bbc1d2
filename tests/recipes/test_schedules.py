import keras
import numpy as np
import pytest

from recipes.common.optimizers import build_adamw
from recipes.common.schedules import WarmupStableDecay
from recipes.common.settings import Training


def reference(k, peak, total, warmup, decay, final):
    if k < warmup:
        return peak * (k + 1) / warmup
    if k > total - decay:
        return peak - (peak - final) * (k - total + decay) / decay
    return peak


@pytest.mark.parametrize(("warmup", "decay"), [(0, 0), (20, 0), (0, 20), (20, 20), (50, 50)])
def test_follows_the_formula(floatx, warmup, decay, backend):
    schedule = WarmupStableDecay(3e-3, 100, warmup, decay, final_learning_rate=1e-5)
    got = [float(schedule(keras.ops.convert_to_tensor(k, "int32"))) for k in range(100)]
    want = [reference(k, 3e-3, 100, warmup, decay, 1e-5) for k in range(100)]
    # On PyTorch Keras' minimum and maximum answer in float32 whatever floatx says.
    exact = floatx == "float64" and backend != "torch"
    np.testing.assert_allclose(got, want, rtol=1e-12 if exact else 2e-6)


def test_ends_at_the_final_rate_and_stays_there():
    schedule = WarmupStableDecay(1e-3, 10, decay_steps=2)
    assert float(schedule(10)) == pytest.approx(1e-5)
    assert float(schedule(1000)) == pytest.approx(1e-5)


def test_micro_batches_of_one_update_share_its_rate():
    plain = WarmupStableDecay(1.0, 10, 3, 4)
    micro = WarmupStableDecay(1.0, 10, 3, 4, steps_per_update=3)
    assert [float(micro(i)) for i in range(30)] == [float(plain(i // 3)) for i in range(30)]


def test_serialises_under_the_package_name():
    schedule = WarmupStableDecay(1e-2, 10, 2, 3, 1e-4, 5)
    data = keras.optimizers.schedules.serialize(schedule)
    assert data["registered_name"] == "keras_h0h1>WarmupStableDecay"
    copy = keras.optimizers.schedules.deserialize(data)
    assert copy.get_config() == schedule.get_config()


@pytest.mark.parametrize(
    "bad",
    [
        {"peak_learning_rate": 0.0},
        {"peak_learning_rate": "fast"},
        {"total_steps": 0},
        {"warmup_steps": -1},
        {"warmup_steps": 6, "decay_steps": 5},
        {"final_learning_rate": float("nan")},
        {"steps_per_update": 0},
    ],
)
def test_bad_arguments(bad):
    with pytest.raises((TypeError, ValueError), match=r"Received: "):
        WarmupStableDecay(**{"peak_learning_rate": 1.0, "total_steps": 10, **bad})


@pytest.mark.parametrize("schedule", ["none", "linear", "h0h1"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_rate_of_each_update(schedule, accumulate):
    """The optimizer's rate is base(k) / max(1, loss / C), with the mean loss of the window."""
    config = Training(
        schedule=schedule, peak_lr=0.1, C=2.0, steps=10, batch_size=1, accumulate=accumulate
    )
    optimizer = build_adamw(config)
    weight = keras.Variable([1.0])
    losses = [8.0, 6.0, 4.0, 3.0, 2.5, 2.0, 1.5, 1.0, 3.0, 0.5]
    for k, loss in enumerate(losses):
        for i in range(accumulate):
            # The micro-batches of a window differ; their mean is the loss.
            offset = 0.0 if accumulate == 1 else (0.5, -0.5)[i]
            optimizer.apply([keras.ops.ones((1,))], [weight], loss=loss + offset)
        warmup = 2 if schedule == "linear" else 0
        base = reference(k, 0.1, 10, warmup, 2, 1e-5)
        factor = 1.0 / max(1.0, loss / 2.0) if schedule == "h0h1" else 1.0
        assert float(optimizer.effective_learning_rate) == pytest.approx(base * factor, rel=1e-5)
