"""The page of results: built from folders made here, parsed, and opened in a browser."""

import html.parser
import json
import os
import re
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from recipes.common.command_line.errors import InputError
from recipes.common.results.formatting import text as cell
from recipes.common.results.run_folder import RunFolder
from recipes.common.results.smoothing import smooth
from recipes.report import charts
from recipes.report.__main__ import main, report
from recipes.report.page import build_page
from recipes.report.probes import fit_rows
from recipes.report.reading import read
from recipes.report.training import group, labels
from tests.backends import only_on
from tests.fifos import make_fifo

pytestmark = only_on("jax", reason="reports do not depend on the backend")

VOID = {"meta", "br", "hr", "img", "input", "link", "path"}
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def write(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, "utf-8")


def make_run(path, schedule="h0h1", seed=0, loss=1.2345, steps=20, finished=True, **extra):
    """A run as the recipes leave it; its loss falls from 5 to `loss`."""
    folder = RunFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    config = {"schedule": schedule, "seed": seed, "peak_lr": 1e-3, "C": 2.0, "steps": steps}
    write(path, "config.json", {**config, "name": path.name, "runs": str(path.parent)})
    losses = np.geomspace(5.0, loss, steps)
    factors = 1 / np.maximum(1, losses / 2) if schedule == "h0h1" else np.ones(steps)
    folder.append(
        "metrics.csv",
        [
            {
                "step": i + 1,
                "seconds": 0.5 * i,
                "loss": losses[i],
                "learning_rate": 1e-3 * factors[i],
                "factor": factors[i],
                "base_learning_rate": 1e-3,
            }
            for i in range(steps)
        ],
    )
    folder.append(
        "evaluations.csv",
        [
            {
                "step": i,
                "seconds": 0.5 * i,
                "loss": "nan" if i == 0 else losses[i - 1],
                "validation_loss": losses[max(i - 1, 0)] + 0.1,
                "validation_accuracy": i / steps,
            }
            for i in range(0, steps + 1, 5)
        ],
    )
    if finished:
        summary = {
            "schedule": schedule,
            "seed": seed,
            "finished": True,
            "diverged": False,
            "steps": steps,
            "final_training_loss": loss,
            "final_validation_loss": loss + 0.1,
            "baselines": {"unigram": 4.5},
            "seconds": 10.0,
            "tokens_per_second": 5758,
            "data": "made up",
            "environment": {"backend": "jax", "versions": {"keras": "3.15.1"}},
        }
        write(path, "summary.json", {**summary, **extra})
    return path


def make_comparison(path):
    for schedule, loss in (("none", 2.4321), ("linear", 1.8765), ("h0h1", 1.2345)):
        for seed in (0, 1):
            make_run(path / f"{schedule}-seed{seed}", schedule, seed, loss + 0.01 * seed)
    rows = [{"schedule": "none", "validation loss": 2.53, "perplexity": 12.6, "diverged": "0 of 2"}]
    content = {"rows": rows, "runs": [{"seed": 0}, {"seed": 1}], "command": "python -m me <now>"}
    write(path, "comparison.json", content)
    return path


def make_study(path):
    """Curvature 2 + 3 f exactly, of two cases, one with blocks."""
    losses = np.linspace(5, 1, 12)
    for case, blocks in (("depth-scaled", True), ("fixed", False)):
        header = "step,mode,loss,curvature,residual,iterations,converged,seconds"
        lines = [header + (",curvature/block 0" if blocks else "")]
        for step, loss in enumerate(losses):
            row = f"{step},hessian,{loss},{2 + 3 * loss},0.01,5,True,0.1"
            lines.append(row + (f",{0.5 * loss}" if blocks else ""))
        write(path / "initialisation", f"{case}.csv", "\n".join(lines) + "\n")
    row = {"study": "initialisation", "case": "fixed", "part": "all", "H0": 2.0, "H1": None}
    write(path, "summary.json", {"fits": [row], "command": "python -m recipes.smoothness"})
    return path


