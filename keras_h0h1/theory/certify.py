r"""A search for a point where claimed constants fail.

The inequality $\|\nabla^2 f(w)\| \le H_0 + H_1 (f(w) - f^*)^\rho$ is violated where the *ratio* of
its two sides is above 1. Three searches look for the largest ratio, each starting from what the one
before it found:

1. samples, at distances from the centre spread evenly on a logarithmic scale;
2. points along segments between the samples and through the centre, and beyond their ends;
3. an ascent on the ratio from the worst points: random steps whose length adapts, which needs no
   third derivative and does not mind kinks.

A violation found is a disproof. None found is evidence, not a proof.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_h0h1._types import ArrayLike
from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.theory._autodiff import model_function, value_and_hessian
from keras_h0h1.theory.problems.base import Problem
from keras_h0h1.theory.smoothness import Smoothness

if TYPE_CHECKING:
    import keras

# A true equality may come out above 1 by rounding alone: an eigenvalue's relative error is near
# 1e-15 times the dimension, and the loss loses digits to cancellation near the minimum.
TOLERANCE = 1e-7


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What `find_violation` found.

    Attributes:
        violated: Whether the ratio is above 1, by more than rounding explains.
        ratio: The largest curvature divided by its bound.
        point: Where, a NumPy vector.
        loss: The loss there.
        curvature: The curvature there.
        bound: The claimed bound there.
        search: Which search found it: `"samples"`, `"segments"` or `"ascent"`.
        evaluations: How many points were evaluated.
        smoothness: The constants that were tested.
    """

    violated: bool
    ratio: float
    point: np.ndarray
    loss: float
    curvature: float
    bound: float
    search: str
    evaluations: int
    smoothness: Smoothness

    def __str__(self) -> str:
        verdict = "VIOLATED" if self.violated else "no violation found"
        return (
            f"{verdict}: curvature {self.curvature:.6g} against {self.bound:.6g} "
            f"(ratio {self.ratio:.6g}) at loss {self.loss:.6g}, found by {self.search} "
            f"among {self.evaluations} points"
        )


