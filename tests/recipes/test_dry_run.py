"""The dry run: XLA's own counts, no data, no files; and the options that go with it."""

import keras
import pytest

from benchmarks import common, paper_sizes
from recipes.compilers.deferred import deferred
from recipes.gpt import model as models
from recipes.gpt._xla import count_flops
from recipes.gpt.config import GPTConfig
from recipes.gpt.cost import training_flops
from recipes.gpt.losses import BlockedTraining
from recipes.gpt.recipe import RECIPE
from recipes.gpt.scale import (
    build_model,
    choose_attention,
    compile_for_training,
    flash_available,
    rematerialise,
)
from tests.backends import only_on

SMALL = models.Size(2, 64, 4, 96)

only_jax = only_on("jax", reason="only JAX tells XLA's count of operations")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(models.SIZES, "demo", SMALL)
    return ["--dry-run", "--vocabulary=512", "--context=16", "--batch-size=2", "--jit=off"]


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_it_prints_and_writes_nothing(small, tmp_path, arch, capsys):
    options = ["--steps=1000", "--hardware=h100", "--price=2.5", "--loss-block=8"]
    RECIPE.main([*small, f"--arch={arch}", *options])
    printed = capsys.readouterr().out
    count = models.parameter_count(arch, SMALL, 512, 16)
    # The closed form's and Keras' own.
    assert printed.count(f"{count:,}") == 2
    # 1000 updates of 2 x 16 tokens.
    assert "32,000 tokens" in printed and "h100" in printed and "price" in printed
    assert "a100" not in printed
    # Neither a run folder, nor a tokenizer, nor anything else.
    assert list(tmp_path.rglob("*")) == []


@only_jax
@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_flops_are_those_of_xla(arch):
    """At a width at which norms and softmax hardly count; with and without recomputation."""
    size, vocabulary, context, batch = models.Size(2, 256, 4, 768), 8192, 64, 4

    def counted(remat, blocked):
        model = deferred(lambda: models.build_language_model(arch, size, vocabulary, context))
        if remat:
            rematerialise(model)
        if blocked:
            # As one block: XLA counts the body of a loop once.
            model = BlockedTraining(model, context)
        compile_for_training(model, keras.optimizers.SGD(1e-3), jit=True)
        return count_flops(model, batch, context) / (batch * context)

    for remat, blocked in ((False, False), (True, True)):
        flops = training_flops(arch, size, vocabulary, context, remat, blocked)
        assert counted(remat, blocked) == pytest.approx(flops.total, rel=0.05)
        # The recomputation is more than the tolerance, so it was seen.
        assert not (remat and flops.model == pytest.approx(flops.total, rel=0.1))


@only_jax
@pytest.mark.parametrize(
    ("size", "parameters"), [("70m", 71_940_608), ("410m", 411_304_960)], ids=["70m", "410m"]
)
def test_paper_sizes_are_built_without_memory_for_their_weights(size, parameters):
    config = GPTConfig(
        arch="llama", size=size, vocabulary=50280, context=1024, batch_size=1, loss_block=2048
    )
    model = deferred(lambda: build_model(config))
    assert model.count_params() == parameters
    keras.utils.clear_session()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--price=3", "--hardware=h100"], "`hardware` is of --dry-run"),
        (["--dry-run", "--price=3"], "A price is that of one --hardware"),
        (["--dry-run", "--epochs=2"], "give --steps. Received: epochs=2"),
        (["--dry-run", "--utilisation=1.5"], "Received: utilisation=1.5"),
        (["--remat=blocks", "--dropout=0.1"], "Received: remat=blocks, dropout=0.1"),
        (["--loss-block=-1"], "Received: loss_block=-1"),
        (["--dry-run", "--attention=flash"], "Received: attention=flash"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes_get_one_line(options, words, capsys):
    if "--attention=flash" in options and not flash_available("float32"):
        pytest.skip("there is flash attention here")
    with pytest.raises(SystemExit) as stopped:
        RECIPE.main(options)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_plain_attention_reaches_the_layers():
    choose_attention("plain")
    model = models.build_language_model("gpt2", SMALL, 50, 8)
    block = model.get_layer("next_token").backbone.transformer_layers[0]
    assert block._self_attention_layer._flash_attention is False
    choose_attention("auto")
    assert keras.config.is_flash_attention_enabled() is None


def test_the_benchmark_needs_an_accelerator_or_leave(text_folder, tmp_path, monkeypatch, capsys):
    if paper_sizes.accelerator():
        pytest.skip("there is an accelerator here")
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    with pytest.raises(SystemExit) as stopped:
        paper_sizes.main([])
    assert stopped.value.code == paper_sizes.NO_ACCELERATOR
    assert "no GPU or TPU" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
    if keras.backend.backend() == "tensorflow":
        return  # XLA takes minutes there
    monkeypatch.setitem(models.SIZES, "demo", SMALL)
    result = paper_sizes.main(
        [
            *("--allow-cpu", "--size=demo", "--steps=3", "--batch-size=8", "--context=8"),
            *("--vocabulary=300", f"--data={text_folder}"),
        ]
    )
    assert [row["schedule"] for row in result["schedules"]] == ["none", "linear", "auto"]
    for row in result["schedules"]:
        assert row["tokens"] == 3 * 2 * 8 * 8 and row["tokens_per_second"] > 0
        # There is no such thing as a CPU's peak in the table.
        assert row["utilisation"] is None
    assert len(list((tmp_path / "results").iterdir())) == 1