def png(path):
    """One grey pixel."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def make_theory(path):
    rows = [{"step": "paper", "Δ₀ = 10": 580, "exponent": 0.0296}]
    write(path, "separation.json", {"findings": ["grows like ln & not <Δ₀>"], "rows": rows})
    png(path / "separation.png")
    return path


class Checker(html.parser.HTMLParser):
    """Raises where a tag is not closed, and collects what could be loaded or executed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.loads, self.tags, self.text, self.ids = [], [], set(), [], []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"a handler: {name}"
            if name in ("src", "srcset", "href", "data", "action", "poster"):
                self.loads.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        # Of the void names `path` alone, an SVG element, may have content.
        if tag == "path":
            return
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def check(page):
    checker = Checker(page)
    assert "script" not in checker.tags and "link" not in checker.tags
    for target in checker.loads:
        assert target.startswith(("#", "data:image/png;base64,")), target
        assert not target.startswith("#") or target[1:] in checker.ids
    assert len(checker.ids) == len(set(checker.ids))
    # Style sheets load too.
    assert "@import" not in page and not re.search(r"url\(", page)
    assert "nan" not in re.sub(r"<[^>]*>", " ", page).lower().split()
    assert not re.search(r'\bd="[^"]*(nan|inf)', page)
    return " ".join(checker.text)


@pytest.fixture
def everything(tmp_path):
    return [
        make_comparison(tmp_path / "compare-gpt-1"),
        make_study(tmp_path / "smoothness"),
        make_theory(tmp_path / "theory"),
    ]


def test_the_page_shows_every_kind_and_loads_nothing(everything, tmp_path):
    out = main([*map(str, everything), "--out", str(tmp_path / "new" / "page.html")])
    page = out.read_text("utf-8")
    text = check(page)
    for loss in (2.5321, 1.9765, 1.3345, 2.5421, 1.9865, 1.3445):
        assert f"{loss:.4f}" in text
    for schedule in ("none", "linear", "h0h1"):
        assert f"{schedule} (2 runs)" in text
    for words in (
        "unigram 4.50",
        "Accuracy",
        "Effective learning rate",
        "Factor on the rate",
        "Curvature against loss",
        "lines: H0 + H1 loss",
        "depth-scaled, by block",
        "Means over 2 seeds",
        "grows like ln & not <Δ₀>",
        "python -m me <now>",
    ):
        assert words in text, words
    assert "data:image/png;base64," in page
    assert page.count('<svg class="chart"') == 4 + 3  # Four of training, three of curvature.
    assert [p.name for p in out.parent.iterdir()] == ["page.html"]
    # The same folders give the same page.
    assert build_page(read(everything)) == page


def test_what_comes_from_files_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    name = "<img src=x onerror=alert(1)>\"'&"
    run = make_run(tmp_path / name, schedule=evil, data=evil, environment={"backend": evil})
    write(run, "sample.txt", "</pre>" + evil)
    row = {"<b>column": evil}
    write(tmp_path / "table", "comparison.json", {"rows": [row], "runs": [], "command": evil})
    header = "step,mode,loss,curvature,curvature/<i>\n"
    rows = "".join(f"{i},<u>,{5 - i},{7 - i},1\n" for i in range(5))
    write(run, "a<b>.csv", header + rows)
    write(tmp_path / "studies" / "<b>study", "a.csv", header + rows)
    page = build_page(read([run, tmp_path / "table", tmp_path / "studies"]), title=evil)
    text = check(page)  # No script, no handler, no <b> left open.
    assert text.count(evil) >= 5 and name in text
    assert not {"b", "i", "u"} & Checker(page).tags


