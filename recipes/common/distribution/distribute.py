"""Several devices, several hosts: what `--distribute` means on each backend.

Nothing here moves data or gradients itself. JAX has `keras.distribution` (and `jax.distributed`
below it), TensorFlow `tf.distribute`; both are asked for once, before the model is built. The loss
that drives the rate is the global batch's on every replica and host: see `keras_h0h1.optimizers`.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Literal

import keras

from recipes.common.command_line.errors import InputError
from recipes.common.distribution.devices import ONE_DEVICE, Devices

KINDS = ("auto", "none", "data", "model", "mirrored", "multiworker", "tpu")
Kind = Literal[KINDS]

# From a pattern of variable paths to the axes along which they are cut: `"model"` or `None`.
Layout = Mapping[str, tuple[str | None, ...]]

_BACKENDS = {
    "data": "jax", "model": "jax", "mirrored": "tensorflow", "multiworker": "tensorflow",
    "tpu": "tensorflow",
}  # fmt: skip


def several_hosts() -> bool:
    """Whether Keras' environment variables name other processes to train with."""
    return "KERAS_DISTRIBUTION_NUM_PROCESSES" in os.environ


def _initialize_hosts() -> None:
    """Joins the other processes that Keras' environment variables name, once."""
    import jax

    if not several_hosts() or jax.distributed.is_initialized():
        return
    keras.distribution.initialize()


def _resolve(kind: str) -> str:
    """What `auto` means here.

    More than one accelerator is used whole; CPU devices are simulated ones, for tests, and are
    used when asked for.
    """
    backend = keras.backend.backend()
    if kind != "auto":
        if kind != "none" and _BACKENDS[kind] != backend:
            raise ValueError(
                f"This needs KERAS_BACKEND={_BACKENDS[kind]}; here is {backend}, which has: "
                f"{', '.join(['none', *(k for k, b in _BACKENDS.items() if b == backend)])}. "
                f"Received: distribute={kind}"
            )
        return kind
    if backend == "jax":
        import jax

        several = jax.device_count() > 1 and jax.default_backend() != "cpu"
        return "data" if several or several_hosts() else "none"
    if backend == "tensorflow":
        import tensorflow as tf

        if len(json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {})) > 0:
            return "multiworker"
        if tf.config.list_physical_devices("TPU"):
            return "tpu"
        return "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "none"
    return "none"


def _jax(kind: str, model_shards: int | None, layout: Layout | None) -> Devices:
    devices = keras.distribution.list_devices()
    if kind == "data":
        distribution = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
        shards = 1
    else:
        if layout is None:
            raise ValueError(
                "There is no layout for this model's weights; `data` works for every model. "
                "Received: distribute=model"
            )
        shards = model_shards or len(devices)
        if len(devices) % shards:
            raise ValueError(
                f"`model_shards` must divide the number of devices, {len(devices)}. "
                f"Received: model_shards={shards}"
            )
        mesh = keras.distribution.DeviceMesh(
            (len(devices) // shards, shards), ["batch", "model"], devices
        )
        layouts = keras.distribution.LayoutMap(mesh)
        for pattern, axes in layout.items():
            layouts[pattern] = axes
        distribution = keras.distribution.ModelParallel(
            layout_map=layouts, batch_dim_name="batch", auto_shard_dataset=False
        )
    keras.distribution.set_distribution(distribution)
    import jax

    replicas = distribution.num_model_replicas
    return Devices(
        kind=kind,
        replicas=replicas,
        model_shards=shards,
        hosts=jax.process_count(),
        host=jax.process_index(),
        parts=min(jax.process_count(), replicas),
        part=distribution.data_shard_id,
    )


def _tensorflow(kind: str) -> Devices:
    import tensorflow as tf

    if kind == "multiworker":
        # Keras' trainer reduces a whole batch structure, and then scalars along an axis that they
        # do not have, under this strategy; neither can be avoided from outside. A test watches.
        raise ValueError(
            "Keras' TensorFlow trainer cannot run under MultiWorkerMirroredStrategy (3.15). Use "
            "KERAS_BACKEND=jax with --distribute data for several hosts. "
            "Received: distribute=multiworker"
        )
    if kind == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        except (ValueError, tf.errors.OpError) as error:
            raise InputError(
                "TensorFlow finds no TPU to connect to; on a Cloud TPU it is named by `TPU_NAME`. "
                f"Received: distribute=tpu ({str(error).splitlines()[0]})"
            ) from error
        strategy = tf.distribute.TPUStrategy(resolver)
    else:
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        from recipes.common.distribution._keras_tensorflow import mirrored_strategy

        strategy = mirrored_strategy([d.name for d in devices])
    return Devices(kind=kind, replicas=strategy.num_replicas_in_sync, strategy=strategy)


@contextlib.contextmanager
def distribute(
    kind: Kind = "auto", model_shards: int | None = None, layout: Layout | None = None
) -> Iterator[Devices]:
    """Everything that is built and trained inside runs on the devices that `kind` names.

    Several hosts: start the same command on each with Keras' own environment variables
    `KERAS_DISTRIBUTION_JOB_ADDRESSES`, `KERAS_DISTRIBUTION_NUM_PROCESSES` and
    `KERAS_DISTRIBUTION_PROCESS_ID`.

    Args:
        kind: One of `KINDS`. On JAX `"data"` cuts each batch over all devices, `"model"` the
            weights too, as `layout` says. On TensorFlow `"mirrored"` is one host's devices.
            `"auto"` takes all accelerators of the machine where there are several.
        model_shards: Devices that share one copy of the model; a divisor of their number. All by
            default.
        layout: For `"model"`: the axes along which weights are cut, by a pattern of their paths.

    Yields:
        The devices; pass them on to what trains.

    Raises:
        ValueError: If this backend has no such kind, or the devices do not fit.

    Example:

    >>> with distribute("none") as devices:
    ...     print(devices)
    one device
    """
    if model_shards is not None and kind != "model":
        raise ValueError(
            "`model_shards` is of --distribute model. "
            f"Received: model_shards={model_shards}, distribute={kind}"
        )
    if keras.backend.backend() == "jax":
        _initialize_hosts()
    elif several_hosts():
        raise ValueError(
            "Several hosts need KERAS_BACKEND=jax. Received: KERAS_DISTRIBUTION_NUM_PROCESSES="
            + os.environ["KERAS_DISTRIBUTION_NUM_PROCESSES"]
        )
    kind = _resolve(kind)
    if kind == "none" and several_hosts():
        raise ValueError(
            "Several processes would train the same model each on its own; use `data` or `model`. "
            "Received: distribute=none, KERAS_DISTRIBUTION_NUM_PROCESSES="
            + os.environ["KERAS_DISTRIBUTION_NUM_PROCESSES"]
        )
    if kind == "none":
        yield ONE_DEVICE
    elif keras.backend.backend() == "jax":
        try:
            yield _jax(kind, model_shards, layout)
        finally:
            keras.distribution.set_distribution(None)
    else:
        devices = _tensorflow(kind)
        with devices.strategy.scope():
            yield devices
