import dataclasses
import json

import keras
import pytest

from recipes.common.command_line.settings import ALL_SCHEDULES, Training, check_given
from recipes.common.results.run_folder import RunFolder
from recipes.common.training.optimizers import build_adamw
from recipes.common.training.stopping import below_peak_message
from tests.recipes.tiny import TinyConfig


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
    config = Training(peak_lr=0.1, steps=10, batch_size=1, gradient_accumulation_steps=1)
    assert config.schedule == "auto"
    assert build_adamw(config).rate_states[0].schedule.C == "auto"


# What a run folder of an earlier version holds, whose default was the papers' form.
EARLIER = {
    "schedule": "h0h1", "peak_lr": 0.001, "C": 0.5, "f_star": 0.0, "warmup": 0.2, "decay": 0.2,
    "final_lr": 1e-05, "steps": 30, "epochs": 0.24, "batch_size": 4,
    "gradient_accumulation_steps": 2, "weight_decay": 0.1, "beta_1": 0.9, "beta_2": 0.95,
    "global_clipnorm": 1.0, "precision": "float32", "suggest": False, "seed": 0, "eval_every": 3,
    "checkpoint_every": 2, "max_to_keep": 2, "jit": "auto", "distribute": "auto",
    "model_shards": None, "runs": "runs", "name": None, "resume": None, "stop_after": None,
}  # fmt: skip


def test_an_earlier_run_goes_on_with_the_rule_it_began_with(folder):
    folder.path.mkdir()
    folder.config_path.write_text(json.dumps(EARLIER))
    config = folder.read_config(TinyConfig, {"resume": str(folder.path)})
    assert (config.schedule, config.C) == ("h0h1", 0.5)
    optimizer = build_adamw(config.resolved(1000, {}, initial_loss=9.0))
    assert optimizer.rate_states[0].schedule.C == 0.5


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_a_run_goes_on_with_its_own_schedule(tmp_path, schedule):
    defaults = {"steps": 30, "batch_size": 4, "gradient_accumulation_steps": 2}
    config = TinyConfig(schedule=schedule).resolved(1000, defaults, initial_loss=1.0)
    folder = RunFolder(tmp_path)
    folder.write_config(config)
    again = folder.read_config(TinyConfig, {"resume": str(tmp_path)})
    again = again.resolved(1000, defaults, initial_loss=7.0)
    assert dataclasses.replace(again, runs=config.runs, name=None, resume=None) == config


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"C": 2.0}, True),
        ({"C": 2.0, "schedule": "h0h1"}, False),
        ({"f_star": 0.1}, False),
        ({"f_star": 0.1, "schedule": "linear"}, True),
        ({"warmup": 0.1}, True),
    ],
)
def test_constants_of_other_schedules_are_refused(given, refused):
    if refused:
        with pytest.raises(ValueError, match="has no effect without the schedule"):
            check_given(given)
    else:
        check_given(given)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": "h0h1", "C": 2.5}, "fell to C = 2.5"),
        # 80 of 100 updates come before the decay, and the self-tuned rule takes 100.
        ({"steps": 100}, "takes 100 updates or more, and 80 come before"),
        ({"steps": 200}, "neither stayed below 0.6 of the first one nor stopped"),
    ],
)
def test_a_rate_that_never_reached_its_peak_is_explained(options, words):
    assert words in below_peak_message(Training(**options))


def test_only_loss_driven_rates_are_explained():
    assert below_peak_message(Training(schedule="linear", steps=10)) is None
