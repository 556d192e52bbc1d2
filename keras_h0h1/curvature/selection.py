"""Which weights the curvature is taken with respect to."""

from collections.abc import Callable, Sequence

import keras


def select_variables(model: keras.Model, layers: Callable | Sequence | None = None) -> list[int]:
    """Indices into `model.trainable_variables`.

    Args:
        model: A built Keras model.
        layers: `None` for every trainable variable; a list of layers, or of strings, each of which
            must occur as a run of whole components of a variable's path (`"block_3"`,
            `"block_3/attention"`); or a function from a variable to a truth value.

    Raises:
        ValueError: If a name or the whole selection matches no trainable variable; it lists what
            there is.
    """
    variables = model.trainable_variables
    if layers is None:
        chosen = list(range(len(variables)))
    elif callable(layers) and not isinstance(layers, keras.layers.Layer):
        chosen = [i for i, v in enumerate(variables) if layers(v)]
    else:
        if isinstance(layers, str | keras.layers.Layer):
            layers = [layers]
        found: set[int] = set()
        for layer in layers:
            if isinstance(layer, keras.layers.Layer):
                own = {id(v) for v in layer.trainable_variables}
                matches = {i for i, v in enumerate(variables) if id(v) in own}
            else:
                matches = {i for i, v in enumerate(variables) if f"/{layer}/" in f"/{v.path}/"}
            if not matches:
                raise ValueError(_nothing(variables, "layers", getattr(layer, "name", layer)))
            found |= matches
        chosen = sorted(found)
    if not chosen:
        raise ValueError(_nothing(variables, "layers", layers))
    return chosen


def _nothing(variables, name, value):
    paths = ", ".join(v.path for v in variables[:8]) + (", ..." if len(variables) > 8 else "")
    return f"No trainable variable matches; there are: {paths}. Received: {name}={value!r}"


def blocks(model: keras.Model, depth: int = 1) -> dict[str, list[str]]:
    """Groups a model's trainable variables by the first `depth` components of their paths.

    Returns:
        A dict from the block's name to the paths of its variables, without the model's own name, so
        that they fit another model built alike. The values fit the argument `layers` of everything
        in this package.

    Example:

    >>> layers = [keras.Input((3,)), keras.layers.Dense(2, name="head")]
    >>> blocks(keras.Sequential(layers, name="net"))
    {'head': ['head/kernel', 'head/bias']}
    """
    if not model.trainable_variables:
        raise ValueError(f"`model` must be built and trainable. Received: model={model!r}")
    groups: dict[str, list[str]] = {}
    for variable in model.trainable_variables:
        parts = variable.path.split("/")
        if len(parts) > 1 and parts[0] == model.name:
            parts = parts[1:]
        name = "/".join(parts[: max(1, min(depth, len(parts) - 1))])
        groups.setdefault(name, []).append("/".join(parts))
    return groups
