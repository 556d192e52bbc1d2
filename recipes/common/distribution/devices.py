"""What a run trains on: replicas, shards, hosts, and what they do together."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

# From a number to an endless iterator of batches that starts after so many.
Batches = Callable[[int], Iterator[tuple[np.ndarray, ...]]]


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

    def prepare(
        self, model: keras.Model, batch_size: int, gradient_accumulation_steps: int
    ) -> None:
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
        if gradient_accumulation_steps > 1:
            raise ValueError(
                "Keras cannot accumulate gradients under `tf.distribute`, which forbids the "
                "conditional update; use a larger --batch-size, or KERAS_BACKEND=jax. "
                f"Received: gradient_accumulation_steps={gradient_accumulation_steps}"
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

    def gather(self, variable: keras.Variable) -> np.ndarray:
        """A copy of a variable's value in this host's memory, also where it is sharded over hosts.

        Every host has to call it for the same variables in the same order, since it may
        communicate.
        """
        if self.hosts > 1 and not variable.value.is_fully_replicated:
            from jax.experimental import multihost_utils

            return np.array(multihost_utils.process_allgather(variable.value, tiled=True))
        # Of Keras' variable, because TensorFlow's mirrored scalars are not arrays. A copy always:
        # on a CPU `convert_to_numpy` may show the memory that the next update writes to.
        return np.array(keras.ops.convert_to_numpy(variable))

    def unshard(self, model: keras.Model) -> keras.Model:
        """The model itself, or a copy without optimizer where weights are sharded over hosts."""
        if self.hosts == 1 or self.model_shards == 1:
            return model
        arrays = [self.gather(variable) for variable in model.variables]
        distribution = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            copy = type(model).from_config(model.get_config())
            for variable, array in zip(copy.variables, arrays, strict=True):
                variable.assign(array)
        finally:
            keras.distribution.set_distribution(distribution)
        return copy

    def barrier(self, name: str) -> None:
        """Returns once every host has called it with this name."""
        if self.hosts > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices(name)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any of the hosts, which all have to call it."""
        if self.hosts == 1:
            return flag
        from jax.experimental import multihost_utils

        return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


ONE_DEVICE = Devices()
"""The default of everything that takes `Devices`."""
