"""The code on the pages runs, and the commands on them have options that exist."""

import json
import os
import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*DOCS.glob("*.md"), *(DOCS / "tasks").glob("*.md"), *ROOT.glob("*.md")]
RUNNABLE = ["start", "tasks/train-my-model", "tasks/measure-curvature", "tasks/write-a-schedule"]
RUNNABLE.append("tasks/resume-save-share")
RESULTS = ROOT / "benchmarks" / "results"

on_one_backend = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") != "jax", reason="independent of the backend"
)


@pytest.mark.parametrize("page", RUNNABLE)
def test_code_runs(page, tmp_path, monkeypatch):
    """The blocks marked ```python run in one namespace, from top to bottom."""
    monkeypatch.chdir(tmp_path)
    text = (DOCS / f"{page}.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    namespace = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, f"{page}.md", "exec"), namespace)


def commands() -> dict[str, set[str]]:
    """The options that the pages give to each `python -m recipes.NAME`."""
    found = {}
    for page in PAGES:
        for line in page.read_text("utf-8").splitlines():
            for name, rest in re.findall(r"python -m recipes\.(\w+)([^`#\n]*)", line):
                options = re.findall(r"(?<!\S)--([a-z][-a-z0-9]*)", rest)
                recipe = re.match(r" ([a-z]+)", rest) if name == "compare" else None
                if name.isupper():  # It stands for the name of any recipe.
                    continue
                key = f"{name} {recipe[1]}" if recipe else name
                found.setdefault(key, set()).update(options)
    return found


@on_one_backend
@pytest.mark.parametrize("command", sorted(commands()))
def test_options_exist(command, monkeypatch, capsys):
    """Each is in what `--help` prints."""
    pytest.importorskip("rich")
    name, *words = command.split()
    monkeypatch.setattr(sys, "argv", [name, *words, "--help"])
    # As `python -m` does it, which has not imported the module before.
    monkeypatch.delitem(sys.modules, f"recipes.{name}.__main__", raising=False)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(f"recipes.{name}", run_name="__main__")
    assert stopped.value.code in (0, None)
    offered = set(re.findall(r"--([a-z][-a-z0-9]*)", capsys.readouterr().out))
    assert commands()[command] <= offered


def read(name):
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


@on_one_backend
def test_figures_are_those_of_the_data():
    """Each number that the evidence page takes from `benchmarks/results/`, rounded again."""
    page = (DOCS / "evidence.md").read_text("utf-8")
    expected = []
    names = {"resnet8": "resnet8, SGD", "vit-micro": "vit-micro, AdamW"}
    for row in read("compare_vision_fashion_mnist_tensorflow")["rows"]:
        expected.append(
            f"| {names[row['model']]} | {row['schedule']} | {row['validation']:.3f} | "
            f"{row['accuracy']:.1%} ± {100 * row['± accuracy']:.1f} | {row['peak from']} |"
        )
    titles = {"jax": "JAX", "tensorflow": "TensorFlow"}
    for backend, record in read("suggest").items():
        for run in record["runs"]:
            losses = run["constant"]
            best = min(losses[:-1])
            expected.append(
                f"| {run['workload']} | {titles[backend]} | {run['suggestion']['base']:.2g} | "
                f"{losses[-1]:.3f} | {best:.3f} | {run['rates'][losses.index(best)]:g} |"
            )
    overhead = [read(f"overhead_{backend}")["ratio"] for backend in ("tensorflow", "jax")]
    expected.append(" | ".join(f"{ratio['median']:.3f}" for ratio in overhead))
    expected.append(
        " | ".join(
            f"{ratio['lower_quartile']:.3f} to {ratio['upper_quartile']:.3f}" for ratio in overhead
        )
    )
    shares = [read(f"probe_overhead_{b}")["share_of_training_time"] for b in ("tensorflow", "jax")]
    expected.append(" | ".join(f"{share['median']:.2%}" for share in shares))
    tokenizing = read("tokenizing_jax")
    expected.append(f"in {tokenizing['seconds']:.0f} s")
    expected.append(f"at most {tokenizing['peak_resident_megabytes']:.0f} MB")
    expected.append(f"{tokenizing['ratio']:.2f} times the speed")
    expected.append(f"at most {read('online_constants')['worst_ratio']:.2f} times the steps")
    targets = read("attack")["targets"]
    rates = sum(t["tried"] for name, t in targets.items() if name.startswith("rates_"))
    expected.append(f"{sum(t['tried'] for t in targets.values()) - rates:,} damaged files")
    expected.append(f"{rates:,} constants, losses and rates")
    assert [text for text in expected if text not in page] == []


@on_one_backend
def test_study_figures_are_those_of_the_report():
    """The four rows of the self-tuned rule's study, from its report."""
    report = ROOT / "benchmarks/quality/results/choose/REPORT.md"
    page = (DOCS / "evidence.md").read_text("utf-8")
    best, higher = report.read_text("utf-8").split("## At the next rate of the grid")[:2]
    rule = "auto-fraction=0.6-rho=2.0-min_steps=100.0-patience=300.0"
    for part, where in ((best, "at its best rate"), (higher, "at the next higher rate")):
        for label, method in (("none", "none"), ("self-tuned rule", rule)):
            row = re.search(rf"^\| {re.escape(method)} \|(.*)$", part, re.MULTILINE)[1]
            values = " | ".join(value.strip() for value in row.split("|")[:3])
            assert f"| {label}, {where} | {values} |" in page


@on_one_backend
def test_study_on_other_workloads_is_that_of_the_report():
    """The rows of the study `test`: six workloads and their mean, at both rates."""
    report = ROOT / "benchmarks/quality/results/test/REPORT.md"
    page = (DOCS / "evidence.md").read_text("utf-8").split("Then it was run, unchanged")[1]
    pages = page.split("| *at the rate above")[:2]
    labels = {"none": "none", "self-tuned": "self-tuned rule"}
    labels |= {f"linear-{percent}": f"linear over {percent}%" for percent in (5, 10, 20, 40)}
    parts = report.read_text("utf-8").split("## At the next rate of the grid")[:2]
    for part, shown in zip(parts, pages, strict=True):
        for method, label in labels.items():
            row = re.search(rf"^\| {re.escape(method)} \|(.*)$", part, re.MULTILINE)[1]
            values = " | ".join(value.strip() for value in row.split("|")[:7])
            assert f"| {label} | {values} |" in shown


@on_one_backend
@pytest.mark.parametrize("page", ["README.md", "docs/tasks/scale.md"])
def test_what_fits_where_is_what_the_compilers_said(page):
    text = (ROOT / page).read_text("utf-8")
    shown = text.split("| model | target |")[1].split("\n\n")[0].splitlines()[2:]
    rows = []
    for row in read("targets_jax")["rows"]:
        unit = "tokens" if "most_tokens_per_second" in row else "images"
        most = float(f"{row[f'most_{unit}_per_second']:.3g}")
        cells = [
            row["model"], row["target"], row["attention"].split(",")[0],
            f"{row['peak_memory'] / 1e9:.2f} GB",
            f"{row['peak_memory'] / row['device_memory']:.0%}",
            f"{row['closed_form_memory'] / 1e9:.2f} GB", f"{most:,.0f} {unit}/s",
        ]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    assert shown == rows


@on_one_backend
def test_public_symbols_have_docstrings():
    """What `make docs` checks as well, without a build."""
    path = DOCS / "check_reference.py"
    namespace = {"__name__": "check_reference"}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), namespace)
    symbols = namespace["public_symbols"]()
    assert "keras_h0h1.schedules.LossAdaptiveLearningRate" in symbols
    assert "keras_h0h1.step_sizes.sharp" in symbols
    assert namespace["without_docstring"](symbols) == []

    def silent():
        pass

    assert namespace["without_docstring"]({"silent": silent, "int": int}) == ["silent"]
