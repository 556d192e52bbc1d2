"""A digest of a data set's images, by which a resumed run knows that they are the same."""

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recipes.vision.data.folder import Decoded
from recipes.vision.data.images import ImageArray, ImageData

# Images in memory are hashed whole up to this many bytes, which takes a few seconds; ImageNet at
# 32 x 32 has 3.9 GB. Of files that are decoded when they are needed, so many are read.
_WHOLE, _BLOCK, _PIECES = 2**32, 2**24, 4096


def fingerprint(data: ImageData) -> str:
    """A digest of all labels and all images.

    Of more than 4 GiB of images, blocks spread evenly. Of image files that are not kept decoded,
    the names and the sizes of all of them and the content of 4,096, spread evenly.
    """
    key = hashlib.sha256()
    for split in (data.training, data.validation):
        key.update(str(split.images.shape).encode())
        key.update(np.ascontiguousarray(split.labels).tobytes())
        if isinstance(split.images, Decoded):
            _update_by_files(key, split.images.paths)
        else:
            _update_by_images(key, split.images)
    return key.hexdigest()[:20]


def _update_by_images(key, images: ImageArray) -> None:
    row = math.prod(images.shape[1:])
    length = max(1, _BLOCK // row)
    starts = np.arange(0, len(images), length)
    if len(images) * row > _WHOLE:
        # The last block has to be among them.
        count = max(2, _WHOLE // _BLOCK)
        starts = np.linspace(0, len(images) - length, count).astype(int)
    for start in starts:
        block = images[np.arange(start, min(start + length, len(images)))]
        key.update(np.ascontiguousarray(block).tobytes())


def _update_by_files(key, paths: Sequence[Path]) -> None:
    for path in paths:
        # Without the folders above, which may be moved.
        name = os.fsencode(f"{path.parent.name}/{path.name}")
        key.update(name + f":{path.stat().st_size}\n".encode())
    count = min(len(paths), _PIECES)
    for index in np.arange(count) * len(paths) // max(count, 1):
        key.update(paths[index].read_bytes())
