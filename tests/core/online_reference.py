"""The rule of estimated constants, written a second time: Python floats, one case at a time."""

import itertools
import math

import numpy as np

EPS = 2.0**-52


class Reference:
    """Judges, corrects and answers `(rate, taken_back)` for each loss and gradient norm.

    Args:
        f_star: The level of the gap.
        rho: Its exponent.
        H0: A number, or `None` to estimate it.
        H1: Likewise.
        noisy: Whether it starts with the rule for mini-batches, without the safeguard.
    """

    def __init__(self, f_star=0.0, rho=1.0, H0=None, H1=None, noisy=False):
        self.f_star, self.rho, self.safeguard, self.noisy = f_star, rho, not noisy, noisy
        self.fixed = (H0 is not None, H1 is not None)
        self.H = [H0 or 0.0, H1 or 0.0]
        self.last = None  # loss, norm and rate of the last step
        self.restored = False

    def _agree(self, x, curvature):
        (h0, h1), bound = self.H, self.H[0] + self.H[1] * x
        if self.fixed[1]:
            self.H[0] = max(curvature - h1 * x, h0 / 2)
        elif self.fixed[0]:
            if x > 0:
                self.H[1] = max((curvature - h0) / x, h1 / 2)
        else:
            # (1, 1) projected onto the line a q0 + b q1 = L, where q0, q1 multiply H0, H1.
            a, b = h0, h1 * x
            step = (curvature - bound) / (a * a + b * b)
            self.H = [h0 * (1 + step * a), h1 * (1 + step * b)]

    def _first(self, loss, norm):
        size = max(abs(loss), abs(self.last[0] if self.last else 0.0))
        delta = max(loss - self.f_star, 0.0)
        if not self.noisy and delta <= 32 * EPS * size:
            delta = 1e-3 * max(1.0, abs(loss))
        if delta > 0:
            half = norm**2 / (4 * delta)
            self.H = [half, half * (self.rho + 1) / delta**self.rho]

    def __call__(self, loss, norm):
        finite = math.isfinite(loss) and math.isfinite(norm)
        stepped = self.last is not None and not self.restored and self.last[1] * self.last[2] > 0
        if not finite:
            if self.safeguard and stepped:
                self._punish(math.inf)
            self.restored = self.safeguard and (stepped or self.restored)
            return 0.0, self.restored
        size = max(abs(loss), abs(self.last[0] if self.last else 0.0))
        if stepped and not self.noisy:
            f, g, rate = self.last
            curvature = 2 * (loss - f + rate * g * g) / (rate * g) ** 2
            if loss > f + 4 * EPS * size:
                self._punish(curvature)
                self.restored = True
                return 0.0, True
            if rate * g * g > 32 * EPS * size:
                x = max(f - self.f_star, 0.0) ** self.rho
                self._agree(x, max(curvature, 0.5 * (self.H[0] + self.H[1] * x)))
        if self.restored and not self.noisy and abs(loss - self.last[0]) > math.sqrt(EPS) * size:
            self.noisy = True
            if self.fixed == (False, False):
                self._first(loss, norm)
        elif self.fixed == (False, False) and sum(self.H) == 0:
            self._first(loss, norm)
        delta = max(loss - self.f_star, 0.0)
        x = delta**self.rho / (self.rho + 1)
        bound = self.H[0] + self.H[1] * x
        if delta > 32 * EPS * size and (bound > 0 or True in self.fixed):
            least = norm**2 / (2 * delta)
            self._agree(x, max(least, 0.5 * bound if self.noisy else bound))
        if self.noisy:
            bound = 2 * (self.H[0] + self.H[1] * x) if delta > 0 else 0.0
        else:
            bound = self.H[0] + self.H[1] * delta**self.rho
        rate = 1 / bound if bound > 0 else 0.0
        self.last, self.restored = (loss, norm, rate), False
        return rate, False

    def _punish(self, curvature):
        x = max(self.last[0] - self.f_star, 0.0) ** self.rho
        bound = self.H[0] + self.H[1] * x
        self._agree(x, min(max(curvature, 2 * bound), 10 * bound))


def descend(problem, start, rule, epsilon=1e-6, max_steps=400):
    """Gradient descent by `rule(loss, norm)` in NumPy; weights that were taken back are restored.

    Returns:
        `(steps to the gap or -1, losses, rates, the last point)`.
    """
    floor = problem.f_star if problem.minimum is None else problem.minimum
    w, copy, losses, rates = start, start, [], []
    with np.errstate(all="ignore"):
        for k in range(max_steps):
            loss, gradient = float(problem.value(w)), problem.gradient(w)
            losses.append(loss)
            if loss - floor <= epsilon:
                return k, losses, rates, w
            rate, back = rule(loss, float(np.linalg.norm(gradient)))
            rates.append(rate)
            if back:
                w = copy
            elif rate > 0:
                w, copy = w - rate * gradient, w
    return -1, losses, rates, w


def rises_in_a_row(losses) -> int:
    """The longest run of losses that rise by more than rounding; one not finite is the highest."""
    longest = run = 0
    for before, after in itertools.pairwise(losses):
        if not math.isfinite(before):
            rose = not math.isfinite(after)
        else:
            rose = not after <= before + 4 * EPS * max(abs(before), abs(after))
        run = run + 1 if rose else 0
        longest = max(longest, run)
    return longest
