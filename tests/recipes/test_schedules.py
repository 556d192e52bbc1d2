import keras
import pytest

from recipes.common.command_line.settings import Training
from recipes.common.training.optimizers import build_adamw


def reference(k, peak, total, warmup, decay, final):
    if k < warmup:
        return peak * (k + 1) / warmup
    if k > total - decay:
        return peak - (peak - final) * (k - total + decay) / decay
    return peak


@pytest.mark.parametrize("schedule", ["none", "linear", "h0h1"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_rate_of_each_update(schedule, accumulate):
    """The optimizer's rate is base(k) / max(1, loss / C), with the mean loss of the window."""
    config = Training(
        schedule=schedule,
        peak_lr=0.1,
        C=2.0,
        steps=10,
        batch_size=1,
        gradient_accumulation_steps=accumulate,
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


def test_auto_is_the_self_tuned_rule_of_the_library():
    config = Training(
        schedule="auto", peak_lr=0.1, steps=10, batch_size=1, gradient_accumulation_steps=1
    )
    assert build_adamw(config).rate_states[0].schedule.C == "auto"
