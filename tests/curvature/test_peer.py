"""The same weights in a PyTorch peer, hessian-eigenthings: written by others, on another engine."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_h0h1.curvature import hutchpp, lanczos
from tests.curvature.models import objective as make_objective

torch = pytest.importorskip("torch", reason="the peer needs PyTorch")
peer = pytest.importorskip(
    "hessian_eigenthings", reason="the peer hessian-eigenthings is not installed"
)


def test_eigenvalues_and_trace_agree():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((64, 8)).astype("float32")
    Y = rng.integers(0, 4, 64)
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(12, activation="tanh"), layers.Dense(4)]
    )
    # Away from the start, where the spectrum has negative eigenvalues too.
    model.set_weights([w + 0.3 * rng.standard_normal(w.shape) for w in model.get_weights()])
    theirs = torch.nn.Sequential(
        torch.nn.Linear(8, 12), torch.nn.Tanh(), torch.nn.Linear(12, 4)
    ).to("cpu")
    W1, b1, W2, b2 = model.get_weights()
    with torch.no_grad():
        for parameter, value in zip(theirs.parameters(), (W1.T, b1, W2.T, b2), strict=True):
            parameter.copy_(torch.as_tensor(np.array(value)))
    operator = peer.HessianOperator(
        theirs,
        [(torch.as_tensor(X), torch.as_tensor(Y))],
        peer.supervised_loss(torch.nn.functional.cross_entropy),
    )
    identity = torch.eye(operator.size)
    matrix = np.stack([operator.matvec(row).detach().numpy() for row in identity])
    top = sorted(np.linalg.eigvalsh(matrix), key=abs)[::-1][:5]
    objective = make_objective(model, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    hessian = objective.hessian((X, Y))
    ours = lanczos(hessian, 5, which="magnitude", tol=1e-6, max_iterations=100)
    np.testing.assert_allclose(ours.value, top, rtol=1e-3)
    # And by their own algorithm, the first of them.
    first = peer.lanczos(operator, k=1, max_iter=50).eigenvalues.numpy()[0]
    assert np.isclose(ours.value[0], first, rtol=1e-3)
    truth = np.trace(matrix)
    result = hutchpp(hessian, products=200)
    assert abs(result.value - truth) < max(4 * result.residual, 1e-3 * abs(truth))
