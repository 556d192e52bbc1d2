"""The report: every file that it reads, damaged, then the whole page built."""

import json
import re
import zlib
from pathlib import Path

from PIL import Image

from recipes.report.page import build_page
from recipes.report.reading import read
from tests.attack.harness import Target


def _write(folder: Path, probe: bool) -> None:
    run = folder / "run"
    run.mkdir()
    config = {"schedule": "h0h1", "seed": 1, "peak_lr": 1e-3, "C": 2.0, "steps": 40}
    (run / "config.json").write_text(json.dumps(config))
    summary = {"finished": True, "diverged": False, "steps": 40, "final_training_loss": 1.2}
    summary |= {"baselines": {"unigram": 4.5}, "seconds": 10.0, "tokens_per_second": 5758}
    summary |= {"perplexity": 3.3, "data": "made up", "environment": {"backend": "jax"}}
    (run / "summary.json").write_text(json.dumps(summary))
    steps = range(1, 41)
    lines = ["step,seconds,loss,learning_rate,factor,base_learning_rate"]
    lines += [f"{i},{i / 2},{5 / i},{1e-3 / i},{1 / i},0.001" for i in steps]
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")
    lines = ["step,seconds,loss,validation_loss,validation_accuracy"]
    lines += [f"{i},{i / 2},{5 / i},{6 / i},{i / 40}" for i in steps if i % 5 == 0]
    (run / "evaluations.csv").write_text("\n".join(lines) + "\n")
    if probe:  # Its fit takes longer than all else.
        lines = ["step,mode,loss,curvature,residual,iterations,converged,seconds,curvature/block 0"]
        lines += [f"{i},hessian,{5 / i},{2 + 15 / i},0.01,5,True,0.1,{1 / i}" for i in steps]
        (run / "probe.csv").write_text("\n".join(lines) + "\n")
    (run / "sample.txt").write_text("Once upon a time <there> was a run.\n" * 5)
    table = folder / "table"
    table.mkdir()
    content = {"rows": [{"schedule": "none", "loss": 2.5}], "runs": [{"seed": 0}]}
    (table / "comparison.json").write_text(json.dumps(content | {"command": "python -m me"}))
    (table / "theory.json").write_text(json.dumps({"rows": [{"x": 1.5}], "findings": ["it is so"]}))
    Image.new("L", (8, 8), 9).save(table / "theory.png")
    fits = {"fits": [{"case": "a", "H0": 0.5, "H1": 2.0}, {"case": "b", "H0": None, "H1": 1e-3}]}
    (table / "fits.json").write_text(json.dumps(fits))
    logger = folder / "logger"
    logger.mkdir()
    lines = ["step,batch_loss,learning_rate,learning_rate_factor,effective_learning_rate"]
    lines += [f"{i},{5 / i},0.001,{1 / i},{1e-3 / i}" for i in steps]
    (logger / "rates.csv").write_text("\n".join(lines) + "\n")


def _build(folder: Path) -> tuple[int, ...]:
    results = read([folder])
    page = build_page(results, "title")
    page.encode("utf-8")
    assert page.endswith("</html>\n")
    assert not re.search(r'\b(d|x|y|x1|y1)="[^"]*(nan|inf)', page), "a coordinate is not a number"
    runs = results.runs
    rows = sum(len(c["step"]) for run in runs for c in (run.metrics, run.evaluations) if c)
    shown = zlib.crc32(page.replace(str(folder.resolve()), "").encode())
    return len(runs), rows, len(results.tables), shown


def _target(name: str, path: str) -> Target:
    def write(folder):
        _write(folder, name == "probe")
        return [folder / path]

    # Another number is another page; that it is built is what can be checked.
    return Target(f"report_{name}", write, _build, lambda sound, other: True)


TARGETS = [
    _target("metrics", "run/metrics.csv"),
    _target("evaluations", "run/evaluations.csv"),
    _target("config", "run/config.json"),
    _target("summary", "run/summary.json"),
    _target("probe", "run/probe.csv"),
    _target("table", "table/comparison.json"),
    _target("experiment", "table/theory.json"),
    _target("figure", "table/theory.png"),
    _target("fits", "table/fits.json"),
    _target("logger", "logger/rates.csv"),
    _target("sample", "run/sample.txt"),
]
