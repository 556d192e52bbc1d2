"""What `data` may be, and how it becomes batches on the device."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_h0h1 import _autodiff


def _on_device(leaf):
    if leaf is None:
        return None
    if hasattr(leaf, "detach"):  # A torch tensor, whatever the backend.
        leaf = leaf.detach().cpu().numpy()
    array = np.asarray(leaf)
    if array.dtype == np.float64:
        array = array.astype(keras.config.floatx())
    return _autodiff.device_array(array)


def unpack(batch: Any) -> tuple:
    """`(x, y, sample_weight)` on the device, with `None` for what is missing."""
    if not isinstance(batch, tuple):
        raise TypeError(
            "A batch must be a tuple `(x,)`, `(x, y)` or `(x, y, sample_weight)`. "
            f"Received: batch of type {type(batch).__name__}"
        )
    if not 1 <= len(batch) <= 3:
        raise ValueError(f"A batch must have 1 to 3 elements. Received: length={len(batch)}")
    padded = (*batch, None, None)[:3]
    return tuple(
        None if part is None else keras.tree.map_structure(_on_device, part) for part in padded
    )


def examples(batch: Any) -> int:
    """Number of examples in an unpacked batch."""
    leaf = next(leaf for leaf in keras.tree.flatten(batch[0]) if leaf is not None)
    return int(leaf.shape[0])


class Batches:
    """Passes over `data`, one batch on the device at a time.

    Args:
        data: One batch (a tuple), or several: a list of batches, or anything that can be iterated
            over again and again (`tf.data.Dataset`, `PyDataset`, a `DataLoader`), or a function
            that returns a fresh iterator.
    """

    def __init__(self, data: Any) -> None:
        self._single = unpack(data) if isinstance(data, tuple) else None
        self._data = data
        if self._single is None and not callable(data) and iter(data) is data:
            raise TypeError(
                "`data` must allow several passes; an iterator allows one. Pass a list of batches "
                f"or a function that returns a new iterator. Received: data={data!r}"
            )

    @classmethod
    def of(cls, data: Any) -> "Batches":
        """`data` itself where it is a `Batches` already."""
        return data if isinstance(data, cls) else cls(data)

    @classmethod
    def prepared(cls, batch: Any) -> "Batches":
        """One batch as `unpack` returns it, on the device already."""
        single = cls.__new__(cls)
        single._data, single._single = batch, batch
        return single

    def __iter__(self) -> Iterator[tuple]:
        if self._single is not None:
            yield self._single
            return
        data = self._data() if callable(self._data) else self._data
        if isinstance(data, keras.utils.PyDataset):
            # Its own iteration protocol is by index.
            data = map(data.__getitem__, range(len(data)))
        empty = True
        for batch in data:
            empty = False
            yield unpack(tuple(batch) if isinstance(batch, list) else batch)
        if empty:
            raise ValueError("`data` holds no batch. Received: an empty iterable")
