"""The report of the evidence: planted differences are found, and intervals are scipy's."""

import dataclasses
import math
import re

import keras
import numpy as np
import pytest
import scipy.stats

if keras.backend.backend() != "jax":
    pytest.skip("the trials of the study run on JAX alone", allow_module_level=True)

from benchmarks.quality import __main__ as command
from benchmarks.quality import evidence, records, rounds
from benchmarks.quality.evidence_report import summary
from benchmarks.quality.evidence_report.rows import SELF_TUNED
from benchmarks.quality.evidence_report.tables import verdict
from benchmarks.quality.measures import Measures, bootstrap_interval, over_workloads, t_interval
from benchmarks.quality.methods import LINEAR, NONE, PAPER, UNTUNED, Method
from benchmarks.quality.transfer import TransferStudy
from benchmarks.quality.trial import Trial
from benchmarks.quality.workload import load_workload
from recipes.common.command_line.errors import InputError

NAMES = ("vit", "vae")
TRIVIAL = 4.0
PLANTED = {"none": 0.04, "linear-10": 0.01, "untuned-linear": 0.03, "self-tuned": -0.02}
PLANTED |= {"linear-20": -0.01, PAPER[1].name: -0.015}
STUDY = dataclasses.replace(evidence.EVIDENCE, workloads=NAMES, others=())


def _loss(name, method, rate, seed):
    """A parabola over the rate, with a noise of the seed that all methods share, and their own."""
    grid = STUDY.grid(name, NONE)
    shared = np.random.default_rng([*map(ord, name), seed]).normal()
    own = np.random.default_rng([*map(ord, name), seed, *map(ord, method.name)]).normal()
    planted = PLANTED.get(method.name, 0.05)
    place = grid.index(rate) - 3
    return 1.0 + planted + 0.05 * place**2 + 0.1 * shared + 0.001 * own


