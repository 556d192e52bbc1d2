import concurrent.futures
import hashlib
import json
import math
from collections import Counter

import numpy as np
import pytest

from recipes.text.batches import TokenBatches, validation_windows
from recipes.text.documents import SEPARATOR, Documents, read_paths, standard_library
from recipes.text.tokenizer import encode, train_tokenizer
from recipes.text.tokens import load_corpus
from recipes.text.unigram import unigram_loss


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
    # What is cached is used: a mark left in the file comes back.
    tokenizer = train_tokenizer(texts, 300, tmp_path)
    encode(tokenizer, texts, tmp_path)
    (path,) = tmp_path.glob("tokens-*.npy")
    np.save(path, np.array([7, 7, 7], np.uint16))
    assert encode(tokenizer, texts, tmp_path).tolist() == [7, 7, 7]


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
