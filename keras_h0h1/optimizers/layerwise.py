"""A learning rate of its own for each group of layers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import keras

from keras_h0h1 import _keras
from keras_h0h1._types import Config, Tensor
from keras_h0h1._validation import check_number
from keras_h0h1.schedules import LossDrivenSchedule
from keras_h0h1.schedules.scaled import ScaledLearningRate


class _Groups:
    """Which optimizer a variable belongs to: that of the first pattern that its path matches."""

    def __init__(
        self, patterns: Iterable[str | None], optimizers: Iterable[keras.optimizers.Optimizer]
    ) -> None:
        # The last one, of the pattern None, takes what no other pattern does.
        self.patterns = tuple(patterns)
        self._optimizers = tuple(optimizers)

    def values(self) -> tuple:
        return self._optimizers

    def index(self, path: str) -> int | None:
        for i, pattern in enumerate(self.patterns):
            # `(.*/)?`: the names of the layers around, as that of the model, may be left out.
            if pattern is None or re.fullmatch(f"(.*/)?(?:{pattern})", path):
                return i
        return None

    def __call__(self, variable: keras.Variable) -> keras.optimizers.Optimizer:
        index = self.index(variable.path)
        assert index is not None, "the last pattern takes every variable"
        return self._optimizers[index]


@keras.saving.register_keras_serializable("keras_h0h1")
class Layerwise(keras.optimizers.MultiOptimizer):
    r"""One optimizer with a multiple of its learning rate for each group of layers.

    $$\eta_{k, v} = m_v \, \eta_k$$

    for each variable $v$, with $m_v$ the multiplier of the first pattern that its `path` matches.
    Layer-wise learning-rate decay is the usual case. Put it between `LossAware` and the optimizer:

    ```python
    blocks = {f"layer_{i}/.*": 0.9 ** (12 - i) for i in range(12)}
    optimizer = keras.optimizers.AdamW(LossAdaptiveLearningRate(1e-4, C=1.0))
    model.compile(LossAware(Layerwise(optimizer, {"embedding/.*": 0.25, **blocks})))
    ```

    Each group has a copy of the optimizer (Keras' `MultiOptimizer`) with a
    `ScaledLearningRate` of the schedule. All see the same loss, so all have the same factor, and
    decoupled weight decay is multiplied like the rate. `global_clipnorm` clips by the norm of
    *all* gradients, unlike that of a `MultiOptimizer`'s optimizers, each of which clips by the
    norm of its own.

    `LossAware.learning_rate` is the base rate $\eta_k$ without multiplier, read and write, so
    `ReduceLROnPlateau` and the like work; `effective_learning_rate`, and what
    `LearningRateLogger` logs, are the rates of a multiplier of 1. `LossAware.rate_states` holds
    one state per group, in the order of the patterns: its `base_rate()`, `factor()` and `rate()`.

    Args:
        optimizer: A Keras optimizer with a loss-driven schedule, not built. It is copied, not
            kept.
        multipliers: Dictionary of regular expressions to floats >= 0, the multipliers. An
            expression has to match the whole `path` of a variable, such as
            `"sequential/dense_1/kernel"`, or the end of it after a slash: `"dense_1/.*"`,
            `"dense_1/kernel"` and `"kernel"` match this one, `"dense"` does not. The first that
            matches counts.
        default: Float >= 0, the multiplier of variables that no expression matches. Defaults to
            `1.0`. With `None` there must be no such variable.
        name: String. Defaults to `"layerwise"`.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a multiplier is NaN, infinite or negative, an expression is not valid, the
            optimizer is built, or has options that need all gradients at once: `global_clipnorm`
            or a schedule that follows the gradient's norm, together with
            `gradient_accumulation_steps`.
        ValueError: When it is built, in the first step: if an expression, or `default`, has no
            variable, or a variable has no multiplier.

    Example:

    >>> import keras
    >>> from keras_h0h1 import LossAdaptiveLearningRate, LossAware
    >>> from keras_h0h1.optimizers import Layerwise
    >>> sgd = keras.optimizers.SGD(LossAdaptiveLearningRate(0.1, C=4.0))
    >>> optimizer = LossAware(Layerwise(sgd, {"first.*": 0.5}))
    >>> first = keras.Variable([1.0], name="first")
    >>> second = keras.Variable([1.0], name="second")
    >>> gradient = keras.ops.ones((1,))
    >>> optimizer.apply([gradient, gradient], [first, second], loss=8.0)
    >>> [round(float(state.rate()), 4) for state in optimizer.rate_states]
    [0.025, 0.05]
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        multipliers: Mapping[str, float] | Sequence[tuple[str, float]],
        default: float | None = 1.0,
        name: str | None = "layerwise",
    ) -> None:
        self._check_optimizer(optimizer)
        groups = _check_multipliers(multipliers)
        if default is not None:
            groups.append((None, check_number("default", default, low=0.0)))
        schedule = _keras.get_schedule(optimizer)
        leaves = []
        for i, (_, multiplier) in enumerate(groups):
            leaf = type(optimizer).from_config(optimizer.get_config())
            leaf.name = f"{optimizer.name}_{i}"
            # By the norm of all gradients: see `apply`.
            leaf.global_clipnorm = None
            _keras.set_schedule(leaf, ScaledLearningRate(schedule, multiplier))
            _keras.copy_weight_decay_exclusions(optimizer, leaf)
            leaves.append(leaf)
        patterns = [pattern for pattern, _ in groups]
        super().__init__(_Groups(patterns, leaves), optimizer.loss_scale_factor, name=name)
        self.global_clipnorm = optimizer.global_clipnorm
        self._inner_name = optimizer.name

    @staticmethod
    def _check_optimizer(optimizer):
        single = isinstance(optimizer, keras.optimizers.Optimizer) and not any(
            hasattr(optimizer, name) for name in ("optimizers", "inner_optimizer")
        )
        if not single or not isinstance(_keras.get_schedule(optimizer), LossDrivenSchedule):
            raise TypeError(
                "`optimizer` must be a single Keras optimizer with a loss-driven schedule, such as "
                "`keras.optimizers.AdamW(LossAdaptiveLearningRate(1e-3, C=4.0))`; put `LossAware` "
                f"around `Layerwise`. Received: optimizer={optimizer!r}"
            )
        if optimizer.built:
            raise ValueError(
                "`optimizer` must not be built: its state would be lost. "
                f"Received: optimizer={optimizer!r}"
            )
        steps = optimizer.gradient_accumulation_steps
        if steps and optimizer.global_clipnorm:
            raise ValueError(
                "`global_clipnorm` does not go together with `gradient_accumulation_steps` here: "
                "each group accumulates its own gradients, and the norm of all is not known. Use "
                "`clipnorm`, which clips each variable. "
                f"Received: global_clipnorm={optimizer.global_clipnorm!r}, "
                f"gradient_accumulation_steps={steps!r}"
            )
        schedule = _keras.get_schedule(optimizer)
        if steps and schedule.needs_gradient_norm:
            raise ValueError(
                "A schedule that follows the gradient's norm does not go together with "
                "`gradient_accumulation_steps` here: each group accumulates its own gradients. "
                f"Received: schedule={schedule!r}, gradient_accumulation_steps={steps!r}"
            )

    @property
    def multipliers(self) -> dict[str | None, float]:
        """The multipliers by expression; that of all other variables is under `None`."""
        rates = [_keras.get_schedule(leaf).multiplier for leaf in self.optimizers]
        return dict(zip(self._optimizer_map.patterns, rates, strict=True))

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        paths = [variable.path for variable in variables]
        found = [self._optimizer_map.index(path) for path in paths]
        without = [path for path, index in zip(paths, found, strict=True) if index is None]
        if without:
            raise ValueError(
                "Each variable needs a multiplier, where `default=None`. "
                f"Received: no expression for {without}"
            )
        for i, pattern in enumerate(self._optimizer_map.patterns):
            if i not in found and pattern is None:
                raise ValueError(
                    "The expressions match each variable already: pass `default=None`. "
                    f"Received: multipliers={self.multipliers}"
                )
            if i not in found:
                raise ValueError(
                    "Each expression has to be the first to match the path of some variable, all "
                    "of it or its end after a slash. "
                    f"Received: {pattern!r}, which is not, with the variables {paths}"
                )
        super().build(variables)

    def apply(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable] | None = None
    ) -> None:
        """Applies each gradient with its group's rate, clipped by the norm of all."""
        if self.global_clipnorm:
            # Under a fixed loss scale the groups divide by it, after this.
            scale = self.loss_scale_factor or 1.0
            grads = [g if g is None else g / scale for g in grads]
            grads = [g if g is None else g * scale for g in self._clip_gradients(grads)]
        super().apply(grads, trainable_variables)

    def exclude_from_weight_decay(
        self,
        var_list: Sequence[keras.Variable] | None = None,
        var_names: Sequence[str] | None = None,
    ) -> None:
        """As in each Keras optimizer: before `build`; a name matches where it occurs in one."""
        for leaf in self.optimizers:
            leaf.exclude_from_weight_decay(var_list, var_names)

    def get_config(self) -> Config:
        config = keras.optimizers.serialize(self.optimizers[0])
        inner = config["config"]
        inner["learning_rate"] = inner["learning_rate"]["config"]["schedule"]
        inner["name"], inner["global_clipnorm"] = self._inner_name, self.global_clipnorm
        multipliers = self.multipliers
        default = multipliers.pop(None, None)
        # Pairs: the order counts, which not everything that reads JSON keeps.
        pairs = [[pattern, multiplier] for pattern, multiplier in multipliers.items()]
        return {"name": self.name, "optimizer": config, "multipliers": pairs, "default": default}

    @classmethod
    def from_config(cls, config: Config, custom_objects: Config | None = None) -> Self:
        config = dict(config)
        config["optimizer"] = keras.saving.deserialize_keras_object(
            config["optimizer"], custom_objects=custom_objects
        )
        return cls(**config)


def _check_multipliers(multipliers) -> list[tuple[str | None, float]]:
    try:
        pairs = [(pattern, value) for pattern, value in dict(multipliers).items()]
    except (TypeError, ValueError):
        pairs = []
    if not pairs or not all(isinstance(pattern, str) for pattern, _ in pairs):
        raise TypeError(
            "`multipliers` must be a dictionary of at least one regular expression to its "
            f"multiplier. Received: multipliers={multipliers!r}"
        )
    for pattern, _ in pairs:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"`multipliers` must have valid regular expressions: {error}. Received: {pattern!r}"
            ) from None
    return [(p, check_number(f"multipliers[{p!r}]", m, low=0.0)) for p, m in pairs]
