"""The exercises of CONTRIBUTING.md, done in a copy: a new file and one line are enough."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
RECIPES = "recipes/registry.py"
DATA_SETS = "recipes/vision/data/__init__.py"
ARCHITECTURES = "recipes/gpt/architectures/__init__.py"
FAMILIES = "recipes/vision/families/__init__.py"
PROBE_MODES = "keras_h0h1/callbacks/probe_modes/__init__.py"

pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") != "jax", reason="registration does not depend on the backend"
)


def blocks(title: str) -> list[str]:
    """The Python blocks of the exercise with that title."""
    section = TEXT.split(f"### {title}\n")[1].split("\n#")[0]
    return re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
def copy(tmp_path):
    """A function that runs Python code on a copy of the library and the recipes."""
    for package in ("keras_h0h1", "recipes"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )

    def run(code):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run.folder = tmp_path
    return run


def test_a_schedule(copy):
    """A file and two lines in `schedules/__init__.py`; it is simulated, saved and loaded."""
    (module,) = blocks("A schedule")
    folder = copy.folder / "keras_h0h1" / "schedules"
    (folder / "square_root.py").write_text(module, "utf-8")
    names = (folder / "__init__.py").read_text("utf-8")
    names = names.replace("__all__ = [", '__all__ = [\n    "SquareRootLearningRate",')
    line = "from keras_h0h1.schedules.square_root import SquareRootLearningRate\n"
    (folder / "__init__.py").write_text(names.replace("\n__all__", f"{line}\n__all__"), "utf-8")
    printed = copy(
        "import keras\n"
        "from keras_h0h1 import LossAware\n"
        "from keras_h0h1.schedules import SquareRootLearningRate, simulate\n"
        "schedule = SquareRootLearningRate(0.1, C=1.0)\n"
        "print(simulate(schedule, [9.0, 4.0, 1.0, 0.5]).effective_learning_rate.tolist())\n"
        "optimizer = LossAware(keras.optimizers.Adam(schedule))\n"
        "again = keras.saving.deserialize_keras_object(\n"
        "    keras.saving.serialize_keras_object(optimizer))\n"
        "print(again.rate_states[0].schedule.get_config())\n"
    )
    rates, config = printed.strip().splitlines()[-2:]
    # base * sqrt(C / max(C, gap)) by hand.
    expected = [0.1 / 3, 0.1 / 2, 0.1, 0.1]
    assert [float(r) for r in rates.strip("[]").split(",")] == pytest.approx(expected, rel=1e-6)
    assert config == "{'base': 0.1, 'C': 1.0}"


def test_a_data_set(copy):
    """A file and one line; the option has it, and it is read."""
    pytest.importorskip("sklearn")
    module, line = blocks("A data set")
    (copy.folder / "recipes/vision/data/stripes.py").write_text(module, "utf-8")
    registry = copy.folder / DATA_SETS
    text = registry.read_text("utf-8")
    registry.write_text(text.replace("_MODULES = {\n", f"_MODULES = {{\n{line}"), "utf-8")
    printed = copy(
        "from recipes.vision.config import VisionConfig, resolve\n"
        "from recipes.vision.data import load_images\n"
        "data = load_images('stripes')\n"
        "config = resolve(VisionConfig(data='stripes', model='vit-micro'), data)\n"
        "print(data.training.images.shape, len(data.validation), config.batch_size, config.steps)\n"
    )
    # 800 images, batches of 32, 5 epochs.
    assert printed.strip().splitlines()[-1] == "(800, 8, 8, 1) 200 32 125"


def test_a_probe_mode(copy):
    """A file and two lines; the trace of a quadratic is measured."""
    (module,) = blocks("A probe mode")
    registry = copy.folder / PROBE_MODES
    registry.with_name("trace.py").write_text(module, "utf-8")
    text = registry.read_text("utf-8")
    text = text.replace(
        "\nMODES", "from keras_h0h1.callbacks.probe_modes.trace import TraceMode\n\nMODES"
    )
    text = text.replace("for mode in (", "for mode in (TraceMode, ")
    registry.write_text(text, "utf-8")
    printed = copy(
        "import keras, numpy as np\n"
        "from keras_h0h1.callbacks import SmoothnessProbe\n"
        "dense = keras.layers.Dense(1, use_bias=False)\n"
        "model = keras.Sequential([keras.Input((2,)), dense])\n"
        "model.compile(keras.optimizers.SGD(0.1), loss=lambda y, p: 0.5 * (p - y) ** 2)\n"
        "x, y = np.array([[2.0, 0.0], [0.0, 4.0]]), np.zeros((2, 1))\n"
        "probe = SmoothnessProbe((x, y), 'trace', every=1, max_share=None)\n"
        "model.fit(x, y, epochs=1, verbose=0, callbacks=[probe])\n"
        "print([(row['mode'], round(row['curvature'], 4)) for row in probe.history])\n"
    )
    # The Hessian is diag(4, 16) / 2.
    assert printed.strip().splitlines()[-1] == "[('trace', 10.0), ('trace', 10.0)]"


def test_an_architecture(copy):
    """A file and two lines; the option has it, it is built, counted and exported."""
    pytest.importorskip("keras_nlp")
    (module,) = blocks("An architecture of the GPT")
    registry = copy.folder / ARCHITECTURES
    registry.with_name("mistral.py").write_text(module, "utf-8")
    text = registry.read_text("utf-8")
    line = "from recipes.gpt.architectures.mistral import Mistral\n"
    text = text.replace("\n__all__", f"{line}\n__all__").replace("Llama())", "Llama(), Mistral())")
    registry.write_text(text, "utf-8")
    printed = copy(
        "from recipes.gpt.config import GPTConfig\n"
        "from recipes.gpt.cost import training_flops\n"
        "from recipes.gpt.export import export_task\n"
        "from recipes.gpt.model import Size, build_language_model, parameter_count\n"
        "size = Size(layers=1, width=8, heads=2, intermediate=12)\n"
        "model = build_language_model('mistral', size, 50, 16)\n"
        "print('mistral' in str(GPTConfig.__dataclass_fields__['arch'].type))\n"
        "print(model.count_params(), parameter_count('mistral', size, 50, 16))\n"
        "print(training_flops('mistral', size, 50, 16).forward)\n"
        "print(type(export_task(model, 'mistral', None, 16)).__name__)\n"
    )
    # Embedding and head of 50 x 8 each, attention 4 x 64, SwiGLU 3 x 96, three norms of 8; twice
    # their products for a token, with 2 x 2 x 16 x 8 for the scores and the mix of values.
    weights = 800 + 256 + 288 + 24
    flops = 2 * (256 + 288 + 400) + 512
    counts = [str(weights), str(weights), str(flops)]
    assert printed.split()[-5:] == ["True", *counts, "MistralCausalLM"]


def test_a_family_of_image_models(copy):
    """A file and two lines; the option has it, it is built, counted and exported."""
    pytest.importorskip("keras_hub")
    pytest.importorskip("sklearn")
    (module,) = blocks("A family of image models")
    registry = copy.folder / FAMILIES
    registry.with_name("plain.py").write_text(module, "utf-8")
    text = registry.read_text("utf-8")
    text = text.replace("import resnet, vit", "import plain, resnet, vit")
    registry.write_text(text.replace("**vit.MODELS", "**vit.MODELS, **plain.MODELS"), "utf-8")
    printed = copy(
        "from recipes.vision.config import VisionConfig, resolve\n"
        "from recipes.vision.cost import training_cost\n"
        "from recipes.vision.data import load_images\n"
        "from recipes.vision.export import export_task\n"
        "from recipes.vision.model import build_classifier, parameter_count\n"
        "data = load_images('digits')\n"
        "config = resolve(VisionConfig(data='digits', model='plain'), data)\n"
        "model = build_classifier(config.shape, 10, (8, 8, 1))\n"
        "print('plain' in str(VisionConfig.__dataclass_fields__['model'].type), config.optimizer)\n"
        "print(model.count_params(), parameter_count(config.shape, 10, (8, 8, 1)))\n"
        "print(training_cost(model, config.shape, 1, averages=1).flops)\n"
        "print(type(export_task(model, data)).__name__)\n"
    )
    # Kernels of 3 x 3 with a bias for each filter, and the head; operations at 4x4 and 2x2.
    weights = (9 * 16 + 16) + (9 * 16 * 32 + 32) + 33 * 10
    flops = 3 * 2 * (9 * 16 * 16 + 9 * 16 * 32 * 4 + 32 * 10)
    counts = [str(weights), str(weights), str(flops)]
    assert printed.split()[-6:] == ["True", "sgd", *counts, "ImageClassifier"]


def test_a_recipe(copy):
    """A package and a line: it trains, stops, resumes with the same batches, and is compared."""
    pytest.importorskip("rich")
    pytest.importorskip("matplotlib")
    folder = copy.folder / "recipes" / "line"
    folder.mkdir()
    names = ("config", "data", "model", "recipe", "__main__")
    for name, module in zip(names, blocks("A recipe"), strict=True):
        (folder / f"{name}.py").write_text(module, "utf-8")
    (folder / "__init__.py").write_text('"""Fits a line."""\n', "utf-8")
    registry = copy.folder / RECIPES
    line = '    "line": "recipes.line.recipe",\n'
    text = registry.read_text("utf-8").replace("RECIPES = {\n", f"RECIPES = {{\n{line}")
    registry.write_text(text, "utf-8")
    printed = copy(
        "from recipes.compare.__main__ import main\n"
        "from recipes.line.recipe import RECIPE\n"
        "own = ['--steps=20', '--eval-every=10', '--peak-lr=0.1', '--noise=0']\n"
        "whole = RECIPE.main([*own, '--name=whole'])\n"
        "RECIPE.main([*own, '--name=part', '--stop-after=10'])\n"
        "part = RECIPE.main(['--resume=runs/part', '--stop-after=20'])\n"
        "main(['line', *own, '--schedules=none,h0h1'])\n"
        "print(whole['final_validation_loss'] < 9, end=' ')\n"
        "print(part['final_validation_loss'] == whole['final_validation_loss'])\n"
    )
    assert printed.strip().splitlines()[-1] == "True True"


def test_the_files_of_the_table_exist():
    """What CONTRIBUTING names, without the files that a reader is to make."""
    table = TEXT.split("## Where the next thing goes\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`([\w./]+/[\w./]*)`", table))
    assert "recipes/registry.py" in named
    missing = [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
    assert missing == []
