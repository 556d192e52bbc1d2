"""The pages about choosing a rule and a rate state what the studies' reports say."""

import json
import os
import re
from pathlib import Path

import pytest

from keras_h0h1 import LossAdaptiveLearningRate
from keras_h0h1.schedules import AutoC, auto_c

ROOT = Path(__file__).parents[2]
RULE = "auto-fraction=0.6-rho=2.0-min_steps=100.0-patience=300.0"
LIMIT_ALONE = "auto-fraction=1.0-rho=2.0-min_steps=100.0-patience=100.0"

pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") != "jax", reason="independent of the backend"
)


def page(name):
    """A page with its line breaks as spaces."""
    return " ".join((ROOT / "docs" / name).read_text("utf-8").split())


def tables(study):
    """Of a study: the two tables of the excess in percent, by method and workload."""
    text = (ROOT / f"benchmarks/quality/results/{study}/REPORT.md").read_text("utf-8")
    found = []
    for part in text.split("\n## ")[1:3]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        header, _, *rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
        workloads = header[1:-2]  # Without the mean and the worst.
        found.append(
            {
                method: dict(zip(workloads, map(float, values[: len(workloads)]), strict=True))
                for method, *values in rows
            }
        )
    return found


def span(values):
    """`-0.95 to +0.32`, as the pages write it."""
    return f"{min(values):+.2f} to {max(values):+.2f}%"


def test_the_development_workloads():
    text = page("which-rule.md")
    best, higher = tables("choose")
    assert f"is within {span(best[RULE].values())} of linear warm-up" in text
    assert f"and within {span(higher[RULE].values())} of it at a rate three times as high" in text
    behind = higher["none"]["dev_regression"]
    assert f"No warm-up is {behind:.0f}% behind on the regression there." in text
    # The limit alone: worse above the best rate of the deep network, equal on the other two.
    assert "The limit alone, without the loss, is worse than with it on the deep" in text
    assert higher[LIMIT_ALONE]["dev_mlp_deep"] > higher[RULE]["dev_mlp_deep"] + 1.0
    for table in (best, higher):
        for workload in ("dev_char_gpt", "dev_regression"):
            assert table[LIMIT_ALONE][workload] == pytest.approx(table[RULE][workload], abs=0.05)
    # The papers' form, in all nine forms.
    behind = {method: excess["dev_regression"] for method, excess in tables("develop")[1].items()}
    papers = [v for m, v in behind.items() if re.fullmatch(r"auto-fraction=[\d.]+-rho=[\d.]+", m)]
    assert len(papers) == 9 and "for nine pairs of share and exponent" in text
    assert f"{min(papers):.0f} to {max(papers):.0f}% behind, where no warm-up is" in text
    assert f"no warm-up is {behind['none']:.0f}% behind. The loss halves" in text


def test_the_other_workloads():
    text = page("which-rule.md")
    best, higher = tables("test")
    rule = best["self-tuned"]
    assert len(rule) == 6 and "On six workloads that were not used to choose it" in text
    assert f"within {span(rule.values())} of tuned linear warm-up" in text
    forgiven = [name for name, excess in higher["self-tuned"].items() if excess < 2.0]
    assert "as a tuned warm-up does on five of them" in text and len(forgiven) == 5
    # It is worse than no warm-up where the loss starts near its floor.
    assert rule["label_smoothing"] > best["none"]["label_smoothing"] + 0.5


def test_the_constants_are_those_of_the_library():
    text, rule = page("which-rule.md"), AutoC()
    assert f"rises by at most 1/{rule.min_steps:.0f} a step" in text
    assert f"at the latest {rule.patience:.0f} stalled steps after the {auto_c._FEWEST}th" in text
    rho = LossAdaptiveLearningRate(1.0).rho
    assert (
        f"(share {rule.fraction:g}, exponent {rho:g}, at least {rule.min_steps:.0f} steps" in text
    )
    assert f"an end after {rule.patience:.0f} stalled steps)" in text
    assert f"| `rho` | {rho:g}, or {LossAdaptiveLearningRate(1.0, C=1.0).rho:g} |" in text


def test_the_second_round():
    from benchmarks.quality import candidates, choice, studies  # They import JAX.
    from benchmarks.quality.methods import SECOND_RULE

    text, study = page("which-rule.md"), ROOT / "benchmarks/quality/results/choose-again"
    table = choice.ranking(study, studies.STUDIES["choose-again"].places)
    rows = re.findall(r"^\| (\S.*?) \|.*\| ([+-][\d.]+) \|$", table, re.MULTILINE)
    cost = {method: float(value) for method, value in rows}
    before, _, rule, _ = (method.name for method in candidates.CONFIRMED)
    assert f"from {cost[before]:.2f} to {cost[rule]:.2f}" in text
    constants = candidates.CONFIRMED[2].constants
    assert f"after {constants['patience']:.0f} stalled steps, and a retreat" in text
    assert f"rises by more than {constants['threshold']:g} standard deviations" in text
    assert SECOND_RULE == constants


def test_the_rule_where_the_data_change():
    """The page says how far the factor falls after the change, at the rates from 1e-3 to 1e-2."""
    trials = ROOT / "benchmarks/quality/results/situations/trials.jsonl"
    lowest = 1.0
    for record in map(json.loads, trials.read_text("utf-8").splitlines()):
        identity = record["identity"]
        rate, factors = identity["rate"], record["factors"]
        if (identity["workload"], record["name"]) == ("new_data", "self-tuned"):
            if 1e-3 <= rate <= 1e-2:
                change = len(factors) // 2
                lowest = min(lowest, *factors[change : int(0.79 * len(factors))])
    stated = re.search(r"the factor stays above (0\.\d\d)\.", page("evidence.md"))[1]
    assert float(stated) < lowest < float(stated) + 0.01


def test_how_far_off_a_suggested_rate_was():
    """On the workloads that the rule of `suggest` was not chosen on."""
    report = (ROOT / "benchmarks/results/SUGGEST.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w+)/\d \|.*\| \+([\d.]+)% \| \+[\d.]+% \|$", report, re.MULTILINE)
    excess = [(name, float(value)) for name, value in rows if not name.startswith("dev_")]
    near = [value for _, value in excess if value <= 1.0]
    post_ln = sorted(value for name, value in excess if name == "post_ln_transformer")
    rest = [v for name, v in excess if v > 1.0 and name != "post_ln_transformer"]
    text = page("tasks/train-my-model.md")
    assert f"within 1% of the lowest on {len(near)} of {len(excess)} measurements" in text
    assert f"{min(rest):g} to {max(rest):g}% above it on {len(rest)}" in text
    assert f"{post_ln[0]:g} and {post_ln[1]:g}% on a post-LN Transformer" in text
