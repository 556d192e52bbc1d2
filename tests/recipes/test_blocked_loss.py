"""The blocked cross-entropy and rematerialised blocks against plain training."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_h0h1
from recipes.compilers.deferred import deferred
from recipes.gpt._xla import compile_step
from recipes.gpt.losses import BlockedTraining, TokenCrossEntropy, blocked_cross_entropy
from recipes.gpt.model import Size, build_language_model
from recipes.gpt.recipe import RECIPE
from recipes.gpt.scale import compile_for_training, language_model_of, rematerialise
from tests.backends import only_on

# Without it JAX runs step by step, slowly; XLA takes TensorFlow longer than the test.
JIT = keras.backend.backend() == "jax"

BATCH, TIME, WIDTH, VOCABULARY = 3, 11, 8, 37


def plain(hidden, kernel, targets):
    """Losses and, for the upstream gradient `weights`, the gradients; NumPy in float64."""
    logits = hidden.astype("float64") @ kernel.astype("float64")
    shifted = logits - logits.max(-1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
    chosen = np.eye(VOCABULARY)[targets]
    return -np.log((p * chosen).sum(-1)), p - chosen


def differentiate(function, arrays, weights, backend):
    """Gradients of `sum(weights * function(*arrays))`."""
    if backend == "jax":
        import jax

        def total(*a):
            return ops.sum(function(*a) * weights)

        return jax.jit(jax.grad(total, argnums=(0, 1)))(*arrays)
    if backend == "tensorflow":
        import tensorflow as tf

        # As Keras' trainer traces some batches: with open shapes.
        @tf.function(input_signature=[tf.TensorSpec((None, None, WIDTH)), tf.TensorSpec(None)])
        def gradients(hidden, kernel):
            kernel = tf.ensure_shape(kernel, (WIDTH, VOCABULARY))
            with tf.GradientTape() as tape:
                tape.watch([hidden, kernel])
                total = ops.sum(function(hidden, kernel) * weights)
            return tape.gradient(total, [hidden, kernel])

        return gradients(*arrays)
    import torch

    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    total = (function(*tensors) * torch.tensor(weights)).sum()
    return torch.autograd.grad(total, tensors)


@pytest.mark.parametrize("positions", [1, 4, 11, 50], ids=lambda p: f"block-{p}")
def test_losses_and_gradients_are_those_of_float64(positions, backend):
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(BATCH, TIME, WIDTH)).astype("float32")
    kernel = rng.normal(size=(WIDTH, VOCABULARY)).astype("float32")
    targets = rng.integers(0, VOCABULARY, (BATCH, TIME)).astype("int32")
    # Not all equal, so that a gradient that forgets them is found.
    weights = rng.uniform(0.5, 2, (BATCH, TIME)).astype("float32")
    losses, error = plain(hidden, kernel, targets)
    error *= weights[..., None]

    def blocked(hidden, kernel):
        return blocked_cross_entropy(hidden, kernel, targets, positions)

    np.testing.assert_allclose(
        ops.convert_to_numpy(blocked(hidden, kernel)), losses, rtol=1e-5, atol=1e-6
    )
    of_hidden, of_kernel = differentiate(blocked, (hidden, kernel), weights, backend)
    np.testing.assert_allclose(
        ops.convert_to_numpy(of_hidden), error @ kernel.T, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(of_kernel),
        np.einsum("btw,btv->wv", hidden, error),
        rtol=1e-5,
        atol=1e-5,
    )


def test_the_gradient_of_the_head_is_summed_in_float32(backend):
    """Many blocks in bfloat16: a sum kept in bfloat16 would stop growing at 256 times a term."""
    time = 2048
    hidden = np.ones((1, time, 1), "float32")
    kernel = np.zeros((1, 2), "float32")
    weights = np.ones((1, time), "float32")

    def blocked(hidden, kernel):
        hidden = ops.cast(hidden, "bfloat16")
        return blocked_cross_entropy(hidden, kernel, np.zeros((1, time), "int32"), 1)

    if backend == "tensorflow":
        import tensorflow as tf

        h, k = tf.constant(hidden), tf.constant(kernel)

        @tf.function
        def gradient():
            with tf.GradientTape() as tape:
                tape.watch(k)
                total = ops.sum(blocked(h, k) * weights)
            return tape.gradient(total, k)

        of_kernel = gradient()
    else:
        _, of_kernel = differentiate(blocked, (hidden, kernel), weights, backend)
    # Each token adds softmax - one-hot = (-1/2, 1/2), without rounding.
    np.testing.assert_array_equal(ops.convert_to_numpy(of_kernel), [[-time / 2, time / 2]])


def trained(arch, positions=0, remat=False):
    """Five steps with the loss-driven rate: the losses, the effective rate, the predictions."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, VOCABULARY, (2, BATCH, TIME)).astype("int32")
    model = build_language_model(arch, Size(1, 16, 2, 24), VOCABULARY, TIME)
    if positions:
        model = BlockedTraining(model, positions)
    rate = keras_h0h1.LossAdaptiveLearningRate(1e-2, C=2.0)
    compile_for_training(model, keras_h0h1.LossAware(keras.optimizers.AdamW(rate)), jit=JIT)
    if remat:
        rematerialise(language_model_of(model))
    losses = [float(model.train_on_batch(x, y)) for _ in range(5)]
    losses.append(float(model.evaluate(x, y, batch_size=BATCH, verbose=0)))
    rate = float(ops.convert_to_numpy(model.optimizer.effective_learning_rate))
    return losses, rate, language_model_of(model).predict(x, verbose=0)


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_training_is_the_same_with_less_memory(arch):
    expected = trained(arch)
    assert expected[1] < 1e-2, "the loss must have driven the rate"
    got = trained(arch, positions=4, remat=True)
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


