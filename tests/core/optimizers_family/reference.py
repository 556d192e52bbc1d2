"""The optimizers in NumPy, in float64, written from the papers' formulas; and their golden table.

`python -m tests.core.optimizers_family.reference` writes the table anew, from this file alone.
"""

import json
import pathlib

import numpy as np

GOLDEN = pathlib.Path(__file__).with_name("golden.json")
STEPS = 10


class Problem:
    """Three losses of a matrix (3, 2) and a vector (2,), and their gradients by hand."""

    def __init__(self, name, seed=3):
        rng = np.random.default_rng(seed)
        self.name = name
        self.x = rng.normal(size=(24, 3))
        self.target = [rng.normal(size=(3, 2)), rng.normal(size=2)]
        # Below 2 over the largest rate; beyond it 1e-15 grows to 1 within 100 steps.
        self.curvature = [10.0 ** rng.uniform(-1, 0.15, size=(3, 2)), np.array([0.5, 1.25])]
        self.start = [rng.normal(size=(3, 2)), np.array([0.5, -1.0])]
        self.y = np.tanh(self.x @ self.target[0]) @ self.target[1]
        self.labels = (self.x[:, 0] + 0.5 * rng.normal(size=24) > 0).astype(int)

    def __call__(self, weights, step):
        """The loss and the gradients at `weights` of batch number `step`."""
        rows = np.arange(6) + 6 * (step % 4)
        return getattr(self, self.name)(weights, self.x[rows], rows)

    def quadratic(self, weights, x, rows):
        """Ill conditioned, with a floor of 0.3 that no bound knows of."""
        shift = [0.02 * np.sin(rows[0]) * np.ones_like(t) for t in self.target]
        gap = [w - t - s for w, t, s in zip(weights, self.target, shift, strict=True)]
        gradients = [h * g for h, g in zip(self.curvature, gap, strict=True)]
        return 0.3 + 0.5 * sum(
            np.sum(g * d) for g, d in zip(gap, gradients, strict=True)
        ), gradients

    def logistic(self, weights, x, rows):
        """Two-class cross-entropy."""
        matrix, bias = weights
        logits = x @ matrix + bias
        logits -= logits.max(axis=1, keepdims=True)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        n = len(rows)
        loss = -np.mean(np.log(p[np.arange(n), self.labels[rows]]))
        d = p.copy()
        d[np.arange(n), self.labels[rows]] -= 1.0
        return loss, [x.T @ d / n, d.sum(0) / n]

    def network(self, weights, x, rows):
        """Squared error of a network with one hidden layer; 0 at the minimum."""
        matrix, vector = weights
        hidden = np.tanh(x @ matrix)
        error = hidden @ vector - self.y[rows]
        d_hidden = np.outer(error, vector) * (1 - hidden**2)
        n = len(rows)
        return 0.5 * np.mean(error**2), [x.T @ d_hidden / n, hidden.T @ error / n]


PROBLEMS = ("quadratic", "logistic", "network")


def dot(first, second):
    """Inner product over all variables."""
    return sum(float(np.sum(a * b)) for a, b in zip(first, second, strict=True))


class PolyakSGD:
    def __init__(
        self, max_learning_rate=1.0, scaling=1.0, f_min=0.0, eps=0.0, variant="sps", c=1.0,
        weight_decay=0.0,
    ):  # fmt: skip
        vars(self).update({k: v for k, v in locals().items() if k != "self"})

    def step(self, weights, gradients, loss, raw=None):
        raw = gradients if raw is None else raw
        height = loss - self.f_min
        if self.variant == "sps+":
            height = max(height, 0.0)
        # As optax computes it: the gradient is scaled before its norm is taken.
        inside = height / (self.c * self.scaling**2 * dot(raw, raw) + self.eps)
        rate = self.scaling * min(inside, self.max_learning_rate)
        decayed = [w - self.weight_decay * rate * w for w in weights]
        return [w - rate * g for w, g in zip(decayed, gradients, strict=True)], rate


class ALIG:
    def __init__(
        self, max_learning_rate=0.1, momentum=0.0, eps=1e-5, f_min=0.0, weight_decay=0.0
    ):  # fmt: skip
        vars(self).update({k: v for k, v in locals().items() if k != "self"})
        self.velocity = None

    def step(self, weights, gradients, loss, raw=None):
        raw = gradients if raw is None else raw
        if self.velocity is None:
            self.velocity = [np.zeros_like(w) for w in weights]
        rate = max(loss - self.f_min, 0.0) / (dot(raw, raw) + self.eps)
        rate = min(rate, self.max_learning_rate)
        new = []
        for i, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            w = w - self.weight_decay * rate * w
            self.velocity[i] = self.momentum * self.velocity[i] - rate * g
            new.append(w - rate * g + self.momentum * self.velocity[i])
        return new, rate


class NGNM:
    def __init__(self, learning_rate=1.0, momentum=0.9, f_min=0.0, weight_decay=0.0):
        vars(self).update({k: v for k, v in locals().items() if k != "self"})
        self.moved = None

    def step(self, weights, gradients, loss, raw=None):
        raw = gradients if raw is None else raw
        if self.moved is None:
            self.moved = [np.zeros_like(w) for w in weights]
        c, f = self.learning_rate, loss - self.f_min
        gamma = c / (1 + c * dot(raw, raw) / (2 * f))
        new = []
        for i, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            self.moved[i] = -(1 - self.momentum) * gamma * g + self.momentum * self.moved[i]
            new.append(w - self.weight_decay * gamma * w + self.moved[i])
        return new, gamma


