"""A trained classifier as a task of KerasHub, which takes images as they are, 0 to 255.

>>> import keras, keras_hub                                            # doctest: +SKIP
>>> model = keras.saving.load_model("runs/NAME/model.keras")           # doctest: +SKIP
>>> logits = model.predict(images)                                     # doctest: +SKIP
"""

import keras
import keras_hub

from recipes.common.command_line.errors import InputError
from recipes.vision.data import ImageData
from recipes.vision.stochastic_depth import ResidualDrop


def _without_stochastic_depth(backbone: keras.Model) -> keras.Model:
    """The same network from Keras' own layers: itself, or a copy without `ResidualDrop`."""
    if not any(isinstance(layer, ResidualDrop) for layer in backbone.layers):
        return backbone

    def change(layer):
        if isinstance(layer, ResidualDrop):
            return keras.layers.Add(name=layer.name, dtype=layer.dtype_policy)
        return type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(backbone, clone_function=change)
    # The drops have states of generators, which are no weights.
    copy.set_weights(backbone.get_weights())
    return copy


def export_task(model: keras.Model, data: ImageData) -> keras_hub.models.ImageClassifier:
    """The task with the weights of a trained model, not compiled.

    Args:
        model: From `recipes.vision.model.build_classifier`.
        data: Whose normalisation becomes part of the task, and whose classes it has.

    Returns:
        A `ViTImageClassifier` for a vision Transformer. For a ResNet an `ImageClassifier` around
        a plain Keras model: KerasHub's `ResNetBackbone` has no stem for small images, so such a
        task has no preset.
    """
    converter = keras_hub.layers.ImageConverter(
        scale=[float(1 / (255 * std)) for std in data.std],
        offset=[float(-mean / std) for mean, std in zip(data.mean, data.std, strict=True)],
    )
    common = {
        "num_classes": len(data.classes),
        "preprocessor": keras_hub.models.ImageClassifierPreprocessor(converter),
        "head_dtype": "float32",
        "compile": False,
    }
    encoder = next((layer for layer in model.layers if hasattr(layer, "task")), None)
    if encoder is not None:
        task = encoder.task(**common)
    else:
        (backbone,) = (layer for layer in model.layers if isinstance(layer, keras.Model))
        task = keras_hub.models.ImageClassifier(_without_stochastic_depth(backbone), **common)
    task.output_dense.set_weights(model.get_layer("head").get_weights())
    return task


def load_weights(model: keras.Model, path: str, data: ImageData) -> None:
    """Reads the weights of the same model from a `.keras` or `.weights.h5` file.

    Args:
        model: From `recipes.vision.model.build_classifier`.
        path: A `model.keras` that a run left, or a file saved from the model itself.
        data: As for `export_task`.

    Raises:
        InputError: If the weights are those of another model.
    """
    task = export_task(model, data)
    try:
        task.load_weights(path)
    except (ValueError, OSError):
        try:
            model.load_weights(path)
        except (ValueError, OSError) as error:
            raise InputError(
                f"These are not the weights of this model: {str(error).splitlines()[0]} "
                f"Received: initial_weights={path}"
            ) from None
        return
    model.get_layer("head").set_weights(task.output_dense.get_weights())
    backbone = next((layer for layer in model.layers if isinstance(layer, keras.Model)), None)
    if backbone is not None and backbone is not task.backbone:
        backbone.set_weights(task.backbone.get_weights())
