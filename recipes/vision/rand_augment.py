"""RandAugment (Cubuk et al., 2020): each image gets a few operations, chosen at random for it."""

from collections.abc import Callable

import keras
import numpy as np

from recipes.vision.keras_layers import PureLayer, draw_seed

OPERATIONS_PER_IMAGE = 2  # the paper's N for all but its largest models


class RandAugment:
    r"""RandAugment made of Keras' preprocessing layers, with operations drawn for each image.

    Why not `keras.layers.RandAugment` (3.15): it draws one choice for the whole batch, computes
    all eleven operations twice and keeps two results, and posterises the hardest at the weakest
    setting. Here each layer sees only the images that drew it. Two operations are NumPy, a line or
    three each: Keras' `Equalization` makes one histogram of the whole batch, and `Solarization`
    cannot bound its threshold from below.

    Ranges at strength 1 are those of AutoAugment: shear 0.3, translation 0.45 of the size,
    rotation 30°, colour, contrast and sharpness 0.9, posterisation from 8 bits to 4, solarisation
    from white down to black; brightness, which Keras adds rather than multiplies, 0.45.

    Args:
        strength: From 0 to 1; 0.9 is the paper's M = 9 of 10.
        shape: Height, width and channels of the images.

    References:
        Cubuk, Zoph, Shlens, Le, *RandAugment: Practical automated data augmentation with a
        reduced search space*, 2020 (arXiv:1909.13719).
    """

    def __init__(self, strength: float, shape: tuple[int, int, int]):
        options = {"seed": 0, "dtype": "float32"}
        # Keras would fill the border with a reflection, half a second object; cropping has black.
        black = {"fill_mode": "constant", "fill_value": 0.0}
        layers, far = keras.layers, 0.9 * strength
        made = {
            "shear": layers.RandomShear(0.3 * strength, 0.3 * strength, **black, **options),
            "translate": layers.RandomTranslation(
                0.45 * strength, 0.45 * strength, **black, **options
            ),
            "rotate": layers.RandomRotation(strength / 12, **black, **options),  # of a whole turn
            "brightness": layers.RandomBrightness(0.45 * strength, **options),
            # Keras draws from 1 - a to 1 + b for (a, b); a single number only raises contrast.
            "contrast": layers.RandomContrast((far, far), **options),
            # 0.5 leaves the image as it is, 0 blurs, 1 sharpens.
            "sharpness": layers.RandomSharpness((0.5 - far / 2, 0.5 + far / 2), **options),
            # Keras draws the bits below the second; a single number would draw them from 1 up.
            "posterize": layers.RandomPosterization((8 - round(4 * strength), 8), **options),
            "autocontrast": layers.AutoContrast(dtype="float32"),
        }
        if shape[-1] == 3:
            made["colour"] = layers.RandomColorDegeneration(far, **options)
        pure = {name: PureLayer(layer, shape) for name, layer in made.items()}
        self.strength = strength
        self.operations: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
            "identity": lambda images, rng: images,
            **{name: _with_seed(layer) for name, layer in pure.items()},
            "equalize": lambda images, rng: equalize(images),
            "solarize": self._solarize,
        }

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augmented images, uint8 `(n, height, width, channels)` like `images`."""
        images = images.copy()
        choices = rng.integers(len(self.operations), size=(OPERATIONS_PER_IMAGE, len(images)))
        for choice in choices:
            for number, operation in enumerate(self.operations.values()):
                rows = np.flatnonzero(choice == number)
                if len(rows):
                    # Rounding after each: what is handed on is an image again.
                    changed = np.rint(operation(images[rows], rng))
                    images[rows] = np.clip(changed, 0, 255).astype(np.uint8)
        return images

    def _solarize(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        thresholds = 256 * (1 - self.strength * rng.random((len(images), 1, 1, 1)))
        return np.where(images < thresholds, images, 255 - images)


def _with_seed(layer: PureLayer):
    return lambda images, rng: layer(draw_seed(rng), images)[0]


def equalize(images: np.ndarray) -> np.ndarray:
    """Each channel of each image with its grey levels spread evenly.

    Level v becomes $255 (F(v) - F_0) / (n - F_0)$, where F counts the pixels up to v, $F_0$ those
    of the darkest level that occurs, and n all of them. A channel of one level stays as it is.

    Args:
        images: uint8 `(n, height, width, channels)`.
    """
    result = images.copy()
    for place in np.ndindex(len(images), images.shape[-1]):
        channel = images[place[0], ..., place[1]]
        below = np.bincount(channel.ravel(), minlength=256).cumsum()
        first = below[below > 0][0]
        if below[-1] > first:
            # Levels darker than any that occurs would be negative; no pixel looks them up.
            table = np.rint(255 * np.maximum(below - first, 0) / (below[-1] - first))
            result[place[0], ..., place[1]] = table.astype(np.uint8)[channel]
    return result
