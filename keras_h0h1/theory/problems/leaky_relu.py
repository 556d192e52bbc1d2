"""Leaky-ReLU networks, and their constants where the layers are weakly balanced and aligned."""

from collections.abc import Callable, Sequence

import numpy as np

from keras_h0h1._types import ArrayLike, Numeric
from keras_h0h1._validation import check_number
from keras_h0h1.theory._arrays import like
from keras_h0h1.theory._guards import require
from keras_h0h1.theory.problems._layers import (
    DepthBound,
    Layers,
    data_matrices,
    identity,
    product,
    quadratic_loss,
    transposed_product,
)
from keras_h0h1.theory.problems.base import Problem
from keras_h0h1.theory.smoothness import Smoothness


class LeakyReLUNet(Problem):
    r"""$f = \frac12 \|Y - W_L \phi(W_{L-1} \cdots \phi(W_1 X))\|_F^2$, $\phi(z) = \max(z, az)$.

    The Hessian is that of the piece on which the signs of all hidden pre-activations are fixed; on
    a kink it is that of one of the pieces. No constants hold on the whole space, so `smoothness`
    is `None`; `certificate` gives constants where two assumptions hold:

    * *Weak balance*: the squared Frobenius norms of the layers differ by at most `imbalance`.
      Gradient flow keeps these differences, because $\langle \nabla_{W_i} f, W_i \rangle$ is the
      same for all layers.
    * *Alignment*: $\|F_W(X)\|_F \ge \kappa \|X\|_F \prod_i \|W_i\|_F$ for the network's outputs
      $F_W(X)$. It is implied by $\sigma_{min}(W_i) \ge c \|W_i\|_F$ for layers that are nowhere
      narrower than the one before, with $\kappa = a^{L-1} c^L$. Without it two units can cancel:
      the loss stays as it is while the weights, and with them the curvature, grow.

    The papers' own spectral assumption is not known here; this one is ours. Nothing proves that
    training keeps $\kappa$: `alignment` measures it along a run.

    With $p = (\|Y\|_F + \sqrt{2f}) / (\kappa \|X\|_F) \ge \prod_i \|W_i\|_F$ and weak balance
    $D$, every layer has $\|W_i\|^2 \le \|W_i\|_F^2 \le p^{2/L} + D$. The Hessian is the sum over
    samples of that of a linear network, with slopes of at most 1 between the layers, hence
    $\|\nabla^2 f\| \le L \|X\|_F^2 s^{2L-2} + (L-1) \|X\|_F \sqrt{2f} s^{L-2}$ and, as for
    `DeepLinearNet`, the tangents of a concave function.

    **Across kinks the gradient jumps.** Between two points it changes by at most the bound times
    their distance *plus* the jumps of the kinks between them, `kink_bound` for each, so a step of
    $1/\ell(f)$ is proved to decrease the loss only if it crosses no kink. It can fail otherwise:
    a single unit with $x = \pm 1$, $y = (-1, -1)$ has a minimum that is a corner.

    Args:
        X: Array `(d_0, m)`, a column for each sample, not all 0.
        Y: Array `(d_L, m)`.
        widths: The widths of the hidden layers, at least one.
        slope: $a$, in (0, 1].

    Source: the class is treated by Liu, Ge, Pan, Kang, Zhang, arXiv 2509.07972; assumption,
    constants and proofs here are derived.

    Example:

    >>> import numpy as np
    >>> problem = LeakyReLUNet([[1.0, -1.0]], [[1.0, 0.5]], widths=[2], slope=0.2)
    >>> w = problem.balance(np.array([1.0, -0.5, 0.7, 0.2]))
    >>> smoothness = problem.certificate(float(problem.alignment(w)))
    >>> bool(problem.curvature(w) <= smoothness.bound(problem.value(w)))
    True
    """

    def __init__(
        self, X: ArrayLike, Y: ArrayLike, widths: Sequence[int], slope: float = 0.1
    ) -> None:
        self.X, self.Y = data_matrices(X, Y)
        self.slope = check_number("slope", slope, low=0, strict=True)
        if self.slope > 1:
            raise ValueError(f"`slope` must be in (0, 1]. Received: slope={slope!r}")
        self.size = float(np.linalg.norm(self.X))
        if self.size == 0:
            raise ValueError("`X` must not be all 0. Received: norm(X)=0.0")
        self.layers = Layers((len(self.X), *widths, len(self.Y)))
        self.depth = self.layers.depth
        if self.depth < 2:
            raise ValueError(f"`widths` must name a hidden layer. Received: widths={widths!r}")
        super().__init__(f"leaky-ReLU network of depth {self.depth}", self.layers.dimension, None)

    @property
    def f_star(self) -> float:
        """The level 0 that the constants refer to."""
        return 0.0

    def curvature_bound(self, alignment: float, imbalance: float = 0.0) -> DepthBound:
        r"""The function $h$ of the loss.

        Raises:
            GuardError: `alignment_in_range`, `imbalance_nonnegative`.
        """
        holds = 0 < alignment <= 1 + 1e-9
        require("alignment_in_range", holds, "0 < alignment <= 1", alignment=alignment)
        require("imbalance_nonnegative", imbalance >= 0, "imbalance >= 0", imbalance=imbalance)
        slope = 1.0 / (alignment * self.size)
        offset = float(np.linalg.norm(self.Y)) * slope
        return DepthBound(self.depth, self.size, offset, slope, imbalance)

    def certificate(
        self,
        alignment: float,
        imbalance: float = 0.0,
        level: float | None = None,
        rho: float = 1.0,
    ) -> Smoothness:
        r"""Constants where the network is at least so aligned and at most so imbalanced.

        Args:
            alignment: $\kappa$, in (0, 1]; `self.alignment(w)` measures it.
            imbalance: $D$; `self.imbalance(w)` measures it.
            level: The loss at which the bound touches $h$. Default: that of zero weights,
                $\frac12 \|Y\|_F^2$, or 1 if that is 0.
            rho: The exponent, at least $1 - 1/L$.

        Raises:
            GuardError: `alignment_in_range`; `imbalance_nonnegative`;
                `rho_at_least_1_minus_1_over_L`.
        """
        level = (0.5 * float(np.sum(self.Y**2)) or 1.0) if level is None else level
        return self.curvature_bound(alignment, imbalance).tangent(level, rho, 0.0)

    def kink_bound(self, alignment: float, loss: Numeric, imbalance: float = 0.0) -> Numeric:
        r"""A bound on the jump of the gradient where one pre-activation changes its sign.

        $(1 - a) \sqrt{L} s^{L-1} \max_n \|x_n\| \sqrt{2f}$ with $s^2 = p^{2/L} + D$.
        """
        bound, r = self.curvature_bound(alignment, imbalance), np.sqrt(2.0 * np.asarray(loss))
        s = np.sqrt((bound.offset + bound.slope * r) ** (2 / self.depth) + imbalance)
        longest = float(np.max(np.linalg.norm(self.X, axis=0)))
        return (1.0 - self.slope) * self.depth**0.5 * s ** (self.depth - 1) * longest * r

    def _norms(self, w):
        matrices = self.layers.split(*self._point(np.asarray(w, dtype="float64")))
        return np.stack([np.linalg.norm(matrix, axis=(-2, -1)) for matrix in matrices], axis=-1)

    def imbalance(self, w: Numeric) -> np.ndarray:
        """The largest difference of two layers' squared Frobenius norms, in NumPy."""
        squares = self._norms(w) ** 2
        return np.max(squares, axis=-1) - np.min(squares, axis=-1)

    def alignment(self, w: Numeric) -> np.ndarray:
        r"""$\|F_W(X)\|_F / (\|X\|_F \prod_i \|W_i\|_F)$ in NumPy, at most 1."""
        xp, w = self._point(np.asarray(w, dtype="float64"))
        outputs = np.linalg.norm(self._forward(xp, w)[2] + self.Y, axis=(-2, -1))
        with np.errstate(all="ignore"):
            ratio = outputs / (self.size * np.prod(self._norms(w), axis=-1))
        return np.where(np.isfinite(ratio), ratio, 0.0)

    def balance(self, w: Numeric) -> np.ndarray:
        """The same function with layers of equal Frobenius norms, in NumPy."""
        xp, w = self._point(np.asarray(w, dtype="float64"))
        norms = self._norms(w)
        with np.errstate(all="ignore"):
            # The logarithm, as a product of many norms may overflow.
            common = np.exp(np.mean(np.log(norms), axis=-1))
            factors = np.where(norms > 0, common[..., None] / norms, 0.0)
        matrices = self.layers.split(xp, w)
        scaled = [m * factors[..., i, None, None] for i, m in enumerate(matrices)]
        return self.layers.join(xp, scaled)

    def restrict(self, alignment: float) -> Callable[[np.ndarray], np.ndarray]:
        """A map into the balanced and so aligned set, for `certify`; other points become NaN."""

        def into_the_set(points):
            balanced = self.balance(points)
            inside = self.alignment(balanced) >= alignment
            return np.where(inside[:, None], balanced, np.nan)

        return into_the_set

    def signs(self, w: Numeric) -> np.ndarray:
        """The signs of all hidden pre-activations, `(..., k)`; they tell the pieces apart."""
        xp, w = self._point(np.asarray(w, dtype="float64"))
        slopes = self._forward(xp, w)[3]
        flat = [slope.reshape(*slope.shape[:-2], -1) for slope in slopes]
        return np.concatenate(flat, axis=-1) == 1.0

    def _forward(self, xp, w):
        """Matrices; each layer's inputs (..., d, m); residual; slopes (..., d, m)."""
        matrices, slopes = self.layers.split(xp, w), []
        inputs = [like(self.X, w) + xp.zeros_like(w[..., :1, None])]
        for matrix in matrices[:-1]:
            z = product(xp, matrix, inputs[-1])
            slopes.append(xp.where(z > 0, xp.ones_like(z), self.slope * xp.ones_like(z)))
            inputs.append(slopes[-1] * z)
        residual = product(xp, matrices[-1], inputs[-1]) - like(self.Y, w)
        return matrices, inputs, residual, slopes

    def _value(self, xp, w):
        return quadratic_loss(xp, self._forward(xp, w)[2])

    def _gradient(self, xp, w):
        matrices, inputs, signal, slopes = self._forward(xp, w)
        gradients = []
        for i in reversed(range(self.depth)):
            gradients.insert(0, xp.einsum("...bm,...cm->...bc", signal, inputs[i]))
            if i:
                signal = slopes[i - 1] * transposed_product(xp, matrices[i], signal)
        return self.layers.join(xp, gradients)

    def _hessian(self, xp, w):
        matrices, inputs, residual, slopes = self._forward(xp, w)
        samples = self.X.shape[1]
        # The derivative of each sample's output by each layer's, (..., m, d_L, d_i).
        above = [identity(xp, self.layers.widths[-1], w)[..., None, :, :]]
        above[0] = above[0] + xp.zeros((samples, 1, 1), dtype=w.dtype)
        for i in reversed(range(1, self.depth)):
            slope = xp.swapaxes(slopes[i - 1], -1, -2)[..., None, :]
            above.insert(0, xp.einsum("...mij,...jk->...mik", above[0], matrices[i]) * slope)
        blocks = {}
        for i in range(self.depth):
            between = None
            for j in range(i, self.depth):
                left = xp.einsum("...mab,...mad->...mbd", above[i], above[j])
                block = xp.einsum("...mbd,...cm,...em->...bcde", left, inputs[i], inputs[j])
                if j > i:
                    # The derivative of layer j's inputs by layer i's outputs, (..., m, e, b).
                    slope = xp.swapaxes(slopes[j - 1], -1, -2)[..., :, None]
                    if between is None:
                        between = slope * xp.eye(self.layers.widths[j], dtype=w.dtype)
                    else:
                        step = xp.einsum("...ij,...mjk->...mik", matrices[j - 1], between)
                        between = slope * step
                    signal = xp.einsum("...am,...mad->...md", residual, above[j])
                    outer = xp.einsum("...md,...cm->...mdc", signal, inputs[i])
                    block = block + xp.einsum("...mdc,...meb->...bcde", outer, between)
                blocks[i, j] = block
        return self.layers.assemble(xp, blocks)
