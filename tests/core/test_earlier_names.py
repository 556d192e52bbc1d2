"""Names from before version 0.1.0 still work, and say what they are called now."""

import keras
import pytest

from keras_h0h1 import AdaptiveGD, SmoothnessLearningRate, curvature, step_sizes
from keras_h0h1.theory import descent, smoothness

SCHEDULE = {"H0": 2.0, "H1": 3.0}


@pytest.mark.parametrize(
    "make",
    [
        lambda rule: SmoothnessLearningRate(**SCHEDULE, rule=rule),
        lambda rule: AdaptiveGD(**SCHEDULE, rule=rule),
        lambda rule: descent.rule(smoothness.Smoothness(2.0, 3.0), rule),
    ],
    ids=["schedule", "optimizer", "theory"],
)
def test_the_rule_paper_is_alimisis(make):
    with pytest.warns(DeprecationWarning, match=r"now called 'alimisis'.*='paper'") as warned:
        make("paper")
    # It points to the caller, once.
    assert [w.filename for w in warned if w.category is DeprecationWarning] == [__file__]


def test_a_saved_schedule_of_the_rule_paper_loads():
    saved = keras.saving.serialize_keras_object(SmoothnessLearningRate(**SCHEDULE))
    assert saved["config"]["rule"] == "alimisis"
    saved["config"]["rule"] = "paper"
    with pytest.warns(DeprecationWarning):
        schedule = keras.saving.deserialize_keras_object(saved)
    assert schedule.get_config() == SmoothnessLearningRate(**SCHEDULE).get_config()


def test_other_earlier_names():
    assert step_sizes.paper(0.5, 2.0, 3.0) == step_sizes.alimisis(0.5, 2.0, 3.0) == 1 / 50
    assert curvature.NotIdentified is curvature.NotIdentifiedError
