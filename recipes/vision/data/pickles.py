"""Published pickles as data: the dictionaries and images of CIFAR and ImageNet at 32 x 32."""

from pathlib import Path
from typing import Any

import numpy as np

from recipes.common.command_line.errors import InputError, first_line
from recipes.common.files.reading import read_bytes
from recipes.vision.data.pickle_machine import Damaged, Machine, PickledArray, Refused

# A training batch of ImageNet at 32 x 32 has 128,117 images of 3,072 bytes, CIFAR-100 50,000.
SIZE_LIMIT = 2**29


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle of numbers, text, lists and arrays.

    Args:
        path: A pickle of any protocol, by Python 2 or 3.

    Returns:
        The dictionary, with text keys; arrays are read-only.

    Raises:
        InputError: If the file is damaged, or asks for anything but data; nothing was executed.
    """
    return load_pickle(read_bytes(path, SIZE_LIMIT), str(path))


def load_pickle(content: bytes, where: str) -> dict[str, Any]:
    """The same from bytes; `where` names them in messages."""
    try:
        value = Machine(content).run()
        if not isinstance(value, dict):
            raise Damaged(f"a dictionary is expected, not {type(value).__name__}")
        return {_text(key): _plain(item) for key, item in value.items()}
    except Refused as error:
        raise InputError(
            f"{where} is refused: {error}; only numbers, text, lists, dictionaries and NumPy "
            f"arrays are read. Nothing in it was executed. Received: {where}"
        ) from None
    # Damaged pickles fail in many ways: any exception of the reading is one of them.
    except Exception as error:
        raise InputError(
            f"{where} is damaged: it is not a whole pickle of data ({type(error).__name__}: "
            f"{first_line(error)[:200]}). Received: {where}"
        ) from None


def _text(key):
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _plain(value):
    if isinstance(value, PickledArray):
        return value.value
    if isinstance(value, list):
        return [
            item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value
        ]
    return value


def planes_to_images(data: Any, side: int, where: str) -> np.ndarray:
    """Rows of red, green and blue planes as images, uint8 `(n, side, side, 3)`.

    Args:
        data: uint8 `(n, 3 side side)`.
        side: Height and width.
        where: The file, for the message.
    """
    if not isinstance(data, np.ndarray):
        raise InputError(
            f"{where} is damaged: images are rows of {3 * side * side} bytes in an array, not a "
            f"{type(data).__name__}. Received: {where}"
        )
    if data.ndim != 2 or data.shape[1] != 3 * side * side or data.dtype != np.uint8:
        raise InputError(
            f"{where} is damaged: images are rows of {3 * side * side} bytes. "
            f"Received: shape={data.shape}, dtype={data.dtype}"
        )
    return np.ascontiguousarray(data.reshape(-1, 3, side, side).transpose(0, 2, 3, 1))
