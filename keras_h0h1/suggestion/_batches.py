"""Training batches without end from whatever `fit` takes, and nothing of it used up."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_h0h1._validation import check_integer


def _length(arrays) -> int:
    leaves = [leaf for leaf in keras.tree.flatten(arrays) if leaf is not None]
    lengths = {int(leaf.shape[0]) for leaf in leaves}
    if len(lengths) != 1:
        raise ValueError(
            "All arrays must have the same number of examples. "
            f"Received: {[tuple(leaf.shape) for leaf in leaves]}"
        )
    return lengths.pop()


def _host(leaf):
    if leaf is None:
        return None
    if hasattr(leaf, "detach"):  # A torch tensor, whatever the backend.
        leaf = leaf.detach().cpu()
    array = np.asarray(leaf)
    # As `fit` does.
    return array.astype(keras.config.floatx()) if array.dtype == np.float64 else array


def _weighted(batches, class_weight) -> Iterator[tuple]:
    for x, y, sample_weight in batches:
        if sample_weight is not None or y is None or isinstance(y, dict | list | tuple):
            raise ValueError(
                "`class_weight` needs targets of one output and no sample weights. "
                f"Received: y of type {type(y).__name__}, "
                f"sample_weight of type {type(sample_weight).__name__}"
            )
        one_hot = y.ndim > 1 and y.shape[-1] > 1
        labels = y.argmax(-1) if one_hot else np.round(y).astype("int64").reshape(len(y))
        weights = [class_weight.get(int(label), 1.0) for label in labels]
        yield x, y, np.asarray(weights, keras.config.floatx())


def _from_arrays(arrays, batch_size, seed) -> Iterator[tuple]:
    arrays = keras.tree.map_structure(_host, arrays)
    length = _length(arrays)
    size = min(32 if batch_size is None else batch_size, length)
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(length)
        # Whole batches alone: one of another size would be compiled again.
        for first in range(0, length - size + 1, size):
            chosen = order[first : first + size]
            yield keras.tree.map_structure(
                lambda leaf, chosen=chosen: None if leaf is None else leaf[chosen], arrays
            )


def _passes(data) -> Iterator:
    while True:
        source = data() if callable(data) else data
        if isinstance(source, keras.utils.PyDataset):
            # Its own iteration protocol is by index.
            source = map(source.__getitem__, range(len(source)))
        empty = True
        for batch in source:
            empty = False
            yield batch
        if empty:
            raise ValueError("`x` holds no batch. Received: an empty iterable")


def _unpack(batch) -> tuple:
    if isinstance(batch, list):
        batch = tuple(batch)
    if not isinstance(batch, tuple):
        batch = (batch,)
    if not 1 <= len(batch) <= 3:
        raise ValueError(
            "A batch must be `x`, `(x, y)` or `(x, y, sample_weight)`. "
            f"Received: a batch of {len(batch)} elements"
        )
    return keras.tree.map_structure(_host, (*batch, None, None)[:3])


def _from_iterable(data) -> Iterator[tuple]:
    size = None
    for batch in map(_unpack, _passes(data)):
        length = _length(batch[0])
        size = length if size is None else size
        # A last batch that is shorter would be compiled again.
        if length == size:
            yield batch


def training_batches(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> Iterator[tuple]:
    """Batches `(x, y, sample_weight)` of NumPy arrays, one size, without end.

    Args:
        x: Arrays as in `fit`; a tuple `(x, y)` or `(x, y, sample_weight)` of such; or batches: a
            list, a `tf.data.Dataset`, a `PyDataset`, a `DataLoader`, or a function that returns
            an iterator.
        y: Targets, with `x` as arrays.
        sample_weight: Weights, with `x` as arrays.
        class_weight: From class to weight, as in `fit`.
        batch_size: Examples in a batch, with arrays. Default: 32.
        seed: Of the arrays' order.

    Raises:
        TypeError: If `x` is an iterator, which could not be put back.
        ValueError: If arguments contradict each other.
    """
    if class_weight is not None:
        batches = training_batches(x, y, sample_weight, None, batch_size, seed)
        return _weighted(batches, dict(class_weight))
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size, low=1)
    is_array = hasattr(x, "shape") or isinstance(x, dict)
    if y is not None or is_array:
        return _from_arrays((x, y, sample_weight), batch_size, seed)
    if isinstance(x, tuple):
        return _from_arrays(_unpack(x), batch_size, seed)
    for name, value in (("sample_weight", sample_weight), ("batch_size", batch_size)):
        if value is not None:
            raise ValueError(
                f"`{name}` goes with arrays; batches bring their own. "
                f"Received: {name} with x of type {type(x).__name__}"
            )
    if not callable(x) and iter(x) is x:
        raise TypeError(
            "Batches taken from a generator could not be put back. Pass a list of batches "
            "(`list(itertools.islice(generator, 100))`), a dataset, or a function that returns a "
            f"new iterator. Received: x={x!r}"
        )
    return _from_iterable(x)
