"""Every program with a run of it that is as small as can be, for attacks on its options."""

import csv
import dataclasses
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import overhead, paper_sizes, probe_overhead, tokenizing
from recipes.gpt import recipe as gpt
from recipes.gpt.config import GPTConfig
from recipes.gpt.model import Size
from recipes.tokenize import recipe as tokenize
from recipes.vision import recipe as vision
from recipes.vision.config import VisionConfig
from recipes.vision.model import ResNet, ViT

# Modules whose name is that of a function or of the program too.
compare = importlib.import_module("recipes.compare.__main__")
report = importlib.import_module("recipes.report.__main__")
smoothness = importlib.import_module("recipes.smoothness.recipe")
theory = importlib.import_module("recipes.theory.recipe")

TINY = Size(layers=1, width=16, heads=2, intermediate=24)
TINY_IMAGES = {"resnet8": ResNet((1, 1), (4, 8)), "vit-micro": ViT(1, 8, 2)}


class Enough(BaseException):
    """Ends a run after its first update."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A program under attack.

    Args:
        name: As it is told.
        module: Where it builds its configuration.
        classes: Dataclasses of its options.
        main: From a command line to the end, or to `Enough`.
        base: Options of the small run, by name.
        needed: For an option, others that it takes to have an effect; `None` leaves one out.
        words: What comes before the options.
        excluded: Fields that are no options of it.
        work: What trains: `"fit"` (one update of it is made), or functions of the module that are
            not called, because they take long.
        statuses: By which it says, besides 2, in one line that it can do nothing here.
    """

    name: str
    module: Any
    classes: tuple[type, ...]
    main: Callable[[list[str]], Any]
    base: dict[str, str]
    needed: dict[str, dict[str, str | None]] = dataclasses.field(default_factory=dict)
    words: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    work: tuple[str, ...] = ("fit",)
    statuses: tuple[int, ...] = ()

    @property
    def options(self) -> list[tuple[type, dataclasses.Field]]:
        return [
            (cls, field)
            for cls in self.classes
            for field in dataclasses.fields(cls)
            if field.name not in self.excluded
        ]


def write_inputs(folder: Path) -> None:
    """What the small runs read: texts, and a folder with a log for the report."""
    (folder / "texts").mkdir()
    words = "the a of loss rate step falls rises slowly fast model learns".split()
    for i in range(40):
        text = " ".join(words[(i * k * k + k) % len(words)] for k in range(120))
        (folder / "texts" / f"{i:02}.txt").write_text(f"{text} {i}.\n")
    (folder / "log").mkdir()
    with (folder / "log" / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["step", "seconds", "loss", "learning_rate", "factor", "base_learning_rate"],
                *([k, k, 5.0 - k, 0.1, 0.1, 1.0] for k in range(1, 4)),
            ]
        )
    (folder / "file").write_text("text")


def programs(inputs: Path) -> list[Program]:
    """All of them, reading `inputs` and writing into the working folder."""
    text = {"data": str(inputs / "texts"), "cache": str(inputs / "cache")}
    short = {"steps": "2", "eval_every": "1", "runs": "runs", "jit": "off"}
    shared = {
        "epochs": {"steps": None},
        "warmup": {"schedule": "linear"},
        "C": {"schedule": "h0h1"},
        "model_shards": {"distribute": "model"},
    }
    language = {
        **text, **short, "vocabulary": "300", "context": "8", "batch_size": "4",
        "eval_tokens": "64", "sample_tokens": "4",
    }  # fmt: skip
    dry = {name: {"dry_run": "true", "hardware": "h100"} for name in ("price", "utilisation")}
    large = {
        "vocabulary": {"context": "2", "batch_size": "1"},
        "size": {"loss_block": "0"},
    }
    resumed = {"resume": dict.fromkeys(language)}
    images = {**short, "data": "digits", "model": "resnet8", "batch_size": "16", "workers": "0"}
    adamw = {name: {"optimizer": "adamw"} for name in ("beta_1", "beta_2")}
    vit = {"patch": {"model": "vit-micro"}}
    several = {**shared, "warmup": {}, "C": {"schedules": "none,h0h1"}}
    return [
        Program(
            "gpt", None, (GPTConfig,), gpt.RECIPE.main, language,
            {**shared, **large, **dry, "hardware": {"dry_run": "true"}, **resumed},
        ),
        Program(
            "vision", None, (VisionConfig,), vision.RECIPE.main, images,
            {**shared, **adamw, **vit, "resume": dict.fromkeys(images)},
        ),
        Program(
            "compare", compare, (compare.Comparison, GPTConfig), compare.main, language,
            {**several, **large}, ("gpt",), gpt.RECIPE.single_run_options,
        ),
        Program(
            "compare vision", compare, (compare.Comparison, VisionConfig), compare.main, images,
            {**several, **adamw, **vit}, ("vision",), vision.RECIPE.single_run_options,
        ),
        Program(
            "tokenize", tokenize, (tokenize.Tokenize,), tokenize.main,
            {"data": text["data"], "vocabulary": "300", "workers": "1", "out": "out"},
        ),
        Program(
            "smoothness", smoothness, (smoothness.Smoothness,), smoothness.main,
            {
                **text, "quick": "true", "only": "losses", "steps": "2", "points": "2",
                "batch_size": "4", "vocabulary": "300", "context": "8", "out": "out",
            },
            work=("measure",),
        ),
        Program(
            "theory", theory, (theory.Theory,), theory.main, {"out": "out"}, work=("Progress",)
        ),
        Program(
            "report", report, (report.Report,), report.main, {"out": "page.html"},
            words=(str(inputs / "log"),),
        ),
        Program(
            "benchmarks.overhead", overhead, (overhead.Overhead,), overhead.main,
            {"width": "8", "depth": "1", "batch_size": "4", "steps": "2", "blocks": "2"},
        ),
        Program(
            "benchmarks.probe_overhead", probe_overhead, (probe_overhead.ProbeOverhead,),
            probe_overhead.main, {}, work=("load_corpus",),
        ),
        Program(
            "benchmarks.tokenizing", tokenizing, (tokenizing.Tokenizing,), tokenizing.main,
            {"megabytes": "0.1"}, work=("train_tokenizer",),
        ),
        Program(
            "benchmarks.paper_sizes", paper_sizes, (paper_sizes.PaperSizes,), paper_sizes.main,
            {
                "allow_cpu": "true", "size": "demo", "steps": "2", "batch_size": "4",
                "context": "8", "vocabulary": "300", "data": text["data"],
            },
            {"vocabulary": large["vocabulary"]}, statuses=(paper_sizes.NO_ACCELERATOR,),
        ),
    ]  # fmt: skip


def recorded(folder: Path) -> dict[str, Any] | None:
    """The configuration that a run has written below `folder`."""
    found = [path for path in folder.rglob("*.json") if path.name in ("config.json", "index.json")]
    if not found:
        return None
    values = json.loads(found[0].read_text("utf-8"))
    return values.get("settings", values)