def test_curves_are_where_the_numbers_are(tmp_path):
    """The chart's own geometry, read back from the SVG against the data."""
    x, y = np.array([0.0, 50.0, 100.0]), np.array([1.0, 3.0, 2.0])
    svg = charts.chart([charts.Series(x, y, 0)], title="t", xlabel="x", low=0.0, high=4.0)
    points = re.search(r'class="line"[^>]*d="M([\d. ]+)L([\d. ]+)L([\d. ]+)"', svg).groups()
    px, py = np.array([p.split() for p in points], float).T
    ticks = dict(re.findall(r'y="([\d.]+)" text-anchor="end">([\d.]+)<', svg))
    heights = {float(label): float(place) - 4 for place, label in ticks.items()}
    assert {0.0, 1.0, 2.0, 3.0, 4.0} <= heights.keys()
    np.testing.assert_allclose(py, [heights[v] for v in y], atol=0.11)
    np.testing.assert_allclose(px[1], (px[0] + px[2]) / 2, atol=0.06)
    # A logarithmic axis puts the geometric mean in the middle.
    y = np.array([1.0, 10.0, 100.0])
    svg = charts.chart([charts.Series(x, y, 0)], title="t", xlabel="x", log_y=True)
    points = re.search(r'class="line"[^>]*d="M([\d. ]+)L([\d. ]+)L([\d. ]+)"', svg).groups()
    py = np.array([p.split() for p in points], float)[:, 1]
    np.testing.assert_allclose(py[1], (py[0] + py[2]) / 2, atol=0.06)
    assert "log scale" in svg


def test_rates_far_apart_share_a_logarithmic_axis(tmp_path):
    """SGD's beside AdamW's; a warm-up alone, however long, is drawn from zero."""
    peaks = {"adamw": 1.0, "near": 5.0, "sgd": 200.0}
    for name, factor in peaks.items():
        path = make_run(tmp_path / name, "none")
        rows = RunFolder(path).read("metrics.csv")
        for i, row in enumerate(rows):
            row["learning_rate"] *= factor * i / len(rows)
        (path / "metrics.csv").unlink()
        RunFolder(path).append("metrics.csv", rows)

    def rates(*names):
        page = build_page(read([tmp_path / name for name in names]), "t")
        return page.partition("Effective learning rate")[2].partition("</figure>")[0]

    assert "log scale" in rates("adamw", "sgd")
    assert "log scale" not in rates("adamw", "near") and "log scale" not in rates("sgd")


def test_gaps_and_spikes_survive():
    x = np.arange(5000.0)
    y = np.sin(x / 500)
    y[1234], y[3000:3100] = 7.0, np.nan
    shorter_x, shorter_y = charts.thin(x, y)
    assert len(shorter_x) < 1000 and np.nanmax(shorter_y) == 7.0
    assert np.isnan(shorter_y[(shorter_x >= 3000) & (shorter_x < 3100)]).any()
    svg = charts.chart([charts.Series(x, y, 0)], title="t", xlabel="x")
    assert re.search(r'class="line"[^>]*d="([^"]*)"', svg).group(1).count("M") == 2
    svg = charts.chart([charts.Series(x, y, 0, kind="dots")], title="t", xlabel="x")
    assert "nan" not in svg and svg.count("z") == 4900
    nothing = np.full(3, np.nan)
    assert charts.chart([charts.Series(nothing, nothing, 0)], title="t", xlabel="x") == ""
    # The mean over the last fiftieth; a loss that is no number does not spoil the rest.
    y = np.arange(100.0)
    y[50] = np.inf
    smooth_x, smooth_y = smooth(np.arange(100.0), y)
    assert len(smooth_x) == 99 and smooth_y[10] == 10.0  # 99 // 50 = 1: nothing to average
    smooth_x, smooth_y = smooth(np.arange(200.0), np.arange(200.0))
    assert smooth_y[0] == 0.0 and smooth_y[100] == np.mean([97, 98, 99, 100])


def test_ticks_and_cells():
    assert charts.wants_log(np.array([0.1, 2.0])) and not charts.wants_log(np.array([0.0, 2.0]))
    svg = charts.chart(
        [charts.Series(np.array([0.0, 1.0]), np.array([0.0, 1e-3]), 0)], title="t", xlabel="x"
    )
    assert "× 10⁻³" in svg
    assert cell(24.5496, largest=5000.0) == "24.5" and cell(24.5496) == "24.5496"
    assert cell(float("inf")) == "∞" and cell(1e-5) == "1e-05"