def test_a_run_is_saved_resumed_and_exported(tiny_options, tmp_path):
    options = [*tiny_options, "--arch=llama", "--remat=blocks", "--loss-block=12"]
    RECIPE.main([*options, "--name=whole"])
    RECIPE.main([*options, "--name=parts", "--stop-after=3"])
    RECIPE.main([f"--resume={tmp_path / 'runs' / 'parts'}"])
    a, b = (
        keras.saving.load_model(tmp_path / "runs" / name / "model.keras")
        for name in ("whole", "parts")
    )
    for one, other in zip(a.trainable_variables, b.trainable_variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))
    tokens = np.zeros((1, 8), "int32")
    inputs = {"token_ids": tokens, "padding_mask": np.ones((1, 8), bool)}
    assert ops.convert_to_numpy(a(inputs)).shape == (1, 8, 300)


def test_rematerialised_blocks_are_recomputed(backend):
    """What the backward pass keeps is counted where the backend shows it."""
    tokens = np.zeros((2, 32), "int32")

    def kept(remat):
        model = build_language_model("llama", Size(4, 16, 2, 24), 20, 32)
        if remat:
            rematerialise(model)
        if backend == "jax":
            import jax

            values = [v.value for v in model.trainable_variables]

            def residuals(values):
                _, backward = jax.vjp(lambda v: model.stateless_call(v, [], tokens)[0], values)
                return backward

            # The function that goes backwards carries what it needs.
            leaves = jax.tree.leaves(jax.eval_shape(residuals, values))
            return sum(leaf.size for leaf in leaves)
        if backend == "torch":
            import torch

            sizes = []

            def pack(tensor):
                sizes.append(tensor.numel())
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
                model(tokens)
            return sum(sizes)
        import tensorflow as tf

        @tf.function
        def step(tokens):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(tokens))
            gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
            return [tf.convert_to_tensor(g) for g in gradients]

        graph = step.get_concrete_function(tf.constant(tokens)).graph
        products = ("Einsum", "MatMul", "BatchMatMulV2")

        def count(graph):
            operations = graph.get_operations()
            return sum(operation.type in products for operation in operations)

        # More products in the graph: those of the second forward pass.
        return 1 / count(graph)

    assert kept(remat=True) < 0.8 * kept(remat=False)


@only_on("jax", reason="only JAX tells XLA's memory")
def test_the_logits_are_never_held_whole():
    batch, time, vocabulary = 4, 64, 8192
    size = Size(1, 16, 2, 24)

    def temporary(positions):
        model = deferred(lambda: build_language_model("llama", size, vocabulary, time))
        if positions:
            model = BlockedTraining(model, positions)
        compile_for_training(model, keras.optimizers.AdamW(1e-3), jit=True)
        return compile_step(model, batch, time).temporary_bytes

    logits = 4 * batch * time * vocabulary
    assert temporary(0) - temporary(4) > 0.9 * logits


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_the_loss_of_whole_logits_and_its_gradient(scale):
    """Against NumPy in float64; at 300 an exponential that is not shifted overflows."""
    random = np.random.default_rng(0)
    logits = scale * random.standard_normal((BATCH, TIME, VOCABULARY))
    targets = random.integers(0, VOCABULARY, (BATCH, TIME), "int32")
    weights = random.random((BATCH, TIME)).astype("float32")
    shifted = logits - logits.max(-1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
    chosen = np.eye(VOCABULARY)[targets]
    expected = np.log(np.exp(shifted).sum(-1)) - (shifted * chosen).sum(-1)
    found = TokenCrossEntropy(reduction="none")(targets, logits.astype("float32"))
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5, atol=1e-5)
    kinds = [TokenCrossEntropy(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)]
    for loss in kinds:
        total = float(loss(targets, logits.astype("float32"), sample_weight=weights))
        assert total == pytest.approx((expected * weights).mean(), rel=1e-5)
    # One step of gradient descent at rate 1 on the logits themselves.
    layer = keras.layers.Embedding(1, BATCH * TIME * VOCABULARY)
    model = keras.Sequential([layer, keras.layers.Reshape((BATCH * TIME, VOCABULARY))])
    model.build((1, 1))
    layer.set_weights([logits.reshape(1, -1)])
    model.compile(keras.optimizers.SGD(1.0), TokenCrossEntropy(), jit_compile=False)
    before = layer.get_weights()[0]
    model.train_on_batch(np.zeros((1, 1), "int32"), targets.reshape(1, -1))
    moved = (before - layer.get_weights()[0]).reshape(p.shape) * BATCH * TIME
    np.testing.assert_allclose(moved, p - chosen, atol=1e-4 * scale)
    again = keras.losses.deserialize(keras.losses.serialize(TokenCrossEntropy()))
    assert type(again) is TokenCrossEntropy
