"""One or more problems of every kind, and random instances of them."""

import numpy as np

from keras_h0h1.theory import problems


def every_kind():
    """`{name: problem}` with every class and every operation."""
    random = np.random.default_rng(3)
    signs = np.where(random.normal(size=20) > 0, 1.0, -1.0)
    cosh = problems.Cosh(1.0, 2.0)
    return {
        "cosh": problems.Cosh(2.0, 3.0),
        "cosh 3d": problems.Cosh(2.0, 3.0, dimension=3),
        "separation": problems.Separation(0.1),
        "power": problems.NormPower(4.5, dimension=3),
        "cube": problems.NormPower(3.0),
        "double well": problems.DoubleWell(),
        "double well, power": problems.DoubleWell("power"),
        "quadratic": problems.Quadratic([4.0, 0.5, 1.0]),
        "hard family": problems.HardFamily(2.0, 3.0),
        "hard function": problems.HardFunction(3.0),
        "exponentials": problems.ExponentialMean(random.normal(size=(6, 3)), mu=0.2),
        "logistic": problems.Logistic(random.normal(size=(20, 3)), signs),
        "logistic, separable": problems.Logistic(random.normal(size=(3, 5)), signs[:3]),
        "two layers": problems.TwoLayerNet(random.normal(size=(7, 3)), signs[:7], 2, 0.3, 0.7),
        "chain": problems.LinearChain(4, x=1.5, y=2.0),
        "factorisation": problems.ScalarFactorisation(1.5, 2.0),
        "affine": problems.Cosh(dimension=3).affine(random.normal(size=(3, 2)), np.ones(3)),
        "sum": cosh.affine([[1.0]], [1.0]) + problems.HardFamily(2.0, 1.0),
        "mean with ridge": problems.mean([cosh, cosh.affine([[2.0]], [-1.0])]).ridge(0.3),
        "scaled and shifted": 3.0 * problems.Separation(0.2) + 1.0,
    }


def random_instance(random):
    """A random problem, of a random kind, with constants that hold everywhere."""
    H0, H1 = np.exp(random.uniform(-1.5, 1.5, size=2))
    n = int(random.integers(1, 5))
    directions = random.normal(size=(int(random.integers(2, 7)), n))
    signs = random.choice([-1.0, 1.0], size=len(directions))
    ridges = 10.0 ** random.uniform(-2, 3, size=2)
    kinds = [
        lambda: problems.Cosh(H0, H1, dimension=n),
        lambda: problems.Separation(min(H0 / 5, 1.0)),
        lambda: problems.NormPower(2.2 + 3 * H0, dimension=n),
        lambda: problems.DoubleWell(random.choice(["affine", "power"])),
        lambda: problems.HardFamily(H0, H1),
        lambda: problems.HardFunction(H0),
        lambda: problems.ExponentialMean(directions, mu=H0),
        lambda: problems.Logistic(directions, signs),
        lambda: problems.TwoLayerNet(10 * H1 * directions, signs, 2, *ridges),
        lambda: problems.Cosh(H0, H1, n).affine(random.normal(size=(n, n)), random.normal(size=n)),
        lambda: problems.Cosh(H0, H1, n).affine(random.normal(size=(n, 2)), random.normal(size=n)),
        lambda: (
            problems.Cosh(H0, H1).affine([[1.0]], [random.normal()])
            + problems.HardFamily(H1, H0).affine([[1.5]], [random.normal()])
        ),
        lambda: problems.mean(
            [problems.Cosh(H0, h, n).affine(np.eye(n), random.normal(size=n)) for h in (H1, 2.0)]
        ),
        lambda: problems.Cosh(H0, H1, n).affine(np.eye(n), random.normal(size=n)).ridge(H1),
        lambda: H1 * problems.Logistic(directions, signs).ridge(H0) + 1.0,
    ]
    return kinds[int(random.integers(len(kinds)))]()
