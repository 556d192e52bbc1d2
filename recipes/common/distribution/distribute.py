"""Several devices, several hosts: what `--distribute` means on each backend.

Nothing here moves data or gradients itself. JAX has `keras.distribution` (and `jax.distributed`
below it), TensorFlow `tf.distribute`; both are asked for once, before the model is built. The loss
that drives the rate is the global batch's on every replica and host: see `keras_h0h1.optimizers`.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import keras
import numpy as np

from recipes.common.command_line.errors import InputError

KINDS = ("auto", "none", "data", "model", "mirrored", "multiworker", "tpu")
Kind = Literal[KINDS]

# From a pattern of variable paths to the axes along which they are cut: `"model"` or `None`.
Layout = Mapping[str, tuple[str | None, ...]]

# From a number to an endless iterator of batches that starts after so many.
Batches = Callable[[int], Iterator[tuple[np.ndarray, ...]]]

_BACKENDS = {
    "data": "jax", "model": "jax", "mirrored": "tensorflow", "multiworker": "tensorflow",
    "tpu": "tensorflow",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Devices:
    """What a run trains on, and this process's part in it.

    Args:
        kind: As resolved, never `"auto"`.
        replicas: Copies of the model that share out each batch, over all hosts.
        model_shards: Devices that share one copy of the model.
        hosts: Processes.
        host: Number of this one; number 0 writes the results.
        parts: In how many parts hosts read a batch.
        part: The one this process reads.
        strategy: TensorFlow's strategy, if there is one.
    """

    kind: str = "none"
    replicas: int = 1
    model_shards: int = 1
    hosts: int = 1
    host: int = 0
    parts: int = 1
    part: int = 0
    strategy: Any = None

    def __str__(self) -> str:
        if self.kind == "none":
            return "one device"
        shards = f", each over {self.model_shards} devices" if self.model_shards > 1 else ""
        hosts = f", on {self.hosts} hosts" if self.hosts > 1 else ""
        return f"{self.kind}: {self.replicas} replicas of the model{shards}{hosts}"

    def prepare(self, model: keras.Model, batch_size: int, accumulate: int) -> None:
        """Makes sure that a compiled model trains on these devices as it would on one.

        Raises:
            ValueError: If its batches cannot be shared out.
        """
        if batch_size % self.replicas:
            raise ValueError(
                f"`batch_size` must be a multiple of the {self.replicas} replicas that share it. "
                f"Received: batch_size={batch_size}"
            )
        if self.strategy is None:
            return
        if accumulate > 1:
            raise ValueError(
                "Keras cannot accumulate gradients under `tf.distribute`, which forbids the "
                "conditional update; use a larger --batch-size, or KERAS_BACKEND=jax. "
                f"Received: accumulate={accumulate}"
            )
        from recipes.common.distribution._keras_tensorflow import clip_the_sum_of_gradients

        clip_the_sum_of_gradients(model.optimizer)
        if self.kind == "mirrored":
            # That of a checkpoint made on one device may be on; see `optimizers.jit_compile`.
            model.jit_compile = False

    def local(self, arrays: tuple[np.ndarray, ...], batch_size: int) -> tuple[np.ndarray, ...]:
        """The rows that this host reads of one or more batches, in order.

        Example: the second of two hosts, batches of four, the last one of two.

        >>> Devices(hosts=2, host=1, parts=2, part=1).local((np.arange(10),), batch_size=4)
        (array([2, 3, 6, 7, 9]),)
        """
        if self.parts == 1:
            return arrays
        batches = np.split(np.arange(len(arrays[0])), range(batch_size, len(arrays[0]), batch_size))
        rows = np.concatenate([np.split(batch, self.parts)[self.part] for batch in batches])
        return tuple(array[rows] for array in arrays)

    def share(self, batches: Iterator, batch_size: int) -> Iterator:
        """This host's rows of each batch."""
        return batches if self.parts == 1 else (self.local(b, batch_size) for b in batches)

    def evaluation(
        self, arrays: tuple[np.ndarray, ...], batch_size: int
    ) -> tuple[tuple[np.ndarray, ...], int]:
        """Held-out examples and a batch size that replicas can share evenly.

        Returns:
            All of the examples but at most `replicas - 1`, and the nearest batch size.

        Raises:
            ValueError: If there are fewer examples than replicas.
        """
        examples = len(arrays[0]) // self.replicas * self.replicas
        if not examples:
            raise ValueError(
                f"There must be a held-out example for each of the {self.replicas} replicas. "
                f"Received: {len(arrays[0])} held-out examples"
            )
        batch_size = max(1, round(batch_size / self.replicas)) * self.replicas
        return tuple(a[:examples] for a in arrays), min(batch_size, examples)

    def feed(self, batches: Batches, start: int) -> Any:
        """What `fit` reads: batches `start`, `start + 1`, ..."""
        if self.strategy is None:
            return batches(start)
        import tensorflow as tf

        # Under a strategy Keras looks at a batch first and then begins again, by which a Python
        # iterator loses batches; a dataset begins where it began.
        example = next(batches(start))
        return tf.data.Dataset.from_generator(
            lambda: batches(start),
            output_signature=tuple(tf.TensorSpec(a.shape, a.dtype) for a in example),
        )


_current = Devices()


def current() -> Devices:
    """The devices of the run under way; one device outside of `distribute`."""
    return _current


def on_host(variable: keras.Variable) -> np.ndarray:
    """A copy of a variable's value in this host's memory, whole even where it is cut over hosts.

    Every host has to call it for the same variables in the same order, since it may communicate.
    """
    if _current.hosts > 1 and not variable.value.is_fully_replicated:
        from jax.experimental import multihost_utils

        return np.array(multihost_utils.process_allgather(variable.value, tiled=True))
    # Of Keras' variable, because TensorFlow's mirrored scalars are not arrays. A copy always: on a
    # CPU `convert_to_numpy` may show the memory that the next update writes to.
    return np.array(keras.ops.convert_to_numpy(variable))


def whole(model: keras.Model) -> keras.Model:
    """The model itself, or a copy of it without the optimizer where weights are cut over hosts."""
    if _current.hosts == 1 or _current.model_shards == 1:
        return model
    arrays = [on_host(variable) for variable in model.variables]
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        copy = type(model).from_config(model.get_config())
        for variable, array in zip(copy.variables, arrays, strict=True):
            variable.assign(array)
    finally:
        keras.distribution.set_distribution(distribution)
    return copy


def wait_for_hosts(name: str) -> None:
    """Returns once every host has come here."""
    if _current.hosts > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def any_host(flag: bool) -> bool:
    """Whether the flag is set on any of the hosts, which all have to ask."""
    if _current.hosts == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


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
        The devices, as `current()` gives them too.

    Raises:
        ValueError: If this backend has no such kind, or the devices do not fit.

    Example:

    >>> with distribute("none") as devices:
    ...     print(devices)
    one device
    """
    global _current
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
    previous = _current
    try:
        with contextlib.ExitStack() as stack:
            if kind == "none":
                _current = Devices()
            elif keras.backend.backend() == "jax":
                stack.callback(keras.distribution.set_distribution, None)
                _current = _jax(kind, model_shards, layout)
            else:
                _current = _tensorflow(kind)
                stack.enter_context(_current.strategy.scope())
            yield _current
    finally:
        _current = previous
