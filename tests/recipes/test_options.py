import dataclasses
from typing import Literal

import pytest

from recipes.common.command_line.options import build, option, parse
from recipes.common.command_line.settings import Training


@dataclasses.dataclass
class Small:
    """Small."""

    steps: int | None = option(None, "how long")
    peak_lr: float = option(1e-3, "how fast")
    schedule: Literal["none", "linear", "h0h1"] = option("none", "which")
    data: tuple[str, ...] = option((), "what")
    seeds: tuple[int, ...] = option((0,), "more than one")
    quick: bool = option(False, "100% quick")
    C: float = option(1.0, "a capital")


def read(*argv):
    return build(Small, parse([Small], argv))


def test_defaults_and_both_spellings():
    assert read() == Small()
    assert read("--peak-lr", "0.5", "--steps=3") == Small(steps=3, peak_lr=0.5)
    assert read("--data=a,b", "--seeds", "1,2", "--C=2", "--schedule", "h0h1") == Small(
        data=("a", "b"), seeds=(1, 2), C=2.0, schedule="h0h1"
    )
    assert read("--quick").quick is True
    assert read("--quick=true").quick is True
    assert read("--quick", "no").quick is False


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--stpes=3"], ["unknown option", "--steps", "--stpes=3"]),
        (["--peek-lr", "1"], ["unknown option", "--peak-lr"]),
        (["--peak_lr", "1"], ["unknown option", "--peak-lr"]),
        (["--c=1"], ["unknown option", "Did you mean --C?"]),
        (["--lr=1"], ["unknown option", "Did you mean --peak-lr?"]),
        # A prefix is not an option: it would change its meaning when an option is added.
        (["--step=3"], ["unknown option", "--steps"]),
        (["--steps=1.5"], ["--steps", "an integer", "1.5"]),
        (["--peak-lr=fast"], ["--peak-lr", "a number", "fast"]),
        (["--schedule=h0hl"], ["--schedule", "Did you mean h0h1?", "h0hl"]),
        (["--seeds=1,x"], ["--seeds", "an integer", "x"]),
        (["--quick=maybe"], ["--quick", "true or false", "maybe"]),
        (["--steps"], ["--steps", "expected one argument"]),
        (["word"], ["unknown option", "word"]),
    ],
)
def test_mistakes_name_the_nearest_valid_option(argv, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        read(*argv)
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    for word in words:
        assert word in message


def test_help_prints_each_reason_and_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        read("--help")
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "how fast [default: 0.001]" in text
    assert "100% quick [default: false]" in text


def test_json_round_trip_keeps_tuples():
    config = Small(data=("a",), seeds=(1, 2))
    assert build(Small, {k: list(v) if isinstance(v, tuple) else v
                         for k, v in dataclasses.asdict(config).items()}) == config  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"accumulate": -1},
        {"accumulate": 65_537},
        {"peak_lr": 0.0},
        {"C": float("nan")},
        {"decay": 1.5},
        {"schedule": "linear", "warmup": 0.7, "decay": 0.4},
        {"seed": -1},
    ],
)
def test_values_out_of_range_are_named(bad):
    with pytest.raises(ValueError, match=r"Received: "):
        Training(**bad)


def test_resolving_fills_everything_in_and_is_stable():
    defaults = {"batch_size": 4, "accumulate": 2, "steps": 50}
    config = Training(epochs=3.0).resolved(examples=80, defaults=defaults, initial_loss=8.0)
    assert (config.steps, config.batch_size, config.C, config.eval_every) == (30, 4, 4.0, 3)
    assert config.resolved(examples=80, defaults=defaults, initial_loss=8.0) == config
    # An odd number of updates has to survive the way through `epochs` and back.
    config = Training(steps=37).resolved(examples=81, defaults=defaults, initial_loss=8.0)
    assert config.resolved(examples=81, defaults=defaults, initial_loss=8.0) == config
    assert config.steps == 37