def find_violation(
    problem: Problem | Callable,
    smoothness: Smoothness | None = None,
    *,
    dimension: int | None = None,
    center: ArrayLike | None = None,
    radius: float = 5.0,
    samples: int = 512,
    segments: int = 32,
    ascent_steps: int = 60,
    restrict: Callable | None = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> Certificate:
    r"""Looks for a point where the constants fail.

    Args:
        problem: A `Problem` (evaluated in NumPy float64, in batches), or a function of one tensor
            `(n,)` that returns a scalar tensor (differentiated by the active backend, one point at
            a time, in `keras.config.floatx()`).
        smoothness: The constants to test; by default those of the problem.
        dimension: $n$; needed for a function without `center`.
        center: Where to look around; by default the first minimiser, or 0.
        radius: The largest distance of a sample from the centre. Segments and the ascent go
            further.
        samples: Number of samples.
        segments: Number of segments, of 16 points each.
        ascent_steps: Number of steps of the ascent.
        restrict: A function from points `(m, n)` to points `(m, n)` that keeps the search on a
            subset, such as a balanced line. Default: the whole space.
        tolerance: How far above 1 the ratio may be by rounding. In float32 take 1e-3.
        seed: Of the random numbers. The same seed gives the same result.

    Returns:
        A `Certificate` with the worst point.

    Raises:
        ValueError: If no constants are known, the dimension is missing, or no point has a finite
            loss.

    Example: constants that hold on the balanced line $u = v$ fail off it.

    >>> from keras_h0h1.theory.problems import ScalarFactorisation
    >>> problem = ScalarFactorisation()
    >>> claimed = problem.balanced_smoothness()
    >>> line = lambda w: w[:, :1].repeat(2, axis=1)
    >>> find_violation(problem, claimed, restrict=line).violated
    False
    >>> find_violation(problem, claimed).violated
    True
    """
    smoothness = getattr(problem, "smoothness", None) if smoothness is None else smoothness
    if smoothness is None:
        raise ValueError(f"There are no constants to test. Received: smoothness={smoothness!r}")
    if dimension is None:
        dimension = getattr(problem, "dimension", None) if center is None else len(center)
    if dimension is None:
        raise ValueError("A function needs `dimension` or `center`. Received: dimension=None")
    check_integer("dimension", dimension, low=1)
    radius = check_number("radius", radius, low=0, strict=True)
    for name, count in (("samples", samples), ("segments", segments), ("steps", ascent_steps)):
        check_integer(name, count, low=2 if name == "samples" else 0)
    if center is None:
        known = getattr(problem, "minimisers", None)
        center = np.zeros(dimension) if known is None else known[0]
    search = _Search(_evaluator(problem), smoothness, restrict, np.random.default_rng(seed))

    center = np.asarray(center, dtype="float64")
    with np.errstate(all="ignore"):  # points may lie where the function overflows
        cloud = search.add("samples", _cloud(search.random, center, radius, samples))
        if segments:
            search.add("segments", _segments(search.random, center, cloud, segments))
        search.ascend(ascent_steps, center, radius)
    return search.certificate(tolerance)


def find_model_violation(
    model: "keras.Model",
    loss: "str | keras.losses.Loss",
    x: ArrayLike,
    y: ArrayLike,
    smoothness: Smoothness,
    **options: Any,
) -> Certificate:
    r"""Looks for weights where constants claimed for a Keras model's loss on data fail.

    The Hessian is dense, so this is for small networks: time and memory grow with the square of
    the number of weights. The search is around the present weights, which stay as they are.

    Args:
        model: A built Keras model.
        loss: A Keras loss or its name; the model's regularisers are added.
        x: Inputs.
        y: Targets.
        smoothness: The constants to test.
        **options: Of `find_violation`. The defaults here suit a search point by point:
            `samples=64, segments=4, ascent_steps=10, radius=3.0`, and `tolerance=1e-3` in float32.

    Returns:
        A `Certificate`; its `point` is the flat vector of trainable weights.

    Example: a linear model has a constant Hessian, here $2 \cdot \frac12 (1 + 4) = 5$.

    >>> import keras
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    >>> x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [0.0]])
    >>> for H0 in (4.9, 5.1):
    ...     print(find_model_violation(model, "mse", x, y, Smoothness(H0, 0.0)).violated)
    True
    False
    """
    import keras

    function, weights = model_function(model, loss, x, y)
    defaults: dict[str, Any] = {
        "samples": 64,
        "segments": 4,
        "ascent_steps": 10,
        "radius": 3.0,
        "center": weights,
    }
    if keras.config.floatx() != "float64":
        defaults["tolerance"] = 1e-3
    return find_violation(function, smoothness, **(defaults | options))


def _evaluator(problem):
    """A function from points (m, n) to their losses and curvatures, each (m,)."""
    if isinstance(problem, Problem):

        def evaluate(points):
            hessians = problem.hessian(points)
            usable = np.all(np.isfinite(hessians), axis=(-1, -2))
            curvature = np.full(len(points), np.nan)
            # The definition, not `problem.curvature`, so that a wrong closed form shows.
            eigenvalues = np.linalg.eigvalsh(hessians[usable])
            curvature[usable] = np.max(np.abs(eigenvalues), axis=-1, initial=0.0)
            return problem.value(points), curvature

        return evaluate

    single = value_and_hessian(problem)

    def evaluate(points):
        losses, curvatures = [], []
        for point in points:
            loss, hessian = single(point)
            finite = np.all(np.isfinite(hessian))
            losses.append(float(loss))
            curvatures.append(float(np.linalg.norm(hessian, 2)) if finite else np.nan)
        return np.array(losses), np.array(curvatures)

    return evaluate


def _cloud(random, center, radius, samples):
    n, (axes, scaled) = len(center), (samples // 4, samples // 2)
    directions = random.normal(size=(samples, n))
    # A quarter along the axes, where curvature is often largest and where a random direction never
    # points; a quarter with a scale of its own for each coordinate, as layers of a network have.
    directions[:axes] = np.eye(n)[random.integers(n, size=axes)] * directions[:axes, :1]
    directions[axes:scaled] *= 10.0 ** random.uniform(-4, 0, size=(scaled - axes, n))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # Four decades below the radius: violations sit near the minimum as often as far away.
    distances = radius * 10.0 ** random.uniform(-4, 0, size=(samples, 1))
    return np.concatenate([center[None], center + distances * directions])


def _segments(random, center, cloud, count):
    ends = cloud[random.integers(len(cloud), size=(count, 2))]
    ends[::2, 0] = center
    t = np.linspace(-0.5, 2.0, 16)[:, None, None]
    return ((1 - t) * ends[:, 0] + t * ends[:, 1]).reshape(-1, len(center))


class _Search:
    """The points seen so far, worst first."""

    keep = 8  # how many of the worst points the ascent starts from
    children = 8  # how many steps it tries from each

    def __init__(self, evaluate, smoothness, restrict, random):
        self.evaluate, self.smoothness = evaluate, smoothness
        self.restrict, self.random = restrict, random
        self.worst, self.evaluations = [], 0

    def add(self, name, points):
        """Evaluates points and remembers the worst."""
        points = points if self.restrict is None else self.restrict(points)
        ratios, losses, curvatures = self._ratios(points)
        self.evaluations += len(points)
        for i in np.argsort(-ratios)[: self.keep]:
            if np.isfinite(ratios[i]):
                entry = (ratios[i], points[i], losses[i], curvatures[i], name)
                self.worst.append(entry)
        self.worst = sorted(self.worst, key=lambda entry: -entry[0])[: self.keep]
        return points

    def ascend(self, steps, center, radius):
        if not self.worst:
            return
        points = np.array([entry[1] for entry in self.worst])
        best = np.array([entry[0] for entry in self.worst])
        lengths = np.full(len(points), 0.1 * radius)
        for _ in range(steps):
            noise = self.random.normal(size=(self.children, *points.shape))
            # Half of the steps move one coordinate in two, which valleys along axes reward; half
            # are in proportion to the coordinates, which may have very different scales.
            noise[::2] *= self.random.random(noise[::2].shape) < 0.5
            noise[: self.children // 2] *= np.abs(points - center) / radius
            trials = points + lengths[:, None] * noise
            flat = self.add("ascent", trials.reshape(-1, points.shape[1]))
            ratios = self._last.reshape(self.children, -1)
            ratios = np.where(np.isfinite(ratios), ratios, -np.inf)
            chosen, column = np.argmax(ratios, axis=0), np.arange(len(points))
            better = ratios[chosen, column] > best
            moved = flat.reshape(trials.shape)[chosen, column]
            points = np.where(better[:, None], moved, points)
            best = np.where(better, ratios[chosen, column], best)
            # Longer after a success, shorter after a failure; in balance at one success in three.
            lengths *= np.where(better, 1.6, 0.8)

    def _ratios(self, points):
        losses, curvatures = self.evaluate(points)
        bounds = self.smoothness.bound(losses)
        ratios = curvatures / bounds
        # A curvature above a bound of 0 is a violation; 0/0 is none, nor is anything that small,
        # where numbers have lost their digits.
        ratios = np.where((curvatures > 0) & (bounds == 0), np.finfo("float64").max, ratios)
        ratios = np.where(curvatures < 1e-290, 0.0, ratios)
        ratios = np.where(np.isfinite(losses) & np.isfinite(curvatures), ratios, -np.inf)
        self._last = ratios
        return ratios, losses, curvatures

    def certificate(self, tolerance):
        if not self.worst:
            raise ValueError("No point had a finite loss and Hessian. Received: ratio=nan")
        ratio, point, loss, curvature, name = self.worst[0]
        return Certificate(
            violated=bool(ratio > 1.0 + tolerance),
            ratio=float(ratio),
            point=point,
            loss=float(loss),
            curvature=float(curvature),
            bound=float(self.smoothness.bound(loss)),
            search=name,
            evaluations=self.evaluations,
            smoothness=self.smoothness,
        )
