"""The rules that the study `develop` chooses from, round by round, and the chosen one."""

from benchmarks.quality.methods import LINEAR, NONE, Method

ROUND_1: tuple[Method, ...] = tuple(
    Method("auto", {"fraction": fraction, "rho": rho})
    for rho in (1.0, 2.0, 3.0)
    for fraction in (0.4, 0.5, 0.6)
)
"""Fraction and exponent, with no end of warm-up but that of the loss."""

_BEST_OF_ROUND_1 = ({"fraction": 0.6, "rho": 2.0}, {"fraction": 0.5, "rho": 2.0})

ROUND_2: tuple[Method, ...] = (
    *(
        Method("auto", {**best, "min_steps": steps, "patience": patience})
        for best in _BEST_OF_ROUND_1
        for patience in (100.0, 300.0)
        for steps in (30.0, 100.0, 300.0)
    ),
    *(
        Method("auto", {"fraction": 1.0, "rho": 2.0, "min_steps": steps, "patience": 100.0})
        for steps in (30.0, 100.0, 300.0)
    ),
)
"""A limit on the rise and an end of warm-up, for the best two of round 1; and as a control the
limit alone: with a fraction of 1 the loss only counts where it is above the first one."""

ROUND_3: tuple[Method, ...] = (
    *(
        Method("auto", {"fraction": 0.6, "rho": 2.0, "min_steps": steps, "patience": patience})
        for steps, patience in ((30.0, 100.0), (30.0, 300.0), (100.0, 300.0))
    ),
    Method("auto", {"fraction": 1.0, "rho": 2.0, "min_steps": 100.0, "patience": 100.0}),
)
"""The best three of round 2, with seeds that rounds 1 and 2 did not see. The third had the cost of
the same with patience 100; the longer patience was taken. The last is the best of the controls."""

_DEFAULT = {"fraction": 0.6, "rho": 2.0, "min_steps": 100.0, "patience": 300.0}

ROUND_4: tuple[Method, ...] = (
    *(
        Method("retreating", {**_DEFAULT, "patience": patience})
        for patience in (300.0, 100.0, 30.0)
    ),
    *(
        Method("retreating", {**_DEFAULT, "patience": 100.0, "threshold": z, "recovery": steps})
        for z in (2.0, 4.0)
        for steps in (300.0, 3000.0)
    ),
    Method(
        "retreating",
        {**_DEFAULT, "fraction": 1.0, "patience": 100.0, "threshold": 2.0, "recovery": 300.0},
    ),
)
"""What follows from the study `evidence`: an earlier end of warm-up, and a retreat where the loss
rises. The first is the library's default; the last, a control, has the retreat alone."""

ROUND_5: tuple[Method, ...] = tuple(
    Method(
        "retreating",
        {**_DEFAULT, "patience": 100.0, "threshold": z, "recovery": steps, "shrink": shrink},
    )
    for z, steps, shrink in ((2.5, 1000.0, 25.0), (3.0, 3000.0, 25.0), (3.0, 3000.0, 10.0))
)
"""Retreats that leave the rate alone where the loss is mere noise about a constant."""

CONFIRMED: tuple[Method, ...] = (ROUND_4[0], ROUND_4[1], ROUND_4[6], ROUND_5[1])
"""The default, the earlier end of warm-up alone, the retreat that was taken for the one of the
least cost while round 5 was incomplete, and the one that has it."""

SELF_TUNED: Method | None = Method("self-tuned")
"""The rule of the study `test`: `LossAdaptiveLearningRate(base)` with nothing else. Its defaults
are the winner of round 3 (`fraction` 0.6, `rho` 2, `min_steps` 100, `patience` 300), set before the
study was run."""

_NO_RULE = 1e30
"""A `C` that no loss reaches: the factor is the guard's alone."""

SPIKES: tuple[Method, ...] = (
    NONE,
    LINEAR[2],
    *(Method("self-tuned", {"C": _NO_RULE, "spike_threshold": z}) for z in (3.0, 6.0)),
    Method("self-tuned", {"C": "auto"}),
    Method("self-tuned", {"C": "auto", "spike_threshold": 3.0}),
)
"""The study `spikes`: clipping alone, the guard alone, the rule, and both."""
