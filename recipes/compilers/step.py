"""A compiled Keras model's training step, lowered on shapes alone."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from recipes.common.command_line.errors import InputError
from recipes.common.distribution.devices import Devices
from recipes.common.distribution.distribute import Layout
from recipes.compilers.targets import Target, traced_for


@dataclasses.dataclass(frozen=True)
class Placement:
    """Which devices of a target a step runs on.

    Args:
        devices: JAX's, all of them of the target.
        mesh: Sizes of the axes over which batch and weights are cut, by name.
        plan: The same as recipes know it.
        distribution: The same as Keras knows it.
    """

    devices: list
    mesh: dict[str, int]
    plan: Devices
    distribution: keras.distribution.DataParallel | keras.distribution.ModelParallel | None

    @contextlib.contextmanager
    def distributed(self) -> Iterator[None]:
        """Inside, Keras' variables have their places; they must not be given values there."""
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(self.distribution)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)


@contextlib.contextmanager
def placed(
    target: Target, kind: str, model_shards: int | None, layout: Layout | None
) -> Iterator[Placement]:
    """Inside, models are built and traced for the target's devices as `--distribute` says.

    Args:
        target: To compile for.
        kind: `"none"` takes one device, `"data"` cuts the batch over all, `"model"` the weights
            too; `"auto"` is `"data"` where there are several.
        model_shards: Devices that share one copy of the model; all by default.
        layout: Of the weights, for `"model"`.

    Raises:
        InputError: If the target has no such kind or cannot be compiled for.
    """
    if kind == "auto":
        kind = "data" if target.count > 1 else "none"
    if kind not in ("none", "data", "model"):
        raise InputError(f"A target takes none, data or model. Received: distribute={kind}")
    if kind == "model" and layout is None:
        raise InputError(
            "There is no layout for this model's weights; `data` works for every model. "
            "Received: distribute=model"
        )
    devices = target.devices()
    if kind == "none":
        devices = devices[:1]
    shards = (model_shards or len(devices)) if kind == "model" else 1
    if len(devices) % shards:
        raise InputError(
            f"`model_shards` must divide the number of devices, {len(devices)}. "
            f"Received: model_shards={shards}"
        )
    replicas = len(devices) // shards
    if kind == "none":
        mesh, distribution = {}, None
    elif kind == "data":
        mesh = {"batch": replicas}
        grid = keras.distribution.DeviceMesh((replicas,), ["batch"], np.array(devices))
        distribution = keras.distribution.DataParallel(device_mesh=grid, auto_shard_dataset=False)
    else:
        mesh = {"batch": replicas, "model": shards}
        grid = keras.distribution.DeviceMesh(
            (replicas, shards), ["batch", "model"], np.array(devices).reshape(replicas, shards)
        )
        layouts = keras.distribution.LayoutMap(grid)
        for pattern, axes in layout.items():
            layouts[pattern] = axes
        distribution = keras.distribution.ModelParallel(
            layout_map=layouts, batch_dim_name="batch", auto_shard_dataset=False
        )
    with traced_for(devices):
        yield Placement(devices, mesh, Devices(kind, replicas, shards), distribution)


def lower_step(
    model: keras.Model,
    batch: Sequence[tuple[tuple[int, ...], str]],
    placement: Placement | None = None,
    platforms: tuple[str, ...] | None = None,
):
    """JAX's lowered training step of a compiled model whose weights need no values.

    Args:
        model: Built in `deferred`, and compiled.
        batch: Shape and dtype of the inputs and of the targets, whole batches.
        placement: On devices of a target; this machine's device by default.
        platforms: To write StableHLO for other platforms than the device's, such as `("tpu",)`.
    """
    import jax

    if placement is None:
        return _lowered(model, batch, lambda _: None, lambda _: None, platforms)
    if placement.distribution is None:
        one = jax.sharding.SingleDeviceSharding(placement.devices[0])
        return _lowered(model, batch, lambda _: one, lambda _: one, platforms)
    plan = placement.distribution
    with placement.distributed():
        for variable in model.variables:
            # Keras does this when a variable gets its value, and the optimizer's follow it.
            variable._initialize_layout()
        return _lowered(
            model,
            batch,
            lambda variable: plan.get_variable_layout(variable).backend_layout,
            lambda shape: plan.get_data_layout(shape).backend_layout,
            platforms,
        )


def _lowered(model, batch, place_of_variable, place_of_data, platforms):
    import jax

    # Inside, the variables of optimizer and metrics get shapes but no values.
    with keras.StatelessScope(initialize_variables=False):
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        model._symbolic_build(
            data_batch=tuple(keras.KerasTensor(shape, dtype) for shape, dtype in batch)
        )

    def shapes(variables):
        return [
            jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=place_of_variable(v)) for v in variables
        ]

    state = tuple(
        map(
            shapes,
            (
                model.trainable_variables,
                model.non_trainable_variables,
                model.optimizer.variables,
                model.metrics_variables,
            ),
        )
    )
    data = tuple(
        jax.ShapeDtypeStruct(shape, dtype, sharding=place_of_data(shape)) for shape, dtype in batch
    )
    places = jax.tree.map(lambda x: x.sharding, state)
    # As Keras' trainer compiles it: the state is given away, and comes back where it was.
    step = jax.jit(model.train_step, donate_argnums=0, out_shardings=(None, places))
    traced = step.trace(state, data)
    return traced.lower(lowering_platforms=platforms) if platforms else traced.lower()


def flops_before_optimisation(lowered) -> float | None:
    """XLA's count of a lowered step, each loop's body once; `None` where it has none.

    The compilers of other devices than a CPU count nothing before they have compiled, and
    JAX's answer is `None`.
    """
    return (lowered.cost_analysis() or {}).get("flops")