def test_seeds_share_a_colour_and_names_tell_runs_apart(tmp_path):
    runs = read([make_comparison(tmp_path / "compare-a-1")]).runs
    groups = group(runs)
    assert [(g.label, len(g.runs)) for g in groups] == [("h0h1", 2), ("linear", 2), ("none", 2)]
    make_run(tmp_path / "compare-a-2" / "none-seed0", "none", loss=3.0, C=9)
    write(tmp_path / "compare-a-2" / "none-seed0", "config.json", {"schedule": "none", "C": 9.0})
    runs = read([tmp_path]).runs
    assert [g.label for g in group(runs)] == ["1/h0h1", "1/linear", "1/none", "2/none"]
    names = list(labels(runs).values())
    assert len(set(names)) == 7 and "linear-seed1" in names and "2/none-seed0" in names


def test_fits_find_the_line(tmp_path):
    """The study's curvature is 2 + 3 f."""
    for row in fit_rows(list(read([make_study(tmp_path)]).studies[0].cases.items())):
        assert row["H0"] == pytest.approx(2.0) and row["H1"] == pytest.approx(3.0), row
    (row,) = fit_rows([("still", {key: np.ones(5) for key in ("step", "loss", "curvature")})])
    assert row["H0"] is None and row["note"]


def test_full_rate_from(tmp_path):
    run = read([make_run(tmp_path / "a")]).runs[0]
    # 5 (1.2345 / 5)^(i / 19) <= 2 from i = 12.45 on, and steps begin at 1.
    assert run.full_rate_from == 14
    run = read([make_run(tmp_path / "b", loss=2.5)]).runs[0]
    assert run.full_rate_from is None
    assert "never let the rate reach its peak in b" in check(build_page(read([tmp_path / "b"])))


def test_a_run_in_progress(tmp_path):
    run = make_run(tmp_path / "going", finished=False)
    with (run / "metrics.csv").open("a") as file:
        file.write("21,10.5,1.2")  # Being written at this moment.
    waiting = tmp_path / "waiting"
    write(waiting, "config.json", {"schedule": "none", "seed": 0})
    text = check(build_page(read([run, waiting])))
    assert "at update 20 of 20" in text and "no measurement yet" in text and "1.3345" in text


def test_a_diverged_run(tmp_path):
    run = make_run(tmp_path / "run", diverged=True, final_validation_loss=None, seconds=None)
    assert read([run]).runs[0].final == {
        "training loss": 1.2345,
        "validation loss": None,
        "validation accuracy": 1.0,
    }
    text = (run / "metrics.csv").read_text().replace(",0.001\r\n", ",nan\r\n")
    (run / "metrics.csv").write_text(text + "21,1,inf,0.001,1,0.001\n22,1,nan,0.001,1,0.001\n")
    assert "diverged" in check(build_page(read([run])))


def test_the_loggers_own_file(tmp_path):
    """What `LearningRateLogger(csv_path=...)` and `SmoothnessProbe(csv_path=...)` write."""
    header = "step,batch_loss,learning_rate,learning_rate_factor,effective_learning_rate\n"
    write(tmp_path, "mine.csv", header + "1,4.0,1.0,0.5,0.5\n2,1.5,1.0,1.0,1.0\n")
    rows = "0,hessian,4.0,7.0,0.1,3,True,1\n1,hessian,1.5,3.0,0.1,3,True,1\n"
    header = "step,mode,loss,curvature,residual,iterations,converged,seconds\n"
    write(tmp_path, "probe.csv", header + rows)
    results = read([tmp_path])
    assert [run.name for run in results.runs] == ["mine"]
    assert results.runs[0].metrics["factor"].tolist() == [0.5, 1.0]
    assert results.runs[0].metrics["learning_rate"].tolist() == [0.5, 1.0]
    text = check(build_page(results))
    assert "1.5000" in text and "Curvature against loss" in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.csv", ""),
        ("metrics.csv", "step,loss,learning_rate\n"),
        ("metrics.csv", "step,loss,learning_rate\n1,abc,0.1\n"),
        ("metrics.csv", "step,loss,learning_rate\n1,2.0\n"),
        ("metrics.csv", "step,learning_rate\n1,0.1\n"),
        ("metrics.csv", "step,loss,learning_rate\nnan,1.0,0.1\n"),
        ("metrics.csv", b"\xff\xfe\x00\x01"),
        ("evaluations.csv", "loss\n1.0\n"),
        ("config.json", "{"),
        ("summary.json", "[1]"),
        ("probe.csv", "step,loss,curvature\n"),
    ],
)
def test_a_corrupt_file_is_named_and_nothing_is_written(name, content, tmp_path, capsys):
    run, out = make_run(tmp_path / "run"), tmp_path / "out" / "page.html"
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=f"Received: .*{re.escape(name)}$"):
        report([run], out)
    assert not out.parent.exists()
    with pytest.raises(SystemExit) as stop:
        main([str(run), f"--out={out}"])
    assert stop.value.code == 2 and name in capsys.readouterr().err


