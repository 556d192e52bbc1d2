import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tokenizers

from recipes.common.command_line.errors import InputError, MissingInputError
from recipes.common.command_line.options import build, parse
from recipes.gpt.config import GPTConfig, resolve
from recipes.gpt.data import load_data
from recipes.gpt.recipe import RECIPE
from recipes.text.batches import TokenBatches, validation_windows
from recipes.text.shards import INDEX, ShardedTokens, open_shards, sealed
from recipes.text.tokens import load_corpus
from recipes.tokenize import recipe as tokenize
from tests.fifos import make_fifo


@pytest.fixture
def shards(text_folder, tmp_path):
    """Forty documents in several shards."""
    out = tmp_path / "shards"
    tokenize.main(
        [
            f"--data={text_folder}",
            "--vocabulary=300",
            f"--out={out}",
            "--shard-tokens=2000",
            "--validation-share=0.2",
            "--workers=1",
        ]
    )
    return out


def change_index(folder, **values):
    path = folder / INDEX
    path.write_text(json.dumps(sealed({**json.loads(path.read_text()), **values})))


def test_slices_across_shards_are_those_of_one_array():
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 2**16, 200).astype(np.uint16)
    tokens = ShardedTokens(np.split(whole, [1, 5, 6, 90, 199]))
    assert (len(tokens), tokens.shape, tokens.dtype) == (200, (200,), np.uint16)
    for start, stop in rng.integers(-250, 250, (400, 2)):
        np.testing.assert_array_equal(tokens[start:stop], whole[start:stop])
    np.testing.assert_array_equal(tokens[:], whole)
    np.testing.assert_array_equal(tokens[-3:], whole[-3:])
    with pytest.raises(ValueError, match="Received: step=2"):
        tokens[::2]


