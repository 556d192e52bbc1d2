"""`--suggest` on a recipe."""

import json

import pytest

from recipes.gpt.recipe import RECIPE


def test_suggest_writes_and_leaves(tiny_options, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        RECIPE.main([*tiny_options, "--name=r", "--suggest", "--gradient-accumulation-steps=2"])
    assert left.value.code == 0
    folder = tmp_path / "runs" / "r"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "data.json", "run.lock", "suggestion.json", "suggestion.png",
    }  # fmt: skip
    suggestion = json.loads((folder / "suggestion.json").read_text())
    printed = capsys.readouterr().out
    assert f"--schedule auto --peak-lr {suggestion['base']:.2g}." in printed
    assert "training steps' time" in printed and suggestion["training_steps"] > 0
    assert suggestion["optimizer"] == "AdamW" and suggestion["batches"] == 32
    assert suggestion["sharpness_at_start"]["value"] > 0
    # ln 300, and half of it.
    assert suggestion["C"] == pytest.approx(5.7 / 2, rel=0.05)
    assert (folder / "suggestion.png").read_bytes().startswith(b"\x89PNG")

    # The folder is that of a run that has not begun.
    summary = RECIPE.main([f"--resume={folder}"])
    assert summary["steps"] == 6


def test_suggest_needs_data():
    with pytest.raises(SystemExit) as left:
        RECIPE.main(["--suggest", "--dry-run"])
    assert left.value.code == 2
