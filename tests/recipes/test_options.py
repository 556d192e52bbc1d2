import dataclasses
import json
from typing import Literal

import pytest

from recipes.common.command_line import names
from recipes.common.command_line.console import one_line_errors
from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import build, option, parse
from recipes.common.command_line.settings import Training
from recipes.common.results.run_folder import RunFolder


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


@pytest.mark.parametrize(
    "error", [InputError("no good"), InputError("a\nb\x1b[2J")], ids=["words", "control"]
)
def test_an_error_of_the_users_is_one_line_whatever_it_says(error, capsys):
    """The class tells that the user can mend it, not a word of its message."""
    with pytest.raises(SystemExit) as stopped, one_line_errors("program"):
        raise error
    message = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message.startswith("program: error: ") and message.count("\n") == 1
    assert "\x1b" not in message
    # Anything else is a bug and keeps its traceback.
    with pytest.raises(ValueError, match="a bug"), one_line_errors("program"):
        raise ValueError("a bug")


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
        {"gradient_accumulation_steps": -1},
        {"gradient_accumulation_steps": 65_537},
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
    defaults = {"batch_size": 4, "gradient_accumulation_steps": 2, "steps": 50}
    config = Training(schedule="h0h1", epochs=3.0)
    config = config.resolved(examples=80, defaults=defaults, initial_loss=8.0)
    assert (config.steps, config.batch_size, config.C, config.eval_every) == (30, 4, 4.0, 3)
    assert config.resolved(examples=80, defaults=defaults, initial_loss=8.0) == config
    # An odd number of updates has to survive the way through `epochs` and back.
    config = Training(steps=37).resolved(examples=81, defaults=defaults, initial_loss=8.0)
    assert config.resolved(examples=81, defaults=defaults, initial_loss=8.0) == config
    assert config.steps == 37


def test_former_names_are_accepted_everywhere_and_told_once(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(names, "_told", set())
    old = ["--accumulate=2", "--clip", "0.5", "--keep=3"]
    config = build(Training, parse([Training], old))
    new = ["--gradient-accumulation-steps=2", "--global-clipnorm=0.5", "--max-to-keep=3"]
    assert config == build(Training, parse([Training], new))
    assert config == Training(accumulate=2, clip=0.5, keep=3)
    values = {**dataclasses.asdict(config), "steps": 4, "eval_every": 2}
    for name, former in {
        "gradient_accumulation_steps": "accumulate",
        "max_to_keep": "keep",
    }.items():
        values[former] = values.pop(name)
    folder = RunFolder(tmp_path / "r")
    folder.path.mkdir()
    folder.config_path.write_text(json.dumps(values))
    resumed = folder.read_config(Training, {"max_to_keep": 1})
    assert (resumed.gradient_accumulation_steps, resumed.global_clipnorm) == (2, 0.5)
    assert resumed.max_to_keep == 1
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "The option --accumulate is now called --gradient-accumulation-steps.",
        "The option --clip is now called --global-clipnorm.",
        "The option --keep is now called --max-to-keep.",
        "The option accumulate is now called gradient_accumulation_steps.",
        "The option clip is now called global_clipnorm.",
        "The option keep is now called max_to_keep.",
    ]
    with pytest.raises(InputError, match=r"former name.*Received: keep=1, max_to_keep=2"):
        Training(keep=1, max_to_keep=2)
    with pytest.raises(InputError, match=r"`max_to_keep`: expected.*Received: max_to_keep=0"):
        Training(keep=0)
