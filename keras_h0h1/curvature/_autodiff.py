"""Second derivatives on each backend: the only file here that knows which backend is active.

Every function takes `fn`, a pure function of a list of tensors, and returns lists of tensors.
JAX goes forward over reverse (one extra forward pass, no second tape in memory). TensorFlow and
PyTorch go backward twice: TensorFlow's forward mode has no rule for loops (LSTM, GRU).
"""

import contextlib

import keras
import numpy as np

BACKEND = keras.backend.backend()


@contextlib.contextmanager
def _twice_differentiable():
    """Fused attention kernels have no second derivative: ask for the plain formula."""
    enabled = keras.config.is_flash_attention_enabled()
    keras.config.disable_flash_attention()
    try:
        yield
    finally:
        if enabled is None or enabled:
            keras.config.enable_flash_attention()


if BACKEND == "jax":
    import jax
    import jax.numpy as jnp
    from keras.src.backend.jax import nn as keras_nn

    def _double_attention(query, key, value, bias, mask, scale, is_causal):
        groups = query.shape[2] // key.shape[2]
        key, value = jnp.repeat(key, groups, axis=2), jnp.repeat(value, groups, axis=2)
        logits = jnp.einsum("btnh,bsnh->bnts", query, key)
        logits = logits * (query.shape[-1] ** -0.5 if scale is None else scale)
        if bias is not None:
            logits = logits + bias
        hidden = -0.7 * np.finfo("float32").max  # Finite, as in JAX: a row may be masked whole.
        if mask is not None:
            logits = jnp.where(mask, logits, hidden)
        if is_causal:
            logits = jnp.where(jnp.tril(jnp.ones(logits.shape[-2:], bool)), logits, hidden)
        return jnp.einsum("bnts,bsnh->btnh", jax.nn.softmax(logits), value)

    @contextlib.contextmanager
    def _full_precision():
        # `jax.nn.dot_product_attention` takes its softmax in float32 whatever it is given: in a
        # float64 model gradients then have errors of 1e-7, and their differences far larger ones.
        # While an objective is traced, float64 attention is the plain formula in float64. Any
        # other dtype goes Keras' own way, and so does the training step, which is not traced here.
        original = keras_nn.dot_product_attention

        def attention(
            query,
            key,
            value,
            bias=None,
            mask=None,
            scale=None,
            is_causal=False,
            flash_attention=None,
            **options,
        ):
            double = all(tensor.dtype == np.float64 for tensor in (query, key, value))
            if double and not flash_attention:
                return _double_attention(query, key, value, bias, mask, scale, is_causal)
            return original(
                query, key, value, bias, mask, scale, is_causal, flash_attention, **options
            )

        keras_nn.dot_product_attention = attention
        try:
            yield
        finally:
            keras_nn.dot_product_attention = original

    def value_and_grad(fn, primals):
        return jax.value_and_grad(fn)(primals)

    def hvp(fn, primals, tangents):
        with _twice_differentiable():
            return jax.jvp(jax.grad(fn), (primals,), (tangents,))[1]

    def gnvp(inner, outer, primals, tangents):
        with _twice_differentiable():
            outputs, pushed = jax.jvp(inner, (primals,), (tangents,))
            _, pullback = jax.vjp(inner, primals)
            curved = jax.jvp(jax.grad(outer), (outputs,), (pushed,))[1]
            return pullback(curved)[0]

    def compile(fn, on_compile, jit_compile="auto", second_order=False):
        def exact(*args):
            with _full_precision():
                return fn(*args)

        def traced(*args):
            on_compile()
            return exact(*args)

        return jax.jit(traced) if jit_compile else exact

    def read(variable):
        return variable.value

    def copy(tensor):
        # The trainer donates its state to the next step: whatever is kept must be a new buffer.
        # Without it, a compiled function too hands a lone flat variable back as it came.
        return jnp.array(tensor, copy=True)

    def device_array(array):
        return jnp.asarray(array)

    @jax.jit
    def without(vector, direction):
        return vector - jnp.vdot(direction, vector) * direction

    @jax.jit
    def dot(a, b):
        return jnp.vdot(a, b)

    def wait(tensors):
        # Steps are dispatched asynchronously: a stopwatch has to let them finish first.
        jax.block_until_ready(tensors)

