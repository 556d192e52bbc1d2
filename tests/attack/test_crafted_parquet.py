"""Parquet files whose metadata says less than their pages take."""

import pytest

from recipes.text.parquet_pages import largest_dictionary
from recipes.text.sources import list_inputs
from tests.attack.harness import Target, attempt
from tests.backends import only_on

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

pytestmark = only_on("tensorflow", reason="readers do not depend on the backend")


def characters(folder):
    """All that is read of the text: its characters."""
    (source,) = list_inputs([str(folder / "a.parquet")])
    return sum(len(part.text) for part in source.parts())


def read(folder):
    return attempt(Target("crafted", lambda _: [], characters), folder)


def write(folder, texts, **options):
    path = folder / "a.parquet"
    parquet.write_table(pa.table({"text": texts}), path, compression="zstd", **options)
    return path


def varint(value: int) -> bytes:
    value, result = 2 * value, b""
    while value > 127:
        result, value = result + bytes([value & 127 | 128]), value >> 7
    return result + bytes([value])


def with_lie(path, told: int) -> None:
    """Another size of the column in the metadata, in as many bytes: the page's header stays."""
    size = parquet.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size
    content, true = path.read_bytes(), varint(size)
    lie = varint(told)
    lie = bytes([*(byte | 128 for byte in lie), *[128] * (len(true) - len(lie) - 1), 0])
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    path.write_bytes(content[:footer] + content[footer:].replace(true, lie))
    assert parquet.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size == told


@pytest.mark.parametrize("lie", [False, True])
def test_a_page_that_takes_thousands_of_times_its_size(tmp_path, lie):
    path = write(tmp_path, ["a" * 2**28], use_dictionary=False, write_statistics=False)
    assert path.stat().st_size < 50_000
    if lie:
        with_lie(path, 1000)
    kind, message = read(tmp_path)
    assert kind == "refused", message
    assert "would take" in message and "Received: " in message


def test_one_long_text_in_many_rows(tmp_path):
    """The dictionary holds it once; the rows that are read at once do not hold it each."""
    length = 2**25
    indices = pa.array([0] * 64, pa.int32())
    texts = pa.DictionaryArray.from_arrays(indices, pa.array(["a" * length]))
    path = write(tmp_path, texts, write_statistics=False, store_schema=False)
    assert path.stat().st_size < 100_000
    metadata = parquet.ParquetFile(path).metadata
    assert largest_dictionary(path, metadata, "text") == length + 4

    def first(folder):
        (source,) = list_inputs([str(folder / "a.parquet")])
        return len(next(source.parts()).text)

    assert attempt(Target("crafted", lambda _: [], first), tmp_path) == ("read", 2**20)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_sound_files_are_read(tmp_path, version, compression, dictionary):
    texts = [f"text {i} " * (1 + i % 300) for i in range(3000)] + [None, "long " * 100_000]
    table = pa.table({"a": [["x"]] * len(texts), "text": texts, "b": list(range(len(texts)))})
    parquet.write_table(
        table, tmp_path / "a.parquet", row_group_size=700, data_page_version=version,
        compression=compression, use_dictionary=dictionary, write_page_index=True,
        write_statistics=True, data_page_size=2**16,
    )  # fmt: skip
    assert characters(tmp_path) == sum(len(text or "") for text in texts)
