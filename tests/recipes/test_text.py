import concurrent.futures
import hashlib
import json
import math
import time
from collections import Counter

import numpy as np
import pytest

from recipes.common.command_line.errors import InputError
from recipes.text.batches import TokenBatches, validation_windows
from recipes.text.documents import SEPARATOR, Documents, read_paths, standard_library
from recipes.text.tokenizer import _without_long_words, encode, train_tokenizer
from recipes.text.tokens import load_corpus
from recipes.text.unigram import unigram_loss
from tests.backends import only_on
from tests.fifos import make_fifo

pytestmark = only_on("tensorflow", reason="text does not depend on the backend")


def test_standard_library_is_large_and_leaves_tests_out():
    documents = standard_library()
    assert sum(map(len, documents.texts)) > 3e6
    assert "MB" in documents.source and "documents" in documents.source
    assert documents.texts == standard_library().texts
    # The first line of a file that every Python has, and a word that only its tests have.
    assert any(text.startswith('"""Heap queue algorithm') for text in documents.texts)
    assert not any("class TestHeapPython(" in text for text in documents.texts)


def test_split_depends_on_content_alone():
    texts = tuple(f"document {i}" for i in range(400))
    training, held_out = Documents(texts, "").split(0.1)
    assert sorted(training + held_out) == sorted(texts)
    assert 20 <= len(held_out) <= 60
    again, held_out_again = Documents(texts[::-1], "").split(0.1)
    assert set(held_out_again) == set(held_out)
    assert set(again) == set(training)
    # Twins stay together.
    training, held_out = Documents(texts + texts, "").split(0.1)
    assert not set(training) & set(held_out)


@pytest.mark.parametrize("texts", [("one line\n" * 50,), ("a", "b"), ("no line break at all",)])
def test_split_always_has_two_sides(texts):
    training, held_out = Documents(texts, "").split(0.05)
    assert training and held_out
    assert "".join(training + held_out) == "".join(texts)


def test_reads_files_and_folders_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.txt").write_text("third")
    (tmp_path / "a.txt").write_text(f"first\n{SEPARATOR}\nsecond\n")
    (tmp_path / ".hidden").write_text("never")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    documents = read_paths([str(tmp_path)])
    assert documents.texts == ("first", "second", "third")
    assert "1 files skipped" in documents.source
    assert read_paths([str(tmp_path / "a.txt")]).texts == ("first", "second")


