"""Schedule-Free AdamW as its authors have it, on the implementation that ships with Keras.

Aaron Defazio et al., "The Road Less Scheduled", arXiv 2405.15682. Keras' optimizer leaves two
things to be done: the model's weights after training are the points y where gradients are taken,
and those to evaluate are the averages x; and its weight decay shrinks x at once, where the authors'
code moves z.
"""

from collections.abc import Sequence

import keras
from keras import ops


class ScheduleFree(keras.optimizers.ScheduleFreeAdamW):
    """`keras.optimizers.ScheduleFreeAdamW` with its authors' weight decay, and with `averages`.

    With z the steps, x their average and y = (1 - b) z + b x the model's weights, b = beta_1:
    decay takes `rate * weight_decay * y` from z and leaves x as it is.
    """

    def _apply_weight_decay(self, variables) -> None:
        if self.weight_decay is None:
            return
        for variable in variables:
            if not self._use_weight_decay(variable):
                continue
            rate = ops.cast(self.learning_rate, variable.dtype)
            taken = rate * self.weight_decay * variable
            steps = self._momentums[self._get_variable_index(variable)]
            steps.assign(steps - taken)
            # x = (y - (1 - b) z) / b is what Keras keeps of the average.
            variable.assign(variable - (1.0 - self.beta_1) * taken)

    def averages(self, weights: Sequence, values: Sequence) -> list:
        """The averages x, which are to be evaluated.

        Args:
            weights: Values of the trainable variables, y.
            values: Values of `variables` of this optimizer.
        """
        known = {id(v): value for v, value in zip(self.variables, values, strict=True)}
        steps = [known[id(v)] for v in self._momentums]
        b = self.beta_1
        return [(y - (1.0 - b) * z) / b for y, z in zip(weights, steps, strict=True)]