def test_no_run_there(tmp_path, capsys):
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    write(tmp_path / "empty", "other.csv", "a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"no run in this folder.* Received: .*empty$"):
        report([tmp_path / "empty"], tmp_path / "page.html")
    with pytest.raises(FileNotFoundError, match=r"Received: .*nowhere$"):
        report([tmp_path / "nowhere"], tmp_path / "page.html")
    write(tmp_path / "table", "comparison.json", {"rows": [{"a": 1}, {"b": 2}], "runs": []})
    with pytest.raises(ValueError, match=r"no table of results. Received: .*comparison.json$"):
        report([tmp_path / "table"], tmp_path / "page.html")
    with pytest.raises(ValueError, match=r"must be a file. Received: out="):
        report([make_run(tmp_path / "run")], tmp_path)
    assert not list(tmp_path.glob("*.html"))
    for argv, message in (([], "no folder"), (["run", "--titel=x"], "Did you mean --title")):
        with pytest.raises(SystemExit):
            main(argv)
        assert message in capsys.readouterr().err


def test_only_regular_files_inside_the_folder_are_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("do not show")
    run = make_run(tmp_path / "linked")
    (run / "sample.txt").symlink_to(secret)
    theory = make_theory(tmp_path / "theory")
    (theory / "separation.png").write_text("do not show")
    waits = make_run(tmp_path / "waits")
    (waits / "evaluations.csv").unlink()
    make_fifo(waits / "evaluations.csv")
    special = r"special file.*evaluations\.csv"
    for folder, words in ((run, "sample.txt"), (theory, ".png"), (waits, special)):
        with pytest.raises(InputError, match=words):
            read([folder])


def test_what_is_large_is_thinned_and_the_page_says_so(tmp_path):
    run = make_run(tmp_path / "run")
    write(run, "sample.txt", "word " * 100_000)
    rows = "".join(f"{i},{1 + i / 1e4},{2 + i % 7}\n" for i in range(100_000))
    write(run, "probe.csv", "step,loss,curvature\n" + rows)
    page = build_page(read([run]))
    text = check(page)
    assert len(page) < 3_000_000
    assert "The first 50,000 characters" in text and "of 100,000 points drawn" in text


def test_a_line_of_many_points_is_drawn_with_few():
    x = np.arange(100_000.0)
    drawn = charts.chart([charts.Series(x, 2 + np.sin(x), 0)], title="t", xlabel="x")
    assert len(drawn) < 100_000


def test_a_linked_folder_is_named_and_not_followed(tmp_path):
    elsewhere = make_run(tmp_path / "elsewhere" / "a-run")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "out").symlink_to(elsewhere)
    with pytest.raises(InputError, match=r"not followed: \S*out\. Received: "):
        read([folder])
    make_run(folder / "own")
    (folder / "within").symlink_to(folder / "own")
    results = read([folder])
    assert {run.path.name for run in results.runs} <= {"own", "within"}
    text = check(build_page(results))
    assert "not followed: " in text and "folder/out" in text
    # Named, a link is a folder like any other.
    assert len(read([folder / "out"]).runs) == 1


