"""Names for types that have no common class on all backends; a type checker takes them as `Any`."""

from collections.abc import Callable
from typing import Any, TypeAlias

# A tensor of the active backend.
Tensor: TypeAlias = Any

# A Python number, a NumPy array or a tensor; a function of several returns a tensor if one is.
Numeric: TypeAlias = Any

# A NumPy array, or a list of numbers that makes one.
ArrayLike: TypeAlias = Any

# One batch `(x,)`, `(x, y)` or `(x, y, sample_weight)`, or several as `curvature` takes them.
Data: TypeAlias = Any

# Matplotlib is optional, and imported where a figure is drawn.
Axes: TypeAlias = Any
Figure: TypeAlias = Any

# What Keras hands to callbacks, and what `get_config` returns.
Logs: TypeAlias = dict[str, Any] | None
Config: TypeAlias = dict[str, Any]

# A pure function of a list of tensors.
Function: TypeAlias = Callable[[list[Any]], Any]
