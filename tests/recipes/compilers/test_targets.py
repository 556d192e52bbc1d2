"""Training steps for TPU and GPU on a machine that has neither."""

import dataclasses
import functools
import math

import keras
import pytest

from recipes.common.training.attention import flash_available
from recipes.compilers.compiled import compile_for, without_cache
from recipes.compilers.deferred import deferred
from recipes.compilers.step import lower_step
from recipes.compilers.targets import Target, traced_for
from recipes.gpt import model as models
from recipes.gpt.config import GPTConfig, resolve_without_data
from recipes.gpt.cost import training_flops
from recipes.gpt.layout import LAYOUT
from recipes.gpt.recipe import RECIPE as GPT
from recipes.gpt.scale import build_model, compile_for_training
from recipes.gpt.target import compile_step
from recipes.vision.dry_run import data_without_pixels
from recipes.vision.recipe import RECIPE as VISION
from tests.backends import only_on

pytestmark = only_on("jax", reason="only JAX compiles for devices that are not here")
SMALL = models.Size(layers=1, width=128, heads=4, intermediate=256)
TPU, GPU = "tpu-v5e:2x2", "h100:1"


def needs(target):
    missing = Target.parse(target).missing()
    if missing:
        pytest.skip(missing)


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setitem(models.SIZES, "demo", SMALL)
    given = GPTConfig(
        arch="llama",
        precision="mixed_bfloat16",
        gradient_accumulation_steps=2,
        batch_size=8,
        dry_run=True,
    )
    keras.config.set_dtype_policy(given.precision)
    yield resolve_without_data(given)
    keras.utils.clear_session()


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_the_step_is_written_for_other_platforms_on_any_machine(config, platform):
    model = deferred(lambda: build_model(config))
    compile_for_training(model, keras.optimizers.AdamW(1e-3), jit=True)
    tokens = (8, 128), "int32"
    text = lower_step(model, (tokens, tokens), platforms=(platform,)).as_text()
    assert "stablehlo.dot_general" in text
    # Nothing that would call back to this machine or need double precision.
    assert "callback" not in text and "f64" not in text
    # Each product forward, and the two of its gradient.
    forward = 7 + 2 + 1
    assert text.count("stablehlo.dot_general") >= 3 * forward


@pytest.mark.parametrize(
    "text", ["", "h100", "h100:0", "h100:9", "h100:2x2", "tpu-v5e:4", "tpu-v4:2x2", "gpu:1", "🙂:1"]
)
def test_a_target_that_is_none_gets_one_line(text):
    with pytest.raises(ValueError, match="Received: target="):
        Target.parse(text)


def test_a_target_is_of_the_dry_run_and_says_what_to_install(capsys, monkeypatch):
    with pytest.raises(SystemExit):
        GPT.main(["--target=h100:1"])
    assert "`target` is of --dry-run" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        GPT.main(["--dry-run", "--target=tpu-v5e:2x2"])
    assert stopped.value.code == 2
    assert 'pip install -e ".[aot-tpu]"' in capsys.readouterr().err


class _Elsewhere:
    def __init__(self, platform, capability=None):
        self.platform = platform
        if capability:
            self.compute_capability = capability


def test_attention_for_a_target_is_chosen_without_running_anything(monkeypatch):
    def run(*args, **kwargs):
        raise AssertionError("an operation was run")

    monkeypatch.setattr("recipes.common.training.attention._difference", run)
    with traced_for([_Elsewhere("tpu")]):
        assert flash_available("bfloat16", 100, 64) is None
        assert "padded" in flash_available("bfloat16", 64, 64)
    with traced_for([_Elsewhere("gpu", "9.0")]):
        assert flash_available("bfloat16", 128, 64) is None
        # cuDNN's takes half precision only.
        assert flash_available("float32", 128, 64)
    with traced_for([_Elsewhere("gpu", "7.0")]):
        assert flash_available("bfloat16", 128, 64)


@pytest.mark.parametrize(("target", "kind"), [(TPU, "data"), (TPU, "model"), (GPU, "none")])
def test_a_language_model_compiles(config, target, kind):
    needs(target)
    config = dataclasses.replace(config, target=target, distribute=kind)
    found = compile_step(config)
    assert found.error is None
    devices = found.placement.plan.replicas * found.placement.plan.model_shards
    flops = training_flops("llama", SMALL, config.vocabulary, config.context).total
    share = flops * config.batch_size * config.context / devices
    # The fused kernels make the scores again in their backward passes, on TPU in two of them.
    assert share < found.work.flops < 1.25 * share
    # Weights, AdamW's two averages and the sum of gradients, in float32.
    parameters = models.parameter_count("llama", SMALL, config.vocabulary, config.context)
    shards = found.placement.plan.model_shards
    assert found.state == pytest.approx(16 * parameters / shards, rel=0.02)
    assert found.state < found.peak < 100e6
    assert {m.axis for m in found.work.messages} == (
        {"none": set(), "data": {"batch"}, "model": {"model"}}[kind]
    )
    if kind == "data":
        # The gradients: float32 of the embedding, and bfloat16 or float32 of the rest.
        assert 2 * parameters < found.work.messages[0].payload < 4 * parameters + 1000
    # Forward and backward of the one layer; on TPU keys and values are a call of their own.
    kernels = {TPU: "splash (Pallas), 3 calls", GPU: "fused (cuDNN), 2 calls"}
    assert found.attention == kernels[target]