def _write(folder, name, method, rate, seed, loss, **more):
    trial = Trial(name, method, rate, seed)
    record = {
        "identity": trial.identity(),
        "name": method.name,
        "final_loss": loss,
        "initial_loss": 5.0,
        "trivial_loss": TRIVIAL,
        "diverged": not math.isfinite(loss),
        "losses_mean": [5.0 - 0.02 * k for k in range(200)],
        "seconds": 2.0,
        "processor_seconds": 2.0,
        "environment": {"processor": "p", "versions": {"keras": "1"}},
        **more,
    }
    records.write(records.path_of(trial, folder), record)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of all rounds, written as a run would: each round after the files of the last."""
    folder = tmp_path_factory.mktemp("results") / "evidence"
    for make in (STUDY.round_a, STUDY.round_b, STUDY.round_c):
        given = (NAMES,) if make == STUDY.round_a else (NAMES, rounds.Results(folder))
        for name, method, rate, seed in make(*given):
            _write(folder, name, method, rate, seed, _loss(name, method, rate, seed))
    return folder


@pytest.fixture(scope="module")
def measures(folder):
    return Measures(STUDY, folder)


def test_intervals_are_scipys():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 5))
    found = t_interval(list(one - other))
    low, high = scipy.stats.ttest_rel(one, other).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    values = rng.normal(size=10)
    found = bootstrap_interval(values)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, random_state=1
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03)
    assert over_workloads([-1000.0, 0.0]).mean == -10.0 and over_workloads([]) is None
    # Resampling two numbers says nothing about a third.
    assert str(over_workloads([1.0, 2.0])) == "+1.50"
    assert verdict(over_workloads([1.0])) == "no difference shown"


def test_planted_differences_are_found(measures):
    for name in NAMES:
        grid = STUDY.grid(name, NONE)
        assert measures.pick(name, LINEAR) == (LINEAR[2], grid[3])
        assert measures.pick(name, PAPER) == (PAPER[1], grid[3])
        for group, reference, planted in (
            (PAPER, LINEAR, -0.005),
            (SELF_TUNED, (UNTUNED,), -0.05),
            (SELF_TUNED, (LINEAR[1],), -0.03),
        ):
            pair = (measures.pick(name, group)[0], measures.pick(name, reference)[0])
            one, other = (
                np.array([_loss(name, method, grid[3], seed) for seed in range(5)])
                for method in pair
            )
            found = measures.compare(name, group, reference)
            low, high = scipy.stats.ttest_rel(one, other).confidence_interval(0.95)
            unit = other.mean() / 100
            assert (found.low, found.high) == pytest.approx((low / unit, high / unit))
            assert found.low < 100 * planted / other.mean() < found.high
            assert found.count == 5
            means = [
                np.mean([_loss(name, method, grid[4], seed) for seed in range(5)])
                for method in pair
            ]
            above = measures.above(name, group, reference)
            assert above.mean == pytest.approx(100 * (means[0] / means[1] - 1))


def test_sensitivity_stable_rate_and_divergences(measures):
    name = "vit"
    grid, curve = STUDY.grid(name, NONE), measures.curve(name, (NONE,))
    assert [rate for rate, _ in curve] == list(grid)
    rates, values = np.log10(grid), np.array([value for _, value in curve])
    lowest = min(_loss(name, m, r, 0) for m in STUDY.methods_of(name) for r in grid)
    expected = np.trapezoid(values - values.min(), rates) / (rates[-1] - rates[0])
    found = measures.sensitivity(name, (NONE,))
    assert found == pytest.approx(expected / (TRIVIAL - lowest))
    assert measures.largest_stable_rate(name, (NONE,)) == grid[-1]
    assert measures.divergences((NONE,)) == (0, 14)
    excess = measures.too_high(name, SELF_TUNED, LINEAR, 1)
    best = min(_loss(name, m, grid[4], 0) for m in LINEAR)
    ours = _loss(name, Method("self-tuned"), grid[4], 0)
    assert excess == pytest.approx(100 * (ours / best - 1))


def test_steps_to_a_target(folder, tmp_path):
    measures = Measures(STUDY, folder)
    # The courses fall by 0.02 a point, from 5.
    course = np.array([5.0 - 0.02 * k for k in range(200)])
    target = course[-20:].mean() + 0.05 * (course[:10].mean() - course[-20:].mean())
    assert measures.target("vit") == pytest.approx(target)
    reached = next(k for k in range(10, 201) if course[k - 10 : k].mean() <= target)
    assert measures.steps_to_target("vit", LINEAR) == (pytest.approx(reached / 2), 0)
    assert measures.seconds_to_target("vit", LINEAR) == pytest.approx(2.0 * reached / 200)
    for record in measures.by_key.values():
        if record["name"] == "none":
            record["losses_mean"] = [None] * 200
    assert measures.steps_to_target("vit", (NONE,)) == (100.0, 3)


def test_a_diverged_trial_counts_and_ends_the_stable_rates(tmp_path):
    grid = STUDY.grid("vit", NONE)
    for rate in grid:
        _write(tmp_path, "vit", NONE, rate, 0, math.nan if rate == grid[5] else 1.0 + rate)
    measures = Measures(STUDY, tmp_path)
    assert measures.divergences((NONE,)) == (1, 7)
    assert measures.largest_stable_rate("vit", (NONE,)) == grid[4]
    assert dict(measures.curve("vit", (NONE,)))[grid[5]] == TRIVIAL


def test_the_report_says_what_was_planted(folder, monkeypatch, capsys):
    situations = dataclasses.replace(evidence.SITUATIONS, workloads=("new_data",))
    for make in (situations.round_a, situations.round_b, situations.round_c):
        where = folder.parent / "situations"
        given = () if make == situations.round_a else (rounds.Results(where),)
        for name, method, rate, seed in make(["new_data"], *given):
            loss = 2.2 if method.family == "self-tuned" else 2.0
            _write(where, name, method, rate, seed, loss + 0.01 * seed, other_final_loss=3.25)
    for factor, loss in (("0.25", 1.1), ("4", 0.98)):
        name = f"gpt_code@batch={factor}"
        for seed in range(5):
            linear = Method("linear-steps", {"steps": 40.0})
            _write(folder.parent / "transfer", name, linear, 0.01, seed, 1.0)
            _write(folder.parent / "transfer", name, Method("self-tuned"), 0.03, seed, loss)
    monkeypatch.setattr(evidence, "EVIDENCE", STUDY)
    monkeypatch.setattr(evidence, "SITUATIONS", situations)
    assert command.main(["report", "evidence", "--results", str(folder)]) == 0
    path = folder / "RESULTS.md"
    assert str(path) in capsys.readouterr().out
    text = path.read_text()
    assert "better on 2, of these 2 with an interval below 0" in text
    assert "The aim, better on half of them and worse by more than 0.5% on none, is met." in text
    assert "The study goes on" not in text
    assert "| b. new data | +9.9" in text and "| worse |" in text  # 0.2 / 2.02
    assert "| a. transfer | +4.00 | 2 of 8 changes of size |" in text
    assert "| linear, best length | 3.2500 |" in text
    assert re.search(r"\| vit \| 600 \| 5\.0000 \| 4\.0000 \| [01]\.\d+ \|", text)
    assert "| c. corrupted batches | |" in text and "no results yet" in text
    for name in ("rates", "profile"):
        assert (folder / "results-figures" / f"{name}.png").stat().st_size > 1000


def test_a_workload_whose_rounds_are_not_complete_is_named_and_left_out(folder, tmp_path):
    for record in records.read(folder):
        identity = record["identity"]
        if (identity["workload"], identity["seed"], record["name"]) != ("vit", 4, "untuned-linear"):
            records.write(tmp_path / f"{records.key(record)}.json", record)
    assert Measures(STUDY, folder).finished().workloads == ["vit", "vae"]
    measures = Measures(STUDY, tmp_path).finished()
    assert measures.workloads == ["vae"]
    assert {record["identity"]["workload"] for record in measures.records} == {"vae"}


def test_what_the_readme_says(measures, tmp_path):
    expected, excess = [], []
    for name in NAMES:
        grid = STUDY.grid(name, NONE)
        ours, linear = Method("self-tuned"), LINEAR[2]
        one, other = (
            [_loss(name, method, grid[3], seed) for seed in range(5)] for method in (ours, linear)
        )
        expected.append(100 * (np.mean(one) / np.mean(other) - 1))
        for place in (4, 5):
            best = min(_loss(name, method, grid[place], 0) for method in LINEAR)
            excess.append(100 * (_loss(name, ours, grid[place], 0) / best - 1))
    text = summary.sentence(measures)
    low, high = np.mean(expected), np.mean(excess)
    assert low < 0 and f"the final loss is {-low:.1f}% below that of a linear" in text
    assert high < 0 and f"and {-high:.1f}% below it at peak rates" in text and "on 2 small" in text
    lines = summary.table(measures).splitlines()
    row = f"| linear, best length | {low:+.2f} | {np.mean(excess[::2]):+.2f} |"
    assert lines[2].startswith(row)
    every = summary.blocks(measures)
    for name, parts in summary.PAGES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        marked = (f"x\n<!-- {part} -->\nold\n<!-- end of {part} -->\ny\n" for part in parts)
        (tmp_path / name).write_text("".join(marked))
    summary.write_summary(measures, tmp_path)
    assert (tmp_path / summary.FIGURE).stat().st_size > 1000
    for name, parts in summary.PAGES.items():
        written = (tmp_path / name).read_text()
        assert "old" not in written and all(every[part] in written for part in parts)
    (tmp_path / "README.md").write_text("nothing is marked here")
    with pytest.raises(InputError, match="one pair of the comments"):
        summary.pages(measures, tmp_path)


def test_the_share_that_a_rate_costs(measures):
    grid = STUDY.grid("vit", NONE)
    lowest = min(_loss("vit", m, r, 0) for m in STUDY.methods_of("vit") for r in grid)
    shares = measures.shares("vit", (NONE,))
    assert set(shares) == set(range(-3, 4))
    expected = (_loss("vit", NONE, grid[5], 0) - lowest) / (TRIVIAL - lowest)
    assert shares[2] == pytest.approx(expected)
    mean = np.mean([measures.shares(name, (NONE,))[2] for name in NAMES])
    assert measures.mean_shares((NONE,))[2] == pytest.approx(mean)
    assert re.search(rf"^\| none \| .* \| {mean:.2f} \|$", summary.shares(measures), re.MULTILINE)


def test_the_gpu_subset_needs_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(command, "_has_gpu", lambda: False)
    with pytest.raises(SystemExit) as exit:
        command.main(["run", "evidence", "--subset", "gpu"])
    assert exit.value.code == 2 and "needs a GPU" in capsys.readouterr().err


def test_transfer_takes_the_constants_of_the_base(folder):
    study = TransferStudy("vit", STUDY, folder)
    rate, constants = (
        STUDY.grid("vit", NONE)[3],
        dict((method.name, rate) for method, rate in study.constants()),
    )
    steps = 0.2 * load_workload("vit").updates
    expected = ["none", f"linear-steps-{steps:g}", "untuned-linear", "paper-C=1.0", "self-tuned"]
    assert constants == dict.fromkeys(expected, rate)
    ((_, queue),) = study.queues(folder)
    assert len(queue) == 9 * 5 * 5
    assert {trial.workload for trial in queue} >= {"vit", "vit@batch=0.25", "vit@depth=4"}