elif BACKEND == "tensorflow":
    import tensorflow as tf
    from keras.src.backend.tensorflow import nn as keras_nn

    def _moments(x, axes, keepdims):
        mean = tf.reduce_mean(x, axes, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axes, keepdims=keepdims)
        return mean if keepdims else tf.squeeze(mean, axes), variance

    @contextlib.contextmanager
    def _differentiable():
        # `tf.nn.moments` stops the gradient at the mean inside the variance. The first derivative
        # is right all the same, the second is wrong, silently: LayerNormalization,
        # GroupNormalization, BatchNormalization in training. While a product is traced, Keras
        # gets the plain formula.
        original = keras_nn._compute_moments
        keras_nn._compute_moments = _moments
        try:
            with _twice_differentiable():
                yield
        finally:
            keras_nn._compute_moments = original

    def _dense(gradients):
        # Embedding gradients come as IndexedSlices.
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    def value_and_grad(fn, primals):
        with tf.GradientTape() as tape:
            tape.watch(primals)
            value = fn(primals)
        return value, _dense(tape.gradient(value, primals, unconnected_gradients="zero"))

    def _jvp(fn, primals, tangents):
        # jvp(fn) = d/du (vjp(fn)(u) . t): linear in u, so any u serves.
        with tf.GradientTape() as outer:
            with tf.GradientTape() as tape:
                tape.watch(primals)
                outputs = fn(primals)
            dummies = [tf.zeros_like(output) for output in outputs]
            outer.watch(dummies)
            pulled = _dense(
                tape.gradient(
                    outputs, primals, output_gradients=dummies, unconnected_gradients="zero"
                )
            )
        jvp = outer.gradient(pulled, dummies, tangents, unconnected_gradients="zero")
        return outputs, _dense(jvp)

    def _hvp_backward_twice(fn, primals, tangents):
        with tf.GradientTape() as outer:
            outer.watch(primals)
            _, gradients = value_and_grad(fn, primals)
        return _dense(outer.gradient(gradients, primals, tangents, unconnected_gradients="zero"))

    def hvp(fn, primals, tangents):
        with _differentiable():
            return _hvp_backward_twice(fn, primals, tangents)

    def gnvp(inner, outer, primals, tangents):
        with _differentiable(), tf.GradientTape() as tape:
            tape.watch(primals)
            outputs, pushed = _jvp(inner, primals, tangents)
        curved = _hvp_backward_twice(outer, outputs, pushed)
        return _dense(
            tape.gradient(outputs, primals, output_gradients=curved, unconnected_gradients="zero")
        )

    def compile(fn, on_compile, jit_compile="auto", second_order=False):
        # A second derivative takes XLA minutes to compile on some models, and does not exist for
        # some of its operations (XlaDynamicUpdateSlice in KerasHub's GPT-2).
        if jit_compile == "auto":
            xla_choices = [False] if second_order else [True, False]
        else:
            xla_choices = [bool(jit_compile)]

        def traced(*args):
            on_compile()
            return fn(*args)

        functions = [tf.function(traced, jit_compile=xla, autograph=False) for xla in xla_choices]

        def call(*args):
            try:
                return functions[0](*args)
            except (tf.errors.OpError, LookupError, NotImplementedError, ValueError):
                # An operation that XLA cannot compile: from now on, without it.
                if len(functions) == 1:
                    raise
                functions.pop(0)
                return functions[0](*args)

        return call

    def read(variable):
        return tf.convert_to_tensor(variable.value)

    def copy(tensor):
        return tf.identity(tensor)

    def device_array(array):
        return tf.convert_to_tensor(array)

    def without(vector, direction):
        return vector - tf.tensordot(direction, vector, 1) * direction

    def dot(a, b):
        return tf.reduce_sum(a * b)

    def wait(tensors):
        for tensor in tensors[:1]:
            tensor.numpy()

elif BACKEND == "torch":
    import torch
    from keras.src.backend.torch.core import get_device  # Keras has no public name for it.

    @contextlib.contextmanager
    def _differentiable():
        # The plain attention formula and the unfused RNN have second derivatives.
        with (
            _twice_differentiable(),
            torch.enable_grad(),
            torch.backends.cudnn.flags(enabled=False),
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        ):
            yield

    def _leaves(primals):
        return [primal.detach().requires_grad_() for primal in primals]

    def _grad(outputs, inputs, weights=None, create_graph=False):
        gradients = torch.autograd.grad(
            outputs,
            inputs,
            weights,
            create_graph=create_graph,
            retain_graph=True,
            allow_unused=True,
        )
        return [
            torch.zeros_like(x) if gradient is None else gradient
            for gradient, x in zip(gradients, inputs, strict=True)
        ]

    def _grad_of_connected(outputs, inputs, weights):
        # A gradient that does not depend on the weights (a linear loss) has no graph.
        pairs = [(o, w) for o, w in zip(outputs, weights, strict=True) if o.requires_grad]
        if not pairs:
            return [torch.zeros_like(x) for x in inputs]
        outputs, weights = zip(*pairs, strict=True)
        return _grad(outputs, inputs, weights)

    def value_and_grad(fn, primals):
        with torch.enable_grad():
            leaves = _leaves(primals)
            value = fn(leaves)
            return value.detach(), _grad(value, leaves)

    def hvp(fn, primals, tangents):
        with _differentiable():
            leaves = _leaves(primals)
            gradients = _grad(fn(leaves), leaves, create_graph=True)
            return _grad_of_connected(gradients, leaves, tangents)

    def gnvp(inner, outer, primals, tangents):
        with _differentiable():
            leaves = _leaves(primals)
            outputs = inner(leaves)
            # An output that does not depend on the weights has no part in the product.
            linked = [i for i, output in enumerate(outputs) if output.requires_grad]
            live = [outputs[i] for i in linked]
            dummies = [torch.zeros_like(output).requires_grad_() for output in live]
            pulled = _grad(live, leaves, dummies, create_graph=True)
            pushed = _grad_of_connected(pulled, dummies, tangents)

            def outer_of_live(values):
                merged = dict(zip(linked, values, strict=True))
                return outer([merged.get(i, output) for i, output in enumerate(outputs)])

            return _grad(live, leaves, hvp(outer_of_live, live, pushed))

    def compile(fn, on_compile, jit_compile="auto", second_order=False):
        # Eager: torch.compile does not differentiate twice.
        def call(*args):
            # Keras' dropout draws from PyTorch's own generator, not from Keras' seeds.
            with torch.random.fork_rng():
                return fn(*args)

        return call

    def read(variable):
        return variable.value.detach()

    def copy(tensor):
        return tensor.detach().clone()

    def device_array(array):
        return torch.as_tensor(array, device=get_device())

    def without(vector, direction):
        return vector - torch.dot(direction, vector) * direction

    def dot(a, b):
        return torch.dot(a, b)

    def wait(tensors):
        if torch.cuda.is_available():
            torch.cuda.synchronize()

else:
    raise ImportError(
        "keras_h0h1.curvature needs second derivatives, which the backend does not have. "
        f"Received: KERAS_BACKEND={BACKEND!r}"
    )
