"""What a recipe leaves behind opens without the recipes: keras, keras_hub and the library alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tokenizers

import keras_h0h1
from recipes.common.checkpoints.snapshot import load_checkpoint
from recipes.common.results.run_folder import RunFolder
from recipes.gpt.export import export_tokenizer
from recipes.gpt.recipe import RECIPE
from recipes.gpt.scale import language_model_of
from recipes.text.tokenizer import train_tokenizer
from recipes.text.tokens import load_corpus
from recipes.vision import model as image_models
from recipes.vision.data import load_images
from recipes.vision.export import load_weights
from recipes.vision.model import build_classifier
from recipes.vision.recipe import RECIPE as VISION
from tests.backends import only_on

# In a process that cannot import the recipes: loads both forms, generates, and leaves the logits.
_STRANGER = """
import importlib.util, json, sys
import numpy as np
assert importlib.util.find_spec("recipes") is None, "the recipes can be imported: no test at all"
import keras, keras_hub, keras_h0h1
folder, prompt = sys.argv[1:]
inputs = {"token_ids": np.load("ids.npy"), "padding_mask": np.ones((2, 8), bool)}
found = {}
for name, model in {
    "keras": keras.saving.load_model(f"{folder}/model.keras"),
    "preset": keras_hub.models.CausalLM.from_preset(f"{folder}/preset"),
}.items():
    np.save(f"{name}.npy", keras.ops.convert_to_numpy(model(inputs)))
    model.compile(sampler="greedy")
    if prompt:
        tokens = [int(i) for i in model.preprocessor.tokenizer(prompt)]
        found[name] = [type(model).__name__, model.generate(prompt, max_length=8), tokens]
    else:
        assert model.preprocessor is None
        start = {"token_ids": inputs["token_ids"], "padding_mask": np.arange(8)[None] < [[3], [3]]}
        ids = model.generate(start, stop_token_ids=None)["token_ids"]
        found[name] = [type(model).__name__, np.asarray(ids).tolist()]
print(json.dumps(found))
"""


# An editable installation puts the repository on the path by itself.
_HIDE = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import os
sys.path = [p for p in sys.path if not os.path.isdir(os.path.join(p or ".", "recipes"))]
"""


def elsewhere(tmp_path):
    """A folder from which the library can be imported and the recipes cannot."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "keras_h0h1").symlink_to(Path(keras_h0h1.__file__).parent)
    return place


def run_stranger(place, code, *arguments):
    """The standard output of `code` in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", _HIDE + code, *map(str, arguments)],
        cwd=place,
        env=environment | {"KERAS_BACKEND": keras.backend.backend()},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def opened_elsewhere(folder, tmp_path, prompt):
    """What the stranger's process finds, and the logits of both forms."""
    place = elsewhere(tmp_path)
    np.save(place / "ids.npy", np.arange(16, dtype="int32").reshape(2, 8) % 40)
    found = json.loads(run_stranger(place, _STRANGER, folder, prompt).splitlines()[-1])
    return found, [np.load(place / f"{name}.npy") for name in ("keras", "preset")]


def trained_logits(folder):
    """Of the last checkpoint, by the recipe's own model."""
    model = language_model_of(load_checkpoint(RunFolder(folder).latest_checkpoint()[0]))
    ids = np.arange(16, dtype="int32").reshape(2, 8) % 40
    return keras.ops.convert_to_numpy(model(ids))


ONE_IS_ENOUGH = only_on("tensorflow", "jax", reason="on PyTorch one model of a kind is enough")


@pytest.mark.parametrize("arch", ["gpt2", pytest.param("llama", marks=ONE_IS_ENOUGH)])
def test_a_language_model_generates_text_without_the_recipes(tiny_options, tmp_path, arch):
    prompt = "the rate "
    options = ["--remat=blocks", "--loss-block=12"] if arch == "llama" else []
    RECIPE.main([*tiny_options, "--name=r", f"--arch={arch}", *options])
    folder = tmp_path / "runs" / "r"
    found, logits = opened_elsewhere(folder, tmp_path, prompt)
    expected = trained_logits(folder)
    assert np.abs(expected).max() > 1e-3
    for other in logits:
        np.testing.assert_allclose(other, expected, atol=2e-6, rtol=1e-5)
    config = json.loads((folder / "config.json").read_text())
    tokenizer = load_corpus(config["data"], 300).tokenizer
    for kind, text, tokens in found.values():
        assert kind == {"gpt2": "GPT2CausalLM", "llama": "LlamaCausalLM"}[arch]
        assert tokens == tokenizer.encode(prompt).ids
        assert text.startswith(prompt)