class NGN(NGNM):
    def __init__(self, learning_rate=1.0, f_min=0.0, weight_decay=0.0):
        super().__init__(learning_rate, 0.0, f_min, weight_decay)


class NGNMD:
    def __init__(
        self, learning_rate=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-8, f_min=0.0,
        weight_decay=0.0,
    ):  # fmt: skip
        vars(self).update({k: v for k, v in locals().items() if k != "self"})
        self.k, self.moved, self.v = 0, None, None

    def step(self, weights, gradients, loss, raw=None):
        if self.moved is None:
            self.moved = [np.zeros_like(w) for w in weights]
            self.v = [np.zeros_like(w) for w in weights]
        self.k += 1
        b2 = self.beta_2
        self.v = [b2 * v + (1 - b2) * g**2 for v, g in zip(self.v, gradients, strict=True)]
        d = [self.epsilon + np.sqrt(v / (1 - b2**self.k)) for v in self.v]
        scaled = [g / d for g, d in zip(gradients, d, strict=True)]
        c, f = self.learning_rate, loss - self.f_min
        gamma = c / (1 + c * dot(gradients, scaled) / (2 * f))
        new = []
        for i, (w, g) in enumerate(zip(weights, scaled, strict=True)):
            self.moved[i] = -(1 - self.beta_1) * gamma * g + self.beta_1 * self.moved[i]
            new.append(w - self.weight_decay * gamma * w + self.moved[i])
        return new, gamma


class MoMo:
    def __init__(
        self, learning_rate=1.0, beta=0.9, lower_bound=0.0, adapt_lower_bound=False,
        weight_decay=0.0,
    ):  # fmt: skip
        vars(self).update({k: v for k, v in locals().items() if k != "self"})
        self.k, self.bound, self.loss, self.product = 0, lower_bound, 0.0, 0.0

    def begin(self, gradients):
        """The averages before the first step, its momentum, and the correction."""
        self.d = getattr(self, "d", [np.zeros_like(g) for g in gradients])
        self.k += 1
        return (0.0 if self.k == 1 else self.beta), 1.0

    def preconditioner(self, gradients):
        return [np.ones_like(g) for g in gradients]

    def step(self, weights, gradients, loss, raw=None):
        beta, correction = self.begin(gradients)
        D = self.preconditioner(gradients)
        self.d = [beta * d + (1 - beta) * g for d, g in zip(self.d, gradients, strict=True)]
        self.loss = beta * self.loss + (1 - beta) * loss
        self.product = beta * self.product + (1 - beta) * dot(gradients, weights)
        scaled = [d / D for d, D in zip(self.d, D, strict=True)]
        norm, iprod = dot(self.d, scaled), dot(self.d, weights)
        grow = 1 + self.learning_rate * self.weight_decay
        if self.adapt_lower_bound:
            cap = grow * (self.loss - self.product) + iprod
            if cap < grow * correction * self.bound:
                self.bound = max(cap / (2 * grow * correction), self.lower_bound)
        height = grow * (self.loss - correction * self.bound - self.product) + iprod
        tau = min(self.learning_rate / correction, max(height, 0.0) / norm)
        if self.adapt_lower_bound:
            model = self.loss + iprod - self.product - 0.5 * tau * norm
            self.bound = max(model / correction, self.lower_bound)
        new = [w / grow - tau * s for w, s in zip(weights, scaled, strict=True)]
        return new, tau * correction


class MoMoAdam(MoMo):
    def __init__(
        self, learning_rate=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-8, lower_bound=0.0,
        adapt_lower_bound=False, weight_decay=0.0,
    ):  # fmt: skip
        super().__init__(learning_rate, beta_1, lower_bound, adapt_lower_bound, weight_decay)
        self.beta_2, self.epsilon = beta_2, epsilon

    def begin(self, gradients):
        super().begin(gradients)
        return self.beta, 1 - self.beta**self.k

    def preconditioner(self, gradients):
        v, b2 = getattr(self, "v", [np.zeros_like(g) for g in gradients]), self.beta_2
        self.v = [b2 * v + (1 - b2) * g**2 for v, g in zip(v, gradients, strict=True)]
        return [self.epsilon + np.sqrt(v / (1 - b2**self.k)) for v in self.v]


def trajectory(optimizer, problem, steps=STEPS):
    """The losses, the effective rates and the final weights."""
    weights, losses, rates = problem.start, [], []
    for step in range(steps):
        loss, gradients = problem(weights, step)
        weights, rate = optimizer.step(weights, gradients, loss)
        losses.append(loss)
        rates.append(rate)
    return losses, rates, weights


def table():
    """The golden table: every case on every problem, with and without weight decay."""
    from tests.core.optimizers_family.cases import CASES, DECAY

    rows = {}
    for name, case in CASES.items():
        for decay in (0.0, DECAY):
            for problem in PROBLEMS:
                optimizer = case.reference(**case.arguments, weight_decay=decay)
                losses, rates, weights = trajectory(optimizer, Problem(problem))
                rows[f"{name} | {problem} | {decay}"] = {
                    "losses": losses,
                    "rates": rates,
                    "weights": [w.tolist() for w in weights],
                }
    return rows


if __name__ == "__main__":
    lines = [f"{json.dumps(key)}: {json.dumps(row)}" for key, row in table().items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
