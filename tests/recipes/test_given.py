"""Options that contradict one another, or the run that is resumed, are refused in one line."""

import pytest

from benchmarks import overhead, paper_sizes, probe_overhead, tokenizing
from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import build
from recipes.common.command_line.settings import MOST_STEPS
from recipes.common.results.run_folder import RunFolder
from tests.backends import only_on
from tests.recipes import tiny

pytestmark = only_on("jax", reason="options do not depend on the backend")


def refused(main, argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    message = capsys.readouterr().err
    assert stopped.value.code == 2 and message.count("\n") == 1 and "Received: " in message
    return message


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "r")
    folder.path.mkdir(parents=True)
    folder.write_config(
        tiny.TinyConfig(
            steps=4, batch_size=4, gradient_accumulation_steps=1, eval_every=2, C=1.0, epochs=0.1
        )
    )
    return folder


def test_a_resumed_run_keeps_its_name_and_place(run, tmp_path, capsys, monkeypatch):
    resume = f"--resume={run.path}"
    for option in ("--name=other", f"--runs={tmp_path / 'elsewhere'}"):
        message = refused(tiny.RECIPE.main, [resume, option], capsys)
        assert f"{option.split('=')[0]} has no effect with --resume" in message
        assert message.rstrip().endswith(option.replace("=", " "))
    assert [path.name for path in tmp_path.rglob("*")] == ["runs", "r", "config.json"]
    # What says the same as the run is no contradiction.
    begun = []
    monkeypatch.setattr(type(tiny.RECIPE), "run", lambda *args: (begun.append(args), None))
    for options in (["--name=r"], [f"--runs={tmp_path / 'runs'}"]):
        tiny.RECIPE.main([resume, *options])
    assert len(begun) == 2


@pytest.mark.parametrize("epochs", [1e-30, 0.0039, 1e6])
def test_epochs_are_from_one_update_to_the_most(epochs):
    examples = 512 if epochs < 1 else 10**9
    config = tiny.TinyConfig(
        epochs=epochs, batch_size=4, gradient_accumulation_steps=1, eval_every=1
    )
    with pytest.raises(InputError, match=f"{MOST_STEPS:,} updates.* Received: epochs="):
        config.resolved(examples, {}, 1.0)
    one = tiny.TinyConfig(
        epochs=0.0078125, batch_size=4, gradient_accumulation_steps=1, eval_every=1
    )
    assert one.resolved(512, {}, 1.0).steps == 1
    with pytest.raises(InputError, match="too small for one example"):
        one.resolved(0, {}, 1.0)


@pytest.mark.parametrize(
    ("module", "cls", "argv", "words"),
    [
        (overhead, "Overhead", ["--width=0"], ">= 1"),
        (overhead, "Overhead", ["--blocks=1"], ">= 2"),
        (overhead, "Overhead", ["--depth=-1"], ">= 0"),
        (overhead, "Overhead", ["--steps=1000000", "--batch-size=1000000"], "at most"),
        (overhead, "Overhead", ["--width=65536"], "at most"),
        (probe_overhead, "ProbeOverhead", ["--every=1"], ">= 2"),
        (probe_overhead, "ProbeOverhead", ["--steps=25"], "exceed half"),
        (probe_overhead, "ProbeOverhead", ["--probe-size=nan"], "an integer"),
        (tokenizing, "Tokenizing", ["--megabytes=nan"], "a number"),
        (tokenizing, "Tokenizing", ["--every=0"], ">= 0.1"),
        (tokenizing, "Tokenizing", ["--vocabulary=256"], ">= 257"),
        (paper_sizes, "PaperSizes", ["--steps=1"], ">= 2"),
        (paper_sizes, "PaperSizes", ["--minutes=0"], "> 0"),
        (paper_sizes, "PaperSizes", ["--data="], "not empty"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_benchmarks_options_have_ranges(module, cls, argv, words, capsys, monkeypatch):
    ran = []
    monkeypatch.setattr(module, "run", ran.append)
    assert words in refused(module.main, argv, capsys)
    module.main([])
    assert ran == [build(getattr(module, cls), {})] or ran == [getattr(module, cls)()]