@ONE_IS_ENOUGH
def test_a_model_of_bare_tokens_generates_tokens(tiny_options, tmp_path):
    np.tile(np.arange(40, dtype=np.uint16), 60).tofile(tmp_path / "t.bin")
    RECIPE.main([*tiny_options, f"--data={tmp_path / 't.bin'}", "--name=r", "--vocabulary=40"])
    found, logits = opened_elsewhere(tmp_path / "runs" / "r", tmp_path, "")
    np.testing.assert_allclose(
        logits[0], trained_logits(tmp_path / "runs" / "r"), atol=2e-6, rtol=1e-5
    )
    for _, ids in found.values():
        assert np.shape(ids) == (2, 8) and np.all(np.array(ids) < 40)
        assert np.array(ids)[:, :3].tolist() == [[0, 1, 2], [8, 9, 10]]


def test_the_tokenizer_is_the_same_in_a_pipeline(tmp_path):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    text = "def g(x):\n    return 1 + os\n\n\nclass A:  # it's\t\t 12345 \u4e2d  \n    if a:\r\n"
    tokenizer = train_tokenizer([text * 3, "def f(x):\n    return x + 1\n" * 20], 400, tmp_path)
    exported = export_tokenizer(tokenizer)
    (ids,) = tf.data.Dataset.from_tensors(text).map(exported)
    assert ids.numpy().tolist() == tokenizer.encode(text).ids
    assert exported.detokenize(ids) == text


def test_another_kind_of_tokenizer_is_not_exported():
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    assert export_tokenizer(words) is None
    # Byte-level, but without the token that ends a text.
    alphabet = {c: i for i, c in enumerate(tokenizers.pre_tokenizers.ByteLevel.alphabet())}
    plain = tokenizers.Tokenizer(tokenizers.models.BPE(alphabet, []))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert export_tokenizer(plain) is None


_STRANGER_TO_IMAGES = """
import importlib.util, sys
import numpy as np
assert importlib.util.find_spec("recipes") is None, "the recipes can be imported: no test at all"
import keras, keras_hub, keras_h0h1
folder, images = sys.argv[1:]
images = np.load(images)
np.save("keras.npy", keras.saving.load_model(f"{folder}/model.keras").predict(images, verbose=0))
if "vit" in folder:
    model = keras_hub.models.ImageClassifier.from_preset(f"{folder}/preset")
    np.save("preset.npy", model.predict(images, verbose=0))
"""


@pytest.mark.parametrize("name", ["resnet8", pytest.param("vit-micro", marks=ONE_IS_ENOUGH)])
def test_a_classifier_takes_raw_images_without_the_recipes(tmp_path, monkeypatch, name, backend):
    monkeypatch.setitem(image_models.MODELS, "resnet8", image_models.ResNet((1, 1), (4, 8)))
    monkeypatch.setitem(image_models.MODELS, "vit-micro", image_models.ViT(1, 8, 2))
    jit = "off" if backend == "tensorflow" else "auto"
    options = [
        "--data=digits", f"--model={name}", "--batch-size=16", "--steps=2", "--workers=0",
        "--stochastic-depth=0.3", f"--jit={jit}", f"--runs={tmp_path / 'runs'}",
    ]  # fmt: skip
    VISION.main([*options, f"--name={name}"])
    folder = tmp_path / "runs" / name
    data = load_images("digits")
    np.save(tmp_path / "images.npy", data.validation.images)
    place = elsewhere(tmp_path)
    run_stranger(place, _STRANGER_TO_IMAGES, folder, tmp_path / "images.npy")
    model = load_checkpoint(RunFolder(folder).latest_checkpoint()[0])
    pixels = data.validation.images.astype("float64") / 255
    expected = model.predict(((pixels - data.mean) / data.std).astype("float32"), verbose=0)
    forms = ["keras", "preset"] if name == "vit-micro" else ["keras"]
    for form in forms:
        np.testing.assert_allclose(np.load(place / f"{form}.npy"), expected, atol=1e-5)
    # The exported file is one that a run can start from.
    again = build_classifier(image_models.MODELS[name], 10, (8, 8, 1), stochastic_depth=0.3)
    load_weights(again, str(folder / "model.keras"), data)
    for one, other in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
        )
