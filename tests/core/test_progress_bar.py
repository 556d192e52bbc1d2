"""`fit`'s own progress bar shows the factor and the effective rate, in a few digits."""

import re

import keras
import pytest

from keras_h0h1 import LossAdaptiveLearningRate, LossAware
from keras_h0h1.callbacks import LearningRateLogger
from tests.core import problems


def _printed(capsys, verbose, every):
    """What `fit` prints, line by line, and what the logger recorded meanwhile."""
    keras.config.enable_interactive_logging()
    optimizer = LossAware(keras.optimizers.SGD(LossAdaptiveLearningRate(3e-4, C=2.0)))
    model = problems.mlp(optimizer)
    logger = LearningRateLogger(every=every)
    x, y = problems.data()
    model.fit(x.astype("float32"), y, batch_size=4, epochs=2, verbose=verbose, callbacks=[logger])
    text = re.sub(r"\x1b\[\d*m|\x08", "", capsys.readouterr().out)
    return re.split(r"[\r\n]+", text), logger.history


@pytest.mark.parametrize("verbose", [1, 2])
@pytest.mark.parametrize("every", [1, 4])
def test_the_bar_shows_the_last_factor_and_rate_of_each_epoch(verbose, every, capsys):
    lines, history = _printed(capsys, verbose, every)
    ends = [line for line in lines if "8/8" in line and "loss" in line]
    ends = [re.sub(r"^.*/step - ", "", line).strip() for line in ends]
    recorded = 8 // every
    for epoch in (0, 1):
        i = (epoch + 1) * recorded - 1
        factor = history["learning_rate_factor"][i]
        rate = history["effective_learning_rate"][i]
        # As many digits as Keras gives a metric: four after the point, and the small ones so too.
        shown = f"learning_rate_factor: {factor:.4f}"
        assert any(shown in end and f"effective_learning_rate: {rate:.4e}" in end for end in ends)
    # Nothing else was added, so that a line still fits the screen.
    for end in ends:
        names = re.findall(r"(\S+): \S+", end)
        assert sorted(names) == ["effective_learning_rate", "learning_rate_factor", "loss"]


def test_the_bar_shows_each_batch_while_the_epoch_runs(capsys, monkeypatch):
    # Keras redraws the bar twenty times a second at most.
    original = keras.utils.Progbar.__init__
    monkeypatch.setattr(
        keras.utils.Progbar,
        "__init__",
        lambda self, *args, **kwargs: original(self, *args, **{**kwargs, "interval": 0.0}),
    )
    lines, history = _printed(capsys, verbose=1, every=1)
    for k, factor in enumerate(history["learning_rate_factor"]):
        drawn = [line for line in lines if line.startswith(f"{k % 8 + 1}/8")]
        assert any(f"learning_rate_factor: {factor:.4f}" in line for line in drawn)