def test_smoothing_is_exact_whatever_came_before():
    rng = np.random.default_rng(0)
    for count in (1, 3, 49, 50, 120, 999, 1000):
        y = rng.normal(size=count)
        y[count // 3] = 1e200
        width = max(1, count // 50)
        expected = [np.mean(y[max(0, i + 1 - width) : i + 1]) for i in range(count)]
        np.testing.assert_allclose(smooth(np.arange(count), y)[1], expected, rtol=1e-12)


def test_the_comparison_is_read_out(tmp_path):
    """Which schedule is lowest for each model, and whether the seeds tell it from the next one."""

    def row(model, schedule, validation, spread):
        columns = {"model": model, "schedule": schedule, "validation": validation}
        return columns | {"spread": spread, "steps to it": 7, "peak from": None}

    rows = [
        row("a", "none", None, None),  # All of its runs diverged.
        row("a", "linear", 1.25, 0.01),
        row("a", "h0h1", 1.5, 0.02),
        row("b", "linear", 1.5, 0.25),
        row("b", "h0h1", 1.25, 0.01),
        row("c", "none", 2.0, None),
    ]
    runs = [{"seed": 0}, {"seed": 1}]
    write(tmp_path / "one", "comparison.json", {"rows": rows, "runs": runs})
    text = check(build_page(read([tmp_path / "one"])))
    assert "a: Lowest validation loss: linear, 1.2500; next: h0h1, 1.5000." in text
    lowest = "b: Lowest validation loss: h0h1, 1.2500; next: linear, 1.5000"
    assert f"{lowest}, which is within the spread of the seeds." in text
    assert "c: Lowest validation loss: none, 2.0000." in text
    assert "peak from: the first update" in text and "spread: standard deviation" in text
    assert "± accuracy" not in text


def test_settings_read_as_they_were_typed(tmp_path):
    page = build_page(read([make_run(tmp_path / "a"), make_run(tmp_path / "b", "none")]))
    rows = page.partition("Where they ended")[2].partition("</table>")[0]
    assert "<td>2</td>" in rows and "<td>–</td>" in rows and rows.count("<td>0.001</td>") == 2


def test_a_table_longer_than_its_box_says_so(tmp_path):
    rows = [{"a": i} for i in range(17)]
    for count, said in ((16, False), (17, True)):
        write(tmp_path / str(count), "table.json", {"rows": rows[:count]})
        page = check(build_page(read([tmp_path / str(count)])))
        assert (f"{count} rows; the table scrolls" in page) == said


def test_markers_do_not_hide_a_long_line():
    for count in (1, 39, 40, 41, 400):
        x = np.arange(float(count))
        svg = charts.chart([charts.Series(x, x, 0, "marked")], title="t", xlabel="x")
        assert min(count, 20) <= svg.count("<title>") <= 40


def test_what_a_chart_leaves_out_is_said():
    x = np.arange(1200.0)
    y = 1.0 + x
    drawn = [charts.Series(x, y, 0)]
    text = charts.chart(drawn, title="t", xlabel="x")
    assert "of 1,200 points of a curve the lowest and highest of 250 parts" in text
    assert "left out" not in text
    y[7], y[8], y[9] = 1e150, -1e300, np.nan
    drawn = [charts.Series(x[:20], y[:20], 0)]
    text = charts.chart(drawn, title="t", xlabel="x", lines={"one": 1e200, "two": 3.0})
    assert "3 values that the axes cannot hold left out" in text and "lowest" not in text
    text = charts.chart([charts.Series(x[:3], np.full(3, 1e200), 0)], title="t", xlabel="x")
    assert "3 values that the axes cannot hold left out" in text and "svg" not in text
    # A logarithm has no place for zero.
    drawn = [charts.Series(x[1:20], x[1:20], 0)]
    lines = {"zero": 0.0, "below": -1.0, "above": 2.0}
    text = charts.chart(drawn, title="t", xlabel="x", log_y=True, lines=lines)
    assert "nan" not in text and "2 values" in text and "above 2.00" in text


@pytest.mark.parametrize("value", ["1e308", "-1e308", "1e-320", "0", "inf"])
def test_numbers_at_the_edges(value, tmp_path):
    run = make_run(tmp_path / "run")
    with (run / "metrics.csv").open("a") as file:
        file.write(f"21,11,{value},{value},{value},{value}\r\n")
    check(build_page(read([run])))


def test_odd_json(tmp_path):
    table = {"rows": [{"a": "\ud800"}], "runs": 3}
    write(tmp_path / "table", "comparison.json", table)
    assert "?" in check(build_page(read([tmp_path / "table"])))
    write(tmp_path / "table", "comparison.json", '{"a":' * 5000)
    with pytest.raises(InputError, match=r"comparison\.json"):
        read([tmp_path / "table"])


# In the browser.


def browse(page, tmp_path, *options):
    """Runs headless Chromium on a file, with every name resolving to nowhere."""
    command = [BROWSER, "--headless", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}"]
    # As root, which CI containers often are, Chromium starts without its sandbox alone.
    command += ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    done = subprocess.run(
        [*command, *options, page.as_uri()], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Frames of two widths (a headless window is never as narrow as a phone), each asked for its layout.
FRAMES = """<!DOCTYPE html><body><script>
const page = PAGE, widths = [390, 1280], found = {};
Promise.all(widths.map(width => new Promise(done => {
  const frame = document.createElement("iframe");
  frame.style.width = width + "px"; frame.style.height = "900px"; frame.style.border = "0";
  frame.srcdoc = page;
  frame.onload = () => {
    const root = frame.contentDocument.documentElement;
    const charts = [...frame.contentDocument.querySelectorAll("svg.chart")];
    const texts = charts.flatMap(chart => [...chart.querySelectorAll("text")].filter(text => {
      const a = text.getBoundingClientRect(), b = chart.getBoundingClientRect();
      return a.left < b.left - 1 || a.right > b.right + 1;
    }).map(text => text.textContent));
    found[width] = {
      client: root.clientWidth, scroll: root.scrollWidth, charts: charts.length, cut: texts,
      narrowest: Math.min(...charts.map(c => c.getBoundingClientRect().width)),
      columns: new Set(charts.map(c => c.getBoundingClientRect().left)).size,
    };
    const box = frame.contentDocument.querySelector("#show-g0");
    box.checked = false;
    found[width].hidden = [...frame.contentDocument.querySelectorAll(".g0")].every(
      curve => getComputedStyle(curve).display === "none");
    done();
  };
  document.body.append(frame);
}))).then(() => { document.title = "LAYOUT" + JSON.stringify(found) + "END"; });
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_in_a_browser_without_network(everything, tmp_path):
    long = make_run(tmp_path / ("a" * 120), steps=40, loss=0.01)
    out = report([*everything, long], tmp_path / "page.html")
    # Only this copy may run the measuring script.
    page = re.sub(r"<meta http-equiv[^>]*>", "", out.read_text("utf-8"))
    frames = tmp_path / "frames.html"
    frames.write_text(FRAMES.replace("PAGE", json.dumps(page).replace("</", "<\\/")), "utf-8")
    dom = browse(frames, tmp_path, "--dump-dom", "--virtual-time-budget=5000")
    found = json.loads(re.search(r"LAYOUT(\{.*?\})END", dom).group(1))
    for width in ("390", "1280"):
        layout = found[width]
        assert layout["client"] <= int(width) and layout["scroll"] <= layout["client"], layout
        assert layout["charts"] == 7 and layout["hidden"] and not layout["cut"], layout
        assert layout["narrowest"] > 300
    assert found["390"]["columns"] == 1 and found["1280"]["columns"] == 3
    for scheme, back in ((0, "#111418"), (1, "#f6f7f9")):  # Dark, light.
        picture = tmp_path / f"{scheme}.png"
        setting = f"--blink-settings=preferredColorScheme={scheme}"
        browse(out, tmp_path, setting, "--window-size=800,600", f"--screenshot={picture}")
        pixels = imread(picture)[..., :3]
        np.testing.assert_allclose(pixels[2, 2], to_rgb(back), atol=0.01)
        # Something is written there, in a colour far from the background's.
        assert np.abs(pixels - pixels[2, 2]).max() > 0.7
