"""Products with a network's Hessian against closed forms and finite differences."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_h0h1.curvature import Objective, blocks, lanczos
from tests.curvature.models import (
    ONE,
    Function,
    dense_matrix,
    host,
    softmax_regression,
    value,
)
from tests.curvature.models import (
    objective as make_objective,
)


def cross_entropy():
    # Made anew in each test: a Keras loss keeps the precision it was made in.
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def data(n=12, features=4, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, features)), rng.integers(0, classes, n)


def sequential(*hidden, features=4, classes=3):
    return keras.Sequential([keras.Input((features,)), *hidden, layers.Dense(classes)])


def test_hessian_of_softmax_regression(double):
    X, Y = data()
    model = sequential()
    W, b = model.get_weights()
    b += [0.1, -0.2, 0.3]
    model.set_weights([W, b])
    truth = softmax_regression(X, W, b)
    objective = make_objective(model, cross_entropy())
    np.testing.assert_allclose(dense_matrix(objective.hessian((X, Y))), truth, atol=1e-12)
    # A linear model: Gauss-Newton is the Hessian.
    np.testing.assert_allclose(dense_matrix(objective.gauss_newton((X, Y))), truth, atol=1e-12)


NETWORKS = {
    "tanh": lambda: [layers.Dense(6, activation="tanh"), layers.Dense(5, activation="gelu")],
    "silu_norm": lambda: [layers.Dense(6, activation="silu"), layers.LayerNormalization()],
    "batch_norm": lambda: [layers.Dense(6), layers.BatchNormalization(), layers.Dropout(0.5)],
    "convolution": lambda: [
        layers.Reshape((4, 1)),
        layers.Conv1D(3, 2, activation="softplus"),
        layers.GlobalAveragePooling1D(),
    ],
    "attention": lambda: [layers.Reshape((2, 2)), _Attention(), layers.Flatten()],
    "grouped_attention": lambda: [layers.Reshape((2, 2)), _Grouped(), layers.Flatten()],
    "lstm": lambda: [layers.Reshape((4, 1)), layers.LSTM(3)],
}


class _Attention(layers.Layer):
    def build(self, shape):
        self.inner = layers.MultiHeadAttention(2, 3)
        self.inner.build(shape, shape)
        self.built = True

    def call(self, x):
        return x + self.inner(x, x, use_causal_mask=True)


class _Grouped(layers.Layer):
    """Two heads share a key; the second position does not see the first."""

    def build(self, shape):
        self.inner = layers.GroupQueryAttention(3, 2, 1)
        self.inner.build(shape, shape)
        self.built = True

    def call(self, x):
        return self.inner(x, x, attention_mask=np.array([[[True, True], [False, True]]]))


@pytest.mark.parametrize("name", NETWORKS)
def test_products_equal_finite_differences(double, name):
    X, Y = data()
    model = sequential(*NETWORKS[name]())
    objective = make_objective(model, cross_entropy())
    start = [v.numpy() if hasattr(v, "numpy") else host(v) for v in model.trainable_variables]
    vector = np.random.default_rng(1).standard_normal(objective.size)

    def gradient(t):
        offset = 0
        for variable, initial in zip(model.trainable_variables, start, strict=True):
            step = vector[offset : offset + initial.size].reshape(initial.shape)
            variable.assign(initial + t * step)
            offset += initial.size
        loss, g = objective.gradient((X, Y))
        return float(loss), host(g)

    h, rtol = 1e-4, 1e-6
    # Fourth order, so that truncation is far below the tolerance.
    (l1, g1), (l2, g2) = gradient(h), gradient(-h)
    (l3, g3), (l4, g4) = gradient(2 * h), gradient(-2 * h)
    slope = (8 * (l1 - l2) - (l3 - l4)) / (12 * h)
    truth = (8 * (g1 - g2) - (g3 - g4)) / (12 * h)
    _, g = gradient(0.0)
    assert np.isclose(g @ vector, slope, rtol=rtol)
    product = host(objective.hessian((X, Y)).matvec(vector))
    np.testing.assert_allclose(product, truth, rtol=rtol, atol=rtol * np.abs(truth).max())


@pytest.mark.parametrize("causal", [False, True])
def test_attention_in_double_precision_on_jax(float64, backend, causal):
    """Against NumPy in float64, and untouched in float32."""
    if backend != "jax":
        pytest.skip("JAX alone takes the softmax in float32")
    from keras_h0h1._autodiff.jax import full_precision

    rng = np.random.default_rng(0)
    query, key, value = (rng.standard_normal((2, 5, heads, 3)) for heads in (4, 2, 2))
    mask, bias = rng.random((2, 1, 5, 5)) < 0.7, rng.standard_normal((2, 4, 5, 5))
    options = {"mask": mask, "bias": bias, "is_causal": causal}
    with full_precision():
        found = ops.dot_product_attention(query, key, value, **options)
        single = [ops.convert_to_tensor(t, "float32") for t in (query, key, value)]
        inside = ops.dot_product_attention(*single, **options)
    logits = np.einsum("btnh,bsnh->bnts", query, np.repeat(key, 2, 2)) / np.sqrt(3) + bias
    seen = mask & (np.tril(np.ones((5, 5), bool)) | (not causal))
    # Where a row sees nothing JAX gives every position the same weight.
    weights = np.where(seen, np.exp(logits), 0.0) + 1.0 * ~seen.any(-1, keepdims=True)
    weights /= weights.sum(-1, keepdims=True)
    truth = np.einsum("bnts,bsnh->btnh", weights, np.repeat(value, 2, 2))
    np.testing.assert_allclose(host(found), truth, atol=1e-13)
    outside = ops.dot_product_attention(*single, **options)
    np.testing.assert_array_equal(host(inside), host(outside))
    # Once this fails, JAX keeps float64 and `full_precision` can go.
    assert np.abs(host(ops.dot_product_attention(query, key, value, **options)) - truth).max() > 0


def test_gauss_newton_equals_jacobian_products(double):
    X, Y = data()
    model = sequential(layers.Dense(5, activation="tanh"))
    objective = make_objective(model, cross_entropy())
    matrix = dense_matrix(objective.gauss_newton((X, Y)))
    W1, b1, W2, b2 = model.get_weights()
    hidden = np.tanh(X @ W1 + b1)
    logits = hidden @ W2 + b2
    p = np.exp(logits)
    p /= p.sum(1, keepdims=True)
    truth = 0.0
    for x, h, q in zip(X, hidden, p, strict=True):
        slope = (W2 * (1 - h**2)[:, None]).T  # classes x hidden
        jacobian = np.concatenate(
            [
                np.einsum("i,ch->cih", x, slope).reshape(3, -1),
                slope,
                np.kron(h, np.eye(3)),
                np.eye(3),
            ],
            axis=1,
        )
        truth = truth + jacobian.T @ (np.diag(q) - np.outer(q, q)) @ jacobian / len(X)
    np.testing.assert_allclose(matrix, truth, atol=1e-12)


def test_gauss_newton_through_a_loop(double):
    X, Y = data()
    model = sequential(layers.Reshape((4, 1)), layers.LSTM(2))
    matrix = dense_matrix(make_objective(model, cross_entropy()).gauss_newton((X, Y)))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-12


@pytest.mark.parametrize(
    "function, start, truth",
    [
        # (H0/H1)(cosh(sqrt(H1) w) - 1): curvature H0 + H1 f, here H0 = 3, H1 = 2.
        (
            lambda w: 1.5 * (ops.cosh(2.0**0.5 * w[0]) - 1),
            [1.3],
            3.0 * np.cosh(2.0**0.5 * 1.3),
        ),
        # |w|^p: p (p-1) |w|^(p-2).
        (lambda w: ops.abs(w[0]) ** 5.0, [-1.7], 20 * 1.7**3),
        # (1 - w^2)^2: |12 w^2 - 4|.
        (lambda w: (1 - w[0] ** 2) ** 2, [0.1], 4 - 0.12),
        # (y - u v x)^2, off the balanced line, where the curvature is no function of the loss.
        (
            lambda w: (1.0 - w[0] * w[1] * 2.0) ** 2,
            [0.7, 0.2],
            4 * (0.49 + 0.04) + np.sqrt(16 * (0.49 - 0.04) ** 2 + 16 * (4 * 0.14 - 1.0) ** 2),
        ),
    ],
)
def test_theory_problems(double, function, start, truth):
    operator = make_objective(Function(function, start), value).hessian(ONE)
    result = lanczos(operator, which="magnitude", tol=1e-12)
    assert np.isclose(abs(result.value[0]), truth, rtol=1e-12)


def test_several_batches_are_the_whole(double):
    X, Y = data(30)
    weight = np.random.default_rng(3).uniform(0.5, 2.0, 30)
    model = sequential(layers.Dense(5, activation="tanh"))

    def mean(y, y_pred):
        return keras.losses.sparse_categorical_crossentropy(y, y_pred, from_logits=True)

    objective = make_objective(model, mean)
    pieces = [(X[a:b], Y[a:b], weight[a:b]) for a, b in ((0, 10), (10, 14), (14, 30))]
    whole = (X, Y, weight)
    assert np.isclose(objective.loss(pieces), objective.loss(whole), rtol=1e-12)
    v = np.random.default_rng(1).standard_normal(objective.size)
    for make in (objective.hessian, objective.gauss_newton):
        np.testing.assert_allclose(
            host(make(pieces).matvec(v)), host(make(whole).matvec(v)), rtol=1e-10, atol=1e-12
        )
    np.testing.assert_allclose(
        host(objective.gradient(lambda: iter(pieces))[1]),
        host(objective.gradient(whole)[1]),
        rtol=1e-10,
        atol=1e-12,
    )


def test_an_iterator_is_refused():
    model = sequential()
    with pytest.raises(TypeError, match="Received: data="):
        make_objective(model, cross_entropy()).loss(iter([data()]))
    with pytest.raises(ValueError, match="empty"):
        make_objective(model, cross_entropy()).loss([])
    with pytest.raises(TypeError, match="Received: batch"):
        make_objective(model, cross_entropy()).loss([np.zeros(3)])


class _Activity(layers.Layer):
    def call(self, x):
        self.add_loss(0.05 * ops.sum(x**4))
        return x


def test_compiled_objective_with_regulariser_and_add_loss(double):
    X, Y = data()
    model = sequential(layers.Dense(5, kernel_regularizer=keras.regularizers.L2(0.3)), _Activity())
    model.compile("sgd", cross_entropy())
    objective = make_objective(model)
    assert np.isclose(objective.loss((X, Y)), model.evaluate(X, Y, verbose=0), rtol=1e-10)
    kernel = model.get_weights()[0]
    hidden = X @ kernel
    plain = cross_entropy()(Y, hidden @ model.get_weights()[2])
    truth = float(plain) + 0.3 * (kernel**2).sum() + 0.05 * (hidden**4).sum()
    # Keras adds the three parts in float32 on TensorFlow.
    assert np.isclose(objective.loss((X, Y)), truth, rtol=1e-7)
    # The same, with the loss named here.
    assert np.isclose(make_objective(model, cross_entropy()).loss((X, Y)), truth, rtol=1e-7)
    matrix = dense_matrix(objective.hessian((X, Y)))
    bare = dense_matrix(
        make_objective(_same(model, sequential(layers.Dense(5))), cross_entropy()).hessian((X, Y))
    )
    added = np.zeros_like(matrix)
    # d2/dK2 of 0.3 |K|^2 + 0.05 sum (x K)^4, the bias being zero; bias gets the second part too.
    augmented = np.concatenate([X, np.ones((len(X), 1))], axis=1)
    for unit in range(5):
        index = [i * 5 + unit for i in range(4)] + [20 + unit]
        block = 0.6 * augmented.T @ (augmented * hidden[:, unit : unit + 1] ** 2)
        block[:4, :4] += 0.6 * np.eye(4)
        added[np.ix_(index, index)] = block
    np.testing.assert_allclose(matrix - bare, added, atol=1e-9)


def _same(source, target):
    target.set_weights(source.get_weights())
    return target


def test_layers_select_a_block(double):
    X, Y = data()
    model = sequential(layers.Dense(5, activation="tanh", name="body"))
    whole = make_objective(model, cross_entropy())
    matrix = dense_matrix(whole.hessian((X, Y)))
    for layers_ in (["body"], [model.layers[0]], lambda v: "body" in v.path, model.layers[0]):
        part = make_objective(model, cross_entropy(), layers=layers_)
        assert part.size == 25
        np.testing.assert_allclose(dense_matrix(part.hessian((X, Y))), matrix[:25, :25], atol=1e-12)
    masked = lanczos(
        whole.hessian((X, Y)).scaled(whole.mask(["body"])), which="magnitude", tol=1e-9
    )
    truth = np.abs(np.linalg.eigvalsh(matrix[:25, :25])).max()
    assert np.isclose(abs(masked.value[0]), truth, rtol=1e-6)
    assert sum(whole.mask(paths) is not None for paths in blocks(model).values()) == 2
    with pytest.raises(ValueError, match="Received: layers='nothing'"):
        make_objective(model, cross_entropy(), layers=["nothing"])


def test_a_frozen_layer_is_constant(double):
    X, Y = data()
    model = sequential(layers.Dense(5, activation="tanh"))
    matrix = dense_matrix(make_objective(model, cross_entropy()).hessian((X, Y)))
    model.layers[0].trainable = False
    part = make_objective(model, cross_entropy())
    np.testing.assert_allclose(dense_matrix(part.hessian((X, Y))), matrix[25:, 25:], atol=1e-12)


def test_nothing_moves_and_dropout_is_off():
    X, Y = data()
    X = X.astype("float32")
    model = sequential(layers.Dense(6), layers.BatchNormalization(), layers.Dropout(0.5))
    model.compile("sgd", cross_entropy())
    before = [host(v) for v in model.variables]
    objective = make_objective(model)
    assert objective.loss((X, Y)) == objective.loss((X, Y))
    lanczos(objective.hessian((X, Y)))
    for a, b in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(a, host(b))
    # With training=True: one fixed mask, and the seed still does not move.
    noisy = make_objective(model, training=True)
    assert noisy.loss((X, Y)) == noisy.loss((X, Y)) != objective.loss((X, Y))
    for a, b in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(a, host(b))


def test_compiles_once(backend):
    X, Y = data(20)
    X = X.astype("float32")
    model = sequential(layers.Embedding(10, 3), layers.Flatten())
    X = np.abs(X).astype("int32") % 10
    objective = Objective(model, cross_entropy())
    for start in range(0, 20, 10):
        batch = (X[start : start + 10], Y[start : start + 10])
        lanczos(objective.hessian(batch))
        lanczos(objective.hessian(batch).scaled(objective.mask(["embedding"])))
        objective.gradient(batch)
        model.set_weights([w + 0.1 for w in model.get_weights()])
    assert objective.compilations == (0 if backend == "torch" else 2)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_float32_vectors(policy):
    X, Y = data(64)
    keras.config.set_dtype_policy(policy)
    try:
        model = sequential(layers.Dense(16, activation="tanh"))
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile("sgd", cross_entropy())
    objective = make_objective(model)
    _, gradient = objective.gradient((X, Y))
    assert keras.backend.standardize_dtype(gradient.dtype) == "float32"
    exact = make_objective(
        _same(model, sequential(layers.Dense(16, activation="tanh"))), cross_entropy()
    )
    truth = lanczos(exact.hessian((X, Y))).value[0]
    assert np.isclose(lanczos(objective.hessian((X, Y))).value[0], truth, rtol=0.05)


def test_structured_inputs_and_outputs(double):
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    both = layers.Concatenate()([a, b])
    model = keras.Model({"a": a, "b": b}, {"p": layers.Dense(1, name="p")(both), "q": both * 2})
    rng = np.random.default_rng(0)
    x = {"a": rng.standard_normal((5, 2)), "b": rng.standard_normal((5, 2))}
    y = {"p": rng.standard_normal((5, 1)), "q": rng.standard_normal((5, 4))}
    model.compile("sgd", {"p": "mse", "q": "mae"})
    X = np.concatenate([x["a"], x["b"], np.ones((5, 1))], axis=1)
    for make in (make_objective(model).hessian, make_objective(model).gauss_newton):
        np.testing.assert_allclose(dense_matrix(make((x, y))), 2 * X.T @ X / 5, atol=1e-12)


def test_a_model_without_a_loss_is_refused():
    with pytest.raises(ValueError, match="Received: loss=None"):
        make_objective(sequential())