def test_missing_or_empty_data_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Received: data=.*nowhere"):
        read_paths([str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"Received: data="):
        read_paths([str(tmp_path / "empty")])


def test_any_text_survives_the_tokenizer():
    texts = ["def f(x):\n    return x + 1\n" * 20, "Größe, 学习率 and 🙂\t\r\n"]
    tokenizer = train_tokenizer(texts, 300)
    assert tokenizer.get_vocab_size() <= 300
    assert tokenizer.token_to_id(SEPARATOR) == 0
    for text in [*texts, "never seen: ÿ \x01 ∮"]:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    tokens = encode(tokenizer, texts)
    assert tokens.dtype == np.uint16
    ends = np.flatnonzero(np.asarray(tokens) == 0)
    assert len(ends) == 2 and ends[-1] == len(tokens) - 1
    assert tokenizer.decode(tokens[: ends[0]].tolist()) == texts[0]


def test_cache_is_keyed_by_content_and_safe_to_share(tmp_path):
    texts = ["some words that repeat, some words that do not\n" * 10]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: train_tokenizer(texts, 300, tmp_path).to_str(), range(4)))
    assert len(set(found)) == 1
    assert len(list(tmp_path.iterdir())) == 1
    train_tokenizer(texts, 280, tmp_path)
    train_tokenizer([texts[0] + "!"], 300, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    # What is cached is used: no file is written again.
    tokenizer = train_tokenizer(texts, 300, tmp_path)
    encode(tokenizer, texts, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    encode(train_tokenizer(texts, 300, tmp_path), texts, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("pattern", ["bpe-*.json", "tokens-*.npy"])
def test_a_damaged_file_of_the_cache_is_made_again(tmp_path, pattern, capsys):
    texts = ["some words that repeat, some words that do not\n" * 10]
    sound = encode(train_tokenizer(texts, 300, tmp_path), texts, tmp_path).tolist()
    (path,) = tmp_path.glob(pattern)
    content = path.read_bytes()
    for damaged in (content[:-40], content.replace(b"1", b"2"), b"", content[:-1] + b"?"):
        path.write_bytes(damaged)
        if damaged == content:
            continue
        assert encode(train_tokenizer(texts, 300, tmp_path), texts, tmp_path).tolist() == sound
        assert f"{path.name}.damaged" in capsys.readouterr().err
        assert path.read_bytes() == content


def test_a_long_word_does_not_hold_up_the_training_of_a_tokenizer(tmp_path):
    """Equal letters, and letters that are not, for which every merge would pass over all."""
    rng = np.random.default_rng(0)
    words = ["a" * 1_000_000, "".join(rng.choice(list("abcdefgh"), 300_000)), " " * 300_000]
    start = time.perf_counter()
    tokenizer = train_tokenizer(words, 2000, tmp_path)
    encode(tokenizer, words, tmp_path)
    assert time.perf_counter() - start < 10
    assert tokenizer.decode(tokenizer.encode(words[1]).ids) == words[1]


def test_words_of_usual_length_train_the_tokenizer_that_they_did():
    """The cut before the training takes nothing away and leaves usual text alone."""
    usual = "def f(x):\n    return '=' * 1000 + x_1\n" + "=" * 1000 + " " + "学" * 1000
    assert list(_without_long_words([usual, "b"])) == [usual, "b"]
    for long in ("x" * 5000, "x" + " " * 3000 + "y", "=_" * 3000 + "1", "学" * 1025):
        pieces = list(_without_long_words([long]))
        assert "".join(pieces) == long and len(pieces) > 1
        assert max(map(len, pieces)) <= 1026


@pytest.mark.parametrize("bad", ["latin-1", "zero", "fifo"])
def test_a_file_that_is_named_and_is_no_text_is_an_error(tmp_path, bad):
    (tmp_path / "good.txt").write_text("some words\n" * 40)
    path = tmp_path / "bad.txt"
    if bad == "fifo":
        make_fifo(path)
    else:
        path.write_bytes({"latin-1": "Größe".encode("latin-1"), "zero": b"a\0b"}[bad])
    words = "special file" if bad == "fifo" else ""
    with pytest.raises(InputError, match=rf"{words}.*Received: .*bad\.txt"):
        read_paths([str(tmp_path / "good.txt"), str(path)])
    documents = read_paths([str(tmp_path)])
    if bad != "fifo":
        assert "1 files skipped" in documents.source and "bad.txt" in documents.source


@pytest.mark.parametrize(
    "facts",
    ["[]", "{", '{"vocabulary_size": "9"}', '{"vocabulary_size": 1e9}', '{"separator": -1}',
     '{"vocabulary_size": 99999999999}', '{"tokenizer": 3}', '{"tokenizer": "../t.json"}',
     '{"separator": true}', "[" * 9000],
)  # fmt: skip
def test_wrong_facts_of_a_token_file_are_named(tmp_path, facts):
    np.arange(300, dtype=np.uint16).tofile(tmp_path / "a.u16")
    (tmp_path / "a.u16.json").write_text(facts)
    with pytest.raises(InputError, match="Received: "):
        load_corpus([str(tmp_path / "a.u16")], 10)


def test_an_id_that_no_vocabulary_has_is_refused(tmp_path):
    path = tmp_path / "a.u32"
    tokens = np.arange(500, dtype=np.uint32)
    for bit in range(17, 32):
        tokens[7] = 1 << bit
        tokens.tofile(path)
        with pytest.raises(InputError, match=r"ids below 65,536 .*largest id"):
            load_corpus([str(path)], 10)
    tokens[7] = 2**18
    tokens.tofile(path)
    path.with_name("a.u32.json").write_text('{"vocabulary_size": 262145}')
    assert load_corpus([str(path)], 10).vocabulary_size == 2**18 + 1


@pytest.mark.parametrize(
    "header",
    [b"{'descr': '<u2', 'fortran_order': False, 'shape': (9**9,), }",
     b"{'descr': '<u2', 'fortran_order': False, 'shape': (99999999999999999999,), }",
     b"{'descr': '<u2', 'fortran_order': False, 'shape': (-1,), }",
     b"{'descr': '<u2', 'fortran_order': False, 'shape': (True,), }",
     b"{'descr': ('<u2', (9, 9)), 'fortran_order': False, 'shape': (4,), }",
     b"{'descr': '|O', 'fortran_order': False, 'shape': (4,), }",
     b"((((((((((((((", b'"""', b"\0", b"{" * 900],
)  # fmt: skip
def test_a_wrong_header_of_a_npy_file_is_named(tmp_path, header):
    start = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n"
    (tmp_path / "a.npy").write_bytes(start + bytes(8))
    with pytest.raises(InputError, match=r"Received: data=.*a\.npy"):
        load_corpus([str(tmp_path / "a.npy")], 10)


def test_tokenizer_needs_room_for_the_bytes():
    with pytest.raises(ValueError, match=r"Received: vocabulary_size=256"):
        train_tokenizer(["text"], 256)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("suffix", [".bin", ".npy"])
def test_token_file_is_mapped_and_split_at_a_document(tmp_path, dtype, suffix):
    tokens = np.tile(np.arange(10), 100).astype(dtype)
    path = tmp_path / f"tokens{suffix}"
    np.save(path, tokens) if suffix == ".npy" else tokens.tofile(path)
    corpus = load_corpus([str(path)], 2048, 0.055, token_dtype=dtype)
    assert isinstance(corpus.training, np.memmap)
    assert corpus.vocabulary_size == 10
    # 94.5% is in the middle of a document; the next one begins after the separator 0.
    assert len(corpus.training) == 951
    np.testing.assert_array_equal(np.concatenate([corpus.training, corpus.validation]), tokens)
    path.with_name(path.name + ".json").write_text(
        json.dumps({"vocabulary_size": 50, "separator": 4})
    )
    corpus = load_corpus([str(path)], 2048, 0.055, token_dtype=dtype)
    assert (corpus.vocabulary_size, len(corpus.training)) == (50, 955)


def test_broken_token_files_are_named(tmp_path):
    odd = tmp_path / "odd.bin"
    odd.write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"Received: .*odd\.bin"):
        load_corpus([str(odd)], 10)
    floats = tmp_path / "floats.npy"
    np.save(floats, np.zeros(4))
    with pytest.raises(ValueError, match=r"Received: .*float64"):
        load_corpus([str(floats)], 10)
    wrong = tmp_path / "wrong.u16"
    np.arange(9, dtype=np.uint16).tofile(wrong)
    (tmp_path / "wrong.u16.json").write_text('{"vocabulary_size": 5}')
    with pytest.raises(ValueError, match=r"Received: largest id 8"):
        load_corpus([str(wrong)], 10)
    with pytest.raises(FileNotFoundError, match=r"Received: "):
        load_corpus([str(tmp_path / "none.bin")], 10)


def test_an_epoch_shows_every_window_once():
    batches = TokenBatches(np.arange(10 * 8 + 1), context=8, batch_size=3, seed=1)
    starts = np.concatenate([batches[k][0][:, 0] for k in range(20)]) // 8
    for epoch in range(6):
        assert sorted(starts[10 * epoch : 10 * (epoch + 1)]) == list(range(10))
    assert starts[:10].tolist() != starts[10:20].tolist()
    for k in range(20):
        x, y = batches[k]
        np.testing.assert_array_equal(y, x + 1)


def test_batches_are_a_function_of_seed_and_step():
    tokens = np.arange(1000, dtype=np.uint16)
    straight = TokenBatches(tokens, 8, 4, seed=3)
    late = TokenBatches(tokens, 8, 4, seed=3).starting_at(40)
    for k in range(40, 44):
        np.testing.assert_array_equal(next(late)[0], straight[k][0])
    assert not np.array_equal(TokenBatches(tokens, 8, 4, seed=4)[0][0], straight[0][0])
    # The same number on every backend and machine: NumPy promises the stream of PCG64.
    digest = hashlib.sha256(b"".join(straight[k][0].tobytes() for k in range(70))).hexdigest()
    assert digest[:12] == "e0a19cb14847"


def test_too_little_data_is_said():
    with pytest.raises(ValueError, match=r"Received: 20 tokens"):
        TokenBatches(np.arange(20), 8, 3)
    with pytest.raises(ValueError, match=r"Received: 5 tokens"):
        validation_windows(np.arange(5), 8, 1, 100)


def test_validation_windows_are_spread_and_fill_batches():
    x, y = validation_windows(np.arange(801), context=8, batch_size=4, limit=8 * 10)
    assert x.shape == (8, 8)
    np.testing.assert_array_equal(y, x + 1)
    assert x[0, 0] == 0 and np.all(np.diff(x[:, 0]) >= 96)
    assert validation_windows(np.arange(17), 8, 4, 100)[0].shape == (4, 8)


def test_unigram_against_counting_by_hand():
    rng = np.random.default_rng(0)
    training = rng.integers(0, 7, 500).astype(np.uint16)
    targets = rng.integers(0, 9, (5, 6))
    counts = Counter(training.tolist())
    want = -sum(math.log((counts[t] + 1) / (500 + 9)) for t in targets.ravel().tolist()) / 30
    assert unigram_loss(training, targets, 9) == pytest.approx(want, rel=1e-12)