def test_batches_from_shards_are_those_of_one_file(shards):
    corpus = load_corpus([str(shards)], 300)
    assert len(corpus.training.parts) > 2
    whole = np.concatenate([np.fromfile(p, "<u2") for p in sorted(shards.glob("training-*"))])
    for k in (0, 7, 300):
        for a, b in zip(
            TokenBatches(corpus.training, 8, 4, seed=3)[k],
            TokenBatches(whole, 8, 4, seed=3)[k],
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    held_out = np.concatenate([np.fromfile(p, "<u2") for p in sorted(shards.glob("validation-*"))])
    np.testing.assert_array_equal(
        validation_windows(corpus.validation, 8, 4, 400)[1],
        validation_windows(held_out, 8, 4, 400)[1],
    )


@pytest.mark.parametrize("hosts", [1, 2, 3, 4, 6, 12])
def test_any_number_of_hosts_sees_the_same_global_batches(hosts):
    batches = TokenBatches(np.arange(8 * 31 + 1), 8, batch_size=12, seed=5)
    streams = [batches.starting_at(20, host, hosts) for host in range(hosts)]
    for k in range(20, 26):  # two epochs end on the way
        shares = [next(stream) for stream in streams]
        for side in (0, 1):
            whole = np.concatenate([share[side] for share in shares])
            np.testing.assert_array_equal(whole, batches[k][side])


@pytest.mark.parametrize(("host", "hosts"), [(0, 5), (2, 2), (-1, 2), (0, 0)])
def test_an_uneven_share_is_refused(host, hosts):
    with pytest.raises(ValueError, match=f"Received: batch_size=12, host={host}, hosts={hosts}"):
        TokenBatches(np.arange(200), 8, batch_size=12).rows(0, host, hosts)


def test_a_host_reads_its_own_rows_alone():
    class Watched(np.ndarray):
        def __getitem__(self, where):
            if isinstance(where, slice):
                read.append(where.start // 8)
            return super().__getitem__(where)

    read = []
    batches = TokenBatches(np.arange(8 * 40 + 1).view(Watched), 8, batch_size=12)
    x, _ = batches.rows(0, host=1, hosts=3)
    assert read == (np.asarray(x)[:, 0] // 8).tolist() and len(read) == 4


def test_the_shards_hold_the_documents(shards, text_folder):
    """Decoded, they are the files, each once, and none on both sides."""
    index, tokens, tokenizer = open_shards(shards)
    texts = {path.read_text().strip("\n") for path in text_folder.iterdir()}
    found = []
    for split in ("training", "validation"):
        ids = tokens[split][:]
        ends = np.flatnonzero(ids == index["separator"]["id"])
        documents = [tokenizer.decode(d[d != 0].tolist()) for d in np.split(ids, ends + 1)[:-1]]
        assert len(documents) == index[split]["documents"] > 0
        assert ends[-1] == len(ids) - 1
        found += documents
    assert sorted(found) == sorted(texts)
    # The index is an honest list of what lies there.
    for split in ("training", "validation"):
        for shard in index[split]["shards"]:
            data = (shards / shard["name"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == shard["sha256"]
            assert len(data) == 2 * shard["tokens"]
        assert sum(s["tokens"] for s in index[split]["shards"]) == index[split]["tokens"]


def test_a_gpt_trains_on_shards(shards, tiny_options, tmp_path, capsys):
    options = [o for o in tiny_options if not o.startswith("--data")]
    RECIPE.main([*options, f"--data={shards}", "--name=r", "--steps=2"])
    assert "token shards" in capsys.readouterr().out
    # The tokenizer of the shards writes the samples.
    assert "def" in (tmp_path / "runs" / "r" / "sample.txt").read_text()


def test_the_vocabulary_comes_from_the_shards(shards, tiny_options):
    def resolved(*options):
        config = build(GPTConfig, parse([GPTConfig], [f"--data={shards}", *options]))
        return resolve(config, load_data(config)).vocabulary

    size = json.loads((shards / INDEX).read_text())["vocabulary_size"]
    assert 257 < size <= 300
    assert resolved("--context=8", f"--vocabulary={size}") == size
    assert resolved("--context=8") == 2048  # rows to spare, as the papers' 50280 for 50257
    with pytest.raises(ValueError, match=rf"has {size} .* Received: vocabulary=260, data=.*shards"):
        resolved("--context=8", "--vocabulary=260")


def truncate(folder):
    path = folder / "training-00001.u16"
    os.truncate(path, path.stat().st_size - 2)


def flip(folder):
    data = bytearray((folder / "training-00001.u16").read_bytes())
    data[10] ^= 1
    (folder / "training-00001.u16").write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, r"cut off.*training-00001\.u16 with \d+ bytes"),
        (flip, r"checksum is wrong.*training-00001\.u16"),
        (lambda f: (f / "training-00000.u16").unlink(), r"missing.*training-00000\.u16"),
        (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer is missing"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), r"not the one that made the shards"),
        (lambda f: change_index(f, version=9), r"version 2.*version=9"),
        (
            lambda f: change_index(f, complete=False),
            r"run the same .*recipes.tokenize. again",
        ),
    ],
    ids=["truncated", "checksum", "missing", "no-tokenizer", "tokenizer", "version", "incomplete"],
)
@pytest.mark.parametrize("seen", [True, False], ids=["seen", "new"])
def test_damage_is_one_clear_error(shards, damage, message, seen, tiny_options, capsys):
    if seen:
        # A folder that was found good is not trusted when a file has changed since.
        load_corpus([str(shards)], 300)
    damage(shards)
    before = {p.name: p.read_bytes() for p in shards.iterdir()}
    with pytest.raises(SystemExit) as stopped:
        RECIPE.main([*tiny_options, f"--data={shards}"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        raise ValueError(error)
    assert before == {p.name: p.read_bytes() for p in shards.iterdir()}


def test_checksums_are_remembered(shards, monkeypatch):
    """The second opening reads no shard; a shard that was touched is read again, alone."""
    from recipes.text import shards as module

    load_corpus([str(shards)], 300)
    checked = []
    monkeypatch.setattr(module, "file_digest", lambda p: checked.append(p.name) or original(p))
    original = lambda p: hashlib.sha256(p.read_bytes()).hexdigest()  # noqa: E731
    load_corpus([str(shards)], 300)
    assert checked == ["tokenizer.json"]
    os.utime(shards / "training-00001.u16", ns=(1, 1))
    load_corpus([str(shards)], 300)
    assert checked[1:] == ["training-00001.u16", "tokenizer.json"]


def test_nothing_held_out_is_said(text_folder, tmp_path):
    (tmp_path / "one.txt").write_text("a single document " * 9)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.add_special_tokens(["<|endoftext|>"])
    arguments = [f"--data={tmp_path / 'one.txt'}", "--workers=1", "--vocabulary=257"]
    tokenize.main([*arguments, f"--out={tmp_path / 's'}"])
    with pytest.raises(ValueError, match=r"validation part.*Received: .*validation_share=0\.01"):
        load_corpus([str(tmp_path / "s")], 300)


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.jsonl.gz", "hf:some/where"])
def test_what_must_be_tokenised_first_is_said(name):
    with pytest.raises(ValueError, match=r"recipes\.tokenize --data .*Received: data="):
        load_data(build(GPTConfig, parse([GPTConfig], [f"--data={name}"])))


def test_shards_are_read_alone(shards, text_folder):
    with pytest.raises(ValueError, match=r"read alone.*Received: data="):
        load_corpus([str(shards), str(text_folder)], 300)


def test_tokenising_does_not_load_keras():
    """It would take more memory than the work itself."""
    code = "import recipes.tokenize.recipe, sys; sys.exit('keras' in sys.modules)"
    root = os.path.dirname(os.path.dirname(tokenize.__file__))
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


def test_any_change_of_the_index_is_noticed(shards):
    """Each digit and letter of it in turn (some of them), and no index at all."""
    sound = (shards / INDEX).read_bytes()
    rng = np.random.default_rng(0)
    places = rng.choice([i for i, c in enumerate(sound) if chr(c).isalnum()], 150, replace=False)
    for at in places:
        (shards / INDEX).write_bytes(sound[:at] + b"7x"[sound[at] == 55 :][:1] + sound[at + 1 :])
        with pytest.raises(InputError, match="Received: "):
            load_corpus([str(shards)], 300)
    for damaged in (b"", b"{}", b"[]", b"null", sound[:200], b"[" * 9000):
        (shards / INDEX).write_bytes(damaged)
        with pytest.raises(InputError, match="Received: "):
            load_corpus([str(shards)], 300)
    (shards / INDEX).unlink()
    with pytest.raises(MissingInputError, match=r"no index of them.*Received: "):
        load_corpus([str(shards)], 300)
    # Not a folder of text either, from further up.
    with pytest.raises(InputError, match=r"token shards in it.*Received: "):
        load_corpus([str(shards.parent)], 300)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../training-00000.u16"), ("name", "/etc/passwd"), ("name", None),
        ("name", "training-00001.u16"), ("tokens", -1), ("tokens", 1.5), ("tokens", True),
        ("tokens", 2**70), ("documents", "3"), ("sha256", 5), ("sha256", "ab"),
    ],
)  # fmt: skip
def test_what_no_index_can_say_is_refused(shards, key, value):
    """With a checksum that is right: by somebody who knows how."""
    index = json.loads((shards / INDEX).read_text())
    index["training"]["shards"][0][key] = value
    change_index(shards, training=index["training"])
    with pytest.raises(InputError, match=r"index is damaged.*Received: "):
        load_corpus([str(shards)], 300)


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_a_shard_is_a_file_in_its_folder(shards, tmp_path, kind):
    path = shards / "training-00000.u16"
    if kind == "fifo":
        path.unlink()
        make_fifo(path)
    else:
        path.rename(tmp_path / "elsewhere.u16")
        path.symlink_to(tmp_path / "elsewhere.u16")
    words = {"fifo": "special file", "link": "inside the folder"}[kind]
    with pytest.raises(InputError, match=rf"{words}.*Received: .*training-00000\.u16"):
        load_corpus([str(shards)], 300)


def test_an_index_of_version_1_is_read(shards):
    sound = load_corpus([str(shards)], 300).training[:]
    index = json.loads((shards / INDEX).read_text())
    del index["sha256"], index["skipped"]
    for entry in index["inputs"]:
        del entry["sha256"]
    (shards / INDEX).write_text(json.dumps({**index, "version": 1}))
    np.testing.assert_array_equal(load_corpus([str(shards)], 300).training[:], sound)
