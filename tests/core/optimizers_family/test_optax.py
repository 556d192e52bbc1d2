"""PolyakSGD, MoMo and MoMoAdam follow optax's own implementations for 100 steps, in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_h0h1.optimizers import MoMo, MoMoAdam, PolyakSGD
from tests.core.optimizers_family.cases import DECAY
from tests.core.optimizers_family.reference import PROBLEMS, Problem

STEPS = 100


@pytest.fixture
def optax():
    """optax, with 64 bits in JAX, whichever backend Keras has."""
    jax = pytest.importorskip("jax", reason="optax computes with JAX")
    module = pytest.importorskip("optax", reason="the peer is optax; pip install optax")
    previous = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield module
    jax.config.update("jax_enable_x64", previous)


def _polyak(optax, decay, **arguments):
    """optax has no decay for it: Keras' is decoupled and multiplied by the step."""
    transform = optax.polyak_sgd(**arguments)

    def step(gradients, state, weights, value):
        updates, state = transform.update(gradients, state, weights, value=value)
        size = -updates[0][0, 0] / gradients[0][0, 0]
        updates = [u - decay * size * w for u, w in zip(updates, weights, strict=True)]
        return optax.apply_updates(weights, updates), state

    return transform.init, step


def _contrib(name):
    def peer(optax, decay, clip=None, **arguments):
        transform = getattr(optax.contrib, name)(weight_decay=decay, **arguments)
        if clip is not None:
            transform = optax.chain(optax.clip_by_global_norm(clip), transform)

        def step(gradients, state, weights, value):
            updates, state = transform.update(gradients, state, weights, value=value)
            return optax.apply_updates(weights, updates), state

        return transform.init, step

    return peer


_RENAMED = {"b1": "beta_1", "b2": "beta_2", "eps": "epsilon", "clip": "global_clipnorm"}
_momo, _momo_adam = _contrib("momo"), _contrib("momo_adam")
# By name: ours, the peer, and the arguments under optax's names.
PAIRS = {
    "sps": (PolyakSGD, _polyak, {}),
    "sps, all arguments": (
        PolyakSGD, _polyak, {"max_learning_rate": 0.5, "scaling": 0.75, "f_min": -0.1, "eps": 0.1},
    ),
    "sps+": (PolyakSGD, _polyak, {"max_learning_rate": 0.5, "f_min": 0.2, "variant": "sps+"}),
    "momo": (MoMo, _momo, {}),
    "momo, bound below": (MoMo, _momo, {"learning_rate": 0.1, "beta": 0.5, "lower_bound": -1.0}),
    "momo, bound adapted": (MoMo, _momo, {"adapt_lower_bound": True}),
    "momo, bound adapted from below": (
        MoMo, _momo, {"learning_rate": 0.3, "lower_bound": -2.0, "adapt_lower_bound": True},
    ),
    "momo, clipped": (MoMo, _momo, {"clip": 0.1}),
    "momo_adam": (MoMoAdam, _momo_adam, {}),
    "momo_adam, large rate": (
        MoMoAdam, _momo_adam, {"learning_rate": 1.0, "b1": 0.8, "b2": 0.99, "eps": 1e-6},
    ),
    "momo_adam, bound adapted": (
        MoMoAdam, _momo_adam, {"learning_rate": 1.0, "adapt_lower_bound": True},
    ),
    "momo_adam, clipped": (MoMoAdam, _momo_adam, {"learning_rate": 0.1, "clip": 0.1}),
}  # fmt: skip


def _ours(optimizer, backend):
    """A function of (weights, gradients, loss) to the new weights, compiled where that is fast."""
    shapes = Problem(PROBLEMS[0]).start
    variables = [keras.Variable(np.zeros(w.shape), dtype="float64") for w in shapes]
    optimizer.build(variables)
    first = [ops.convert_to_numpy(v).copy() for v in optimizer.variables]
    if backend == "jax":
        import jax

        compiled = jax.jit(
            lambda weights, state, gradients, loss: optimizer.stateless_apply(
                state, gradients, weights, loss=loss
            )
        )

        def begin(weights):
            state = [jax.numpy.asarray(v) for v in first]

            def step(gradients, loss):
                nonlocal weights, state
                weights, state = compiled(weights, state, gradients, loss)
                return [np.asarray(w) for w in weights]

            return step

        return begin

    def apply(gradients, loss):
        optimizer.apply(gradients, variables, loss=loss)

    if backend == "tensorflow":
        import tensorflow as tf

        apply = tf.function(apply)

    def begin(weights):
        for variable, value in zip([*variables, *optimizer.variables], [*weights, *first],
                                   strict=True):  # fmt: skip
            variable.assign(value)

        def step(gradients, loss):
            apply([ops.convert_to_tensor(g) for g in gradients], ops.convert_to_tensor(loss))
            return [ops.convert_to_numpy(v).copy() for v in variables]

        return step

    return begin


@pytest.mark.parametrize("decay", [0.0, DECAY], ids=["", "weight decay"])
@pytest.mark.parametrize("name", PAIRS)
def test_same_trajectory(name, decay, optax, float64, backend):
    import jax

    make, peer, arguments = PAIRS[name]
    renamed = {_RENAMED.get(k, k) if make is not PolyakSGD else k: v for k, v in arguments.items()}
    begin = _ours(make(**renamed, weight_decay=decay or None), backend)
    init, theirs = peer(optax, decay, **arguments)
    theirs = jax.jit(theirs)
    for problem in map(Problem, PROBLEMS):
        mine, step = problem.start, begin(problem.start)
        peers = [jax.numpy.asarray(w) for w in problem.start]
        state = init(peers)
        for k in range(STEPS):
            # Each goes its own way: errors would add up.
            loss, gradients = problem([np.asarray(w) for w in peers], k)
            peers, state = theirs(gradients, state, peers, loss)
            loss, gradients = problem(mine, k)
            mine = step(gradients, np.float64(loss))
            for ours, other in zip(mine, peers, strict=True):
                np.testing.assert_allclose(
                    ours, other, rtol=1e-5, atol=1e-5 * np.abs(other).max(), err_msg=problem.name
                )
        assert max(np.abs(a - b).max() for a, b in zip(mine, problem.start, strict=True)) > 0.1


def test_what_optax_does_with_scaling(optax, float64):
    """Its documentation has the scale outside the minimum alone; its code has it in the norm too.

    `PolyakSGD` follows the code. Should this fail, optax has changed.
    """
    weights, gradients = [np.ones(2)], [np.array([3.0, 4.0])]
    transform = optax.polyak_sgd(scaling=0.5)
    updates, _ = transform.update(gradients, transform.init(weights), weights, value=2.0)
    np.testing.assert_allclose(updates[0], -2.0 / (0.5 * 25.0) * gradients[0], rtol=1e-12)
