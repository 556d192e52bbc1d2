"""What to set: a learning-rate finder that also measures the optimizer's stability.

`suggest(model, x, y)` measures and returns a `Suggestion`. Its parts are here too: `range_test`
is the loop, `landmarks` reads its curve, `largest_stable_rate` is the theory of stability, and
`recommend` is the rule that combines them, a pure function of numbers.
"""

from keras_h0h1.suggestion.curve import Landmarks, landmarks, smooth
from keras_h0h1.suggestion.measure import suggest
from keras_h0h1.suggestion.plot import plot_range_test
from keras_h0h1.suggestion.range_test import RangeTest, range_test
from keras_h0h1.suggestion.record import Suggestion
from keras_h0h1.suggestion.rule import Recommendation, recommend
from keras_h0h1.suggestion.sharpness import Sharpness
from keras_h0h1.suggestion.stability import largest_stable_rate

__all__ = [
    "Landmarks",
    "RangeTest",
    "Recommendation",
    "Sharpness",
    "Suggestion",
    "landmarks",
    "largest_stable_rate",
    "plot_range_test",
    "range_test",
    "recommend",
    "smooth",
    "suggest",
]