@pytest.mark.parametrize("target", [TPU, GPU])
def test_the_loss_driven_rate_costs_nothing_there(config, target):
    """Against the same optimizer with a schedule of Keras' own."""
    needs(target)
    config = dataclasses.replace(config, target=target)
    tokens = (config.batch_size, config.context), "int32"

    def compiled(optimizer):
        def build(placement):
            model = deferred(lambda: build_model(config))
            compile_for_training(model, optimizer, jit=True)
            return model

        return compile_for(
            Target.parse(target), build, (tokens, tokens), layout=LAYOUT, accumulate=2
        ).work

    built_in = compiled(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(1e-3, 1000),
            weight_decay=config.weight_decay,
            global_clipnorm=config.global_clipnorm,
            gradient_accumulation_steps=2,
        )
    )
    from recipes.common.training.optimizers import build_adamw

    driven = compiled(build_adamw(config))
    assert {k: v[:2] for k, v in driven.collectives.items()} == {
        k: v[:2] for k, v in built_in.collectives.items()
    }
    assert driven.flops == built_in.flops
    # Another pass over the weights would read them all once more.
    parameters = models.parameter_count("llama", SMALL, config.vocabulary, config.context)
    assert driven.bytes - built_in.bytes < 0.01 * 4 * parameters
    if target == TPU:
        assert built_in.cycles > 0
        assert driven.cycles == pytest.approx(built_in.cycles, rel=1e-3)


@pytest.mark.parametrize("model", ["resnet8", "vit-micro"])
@pytest.mark.parametrize("target", [TPU, GPU])
def test_a_classifier_compiles(model, target, capsys):
    needs(target)
    record = VISION.main(
        [
            "--dry-run",
            f"--target={target}",
            f"--model={model}",
            "--data=cifar10",
            "--batch-size=32",
            "--precision=mixed_bfloat16",
        ]
    )
    assert record["compiles"] and record["peak_memory"] > record["state_memory"]
    assert record["flops"] == pytest.approx(record["closed_form_flops"], rel=0.1)
    assert "images/s at most" in capsys.readouterr().out


def test_the_dry_run_of_a_classifier_reads_no_data(capsys):
    record = VISION.main(["--dry-run", "--model=vit-micro", "--data=cifar10", "--batch-size=8"])
    expected, found = record["closed_form"], record["here"]
    assert expected["parameters"] == found["parameters"]
    images = 8 * (32 * 32 * 3 + 10) * 4
    assert found["state"] == pytest.approx(expected["state"] + images, rel=0.01)
    assert found["flops"] == pytest.approx(expected["flops"], rel=0.2)
    assert len(data_without_pixels("imagenet32").training) == 1_281_167
    with pytest.raises(SystemExit):
        VISION.main(["--dry-run", "--data=folder"])
    assert "Received: data=folder" in capsys.readouterr().err
    assert math.prod(data_without_pixels("digits").shape) == 64


def test_compiled_programs_of_absent_devices_are_not_cached(tmp_path, request):
    import jax
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    for name, value in (
        ("jax_compilation_cache_dir", str(tmp_path)),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
    ):
        before = getattr(jax.config, name)
        jax.config.update(name, value)
        request.addfinalizer(functools.partial(jax.config.update, name, before))
    request.addfinalizer(reset_cache)
    reset_cache()
    with without_cache():
        jax.jit(lambda x: x + 1).lower(1.0).compile()
    assert not list(tmp_path.iterdir())
    jax.jit(lambda x: x + 2).lower(1.0).compile()
    assert list(tmp_path.iterdir())


@pytest.mark.parametrize("recipe", [GPT, VISION], ids=["gpt", "vision"])
def test_a_compiler_that_counts_nothing_leaves_the_dry_run_its_other_figures(
    recipe, monkeypatch, capsys
):
    """As on TPU, whose compiler counts no operations before it has compiled."""
    import jax

    monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", lambda self: None)
    if recipe is GPT:
        monkeypatch.setitem(models.SIZES, "demo", SMALL)
        shape = ["--context=16", "--vocabulary=64"]
    else:
        shape = ["--model=vit-micro", "--data=digits"]
    record = recipe.main(["--dry-run", "--batch-size=2", *shape])
    if recipe is GPT:
        assert record["xla_flops_per_token"] is None and record["xla_state"] > 0
    else:
        assert record["here"]["flops"] is None and record["here"]["state"] > 0
    assert capsys.readouterr().out
