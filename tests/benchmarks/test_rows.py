from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietframe.errors import QuietFrameError, SourceError, UsageError
from quietframe_bench.results import Results, row_types
from quietframe_bench.rows import ModelFile
from quietframe_bench.rows import read_rows as read_typed_rows


def make_row(**fields):
    return {
        "schema": 4,
        "kind": "quality",
        "source": "images",
        "candidate": "m",
        "finished_utc": "2026-01-02T03:04:05+00:00",
        "model": {"file": "m.int8.tflite", "file_bytes": 5, "sha256": "ab"},
        "settings": {},
        "machine": {},
        "versions": {},
        "commit": {"sha": "d885457", "dirty": False},
        **fields,
    }


def read_rows(path):
    """Read the rows of all kinds."""
    return [row for _, row in read_typed_rows(path, row_types())]


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def read(tmp_path):
    """Write text or bytes to a file and read it."""

    def write_and_read(content):
        path = tmp_path / "rows.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_rows(path)

    return write_and_read


def test_rows_come_back_with_their_types_and_in_order(read):
    first, second, third = read(lines(make_row(psnr_db=30.5), make_row(error="no"), make_row(model=None, commit=None)))
    assert (first.kind, first.candidate, first.psnr_db, first.model.file) == ("quality", "m", 30.5, "m.int8.tflite")
    assert (second.error, second.commit.dirty) == ("no", False)
    assert third.model is third.commit is None


def test_what_is_written_is_read_again(tmp_path, read):
    rows = read(lines(make_row(psnr_db=30.5, by_sample={"a": {"psnr_db": 30.5}}), make_row(model=None)))
    Results(rows).to_json(tmp_path / "again.jsonl")
    assert read_rows(tmp_path / "again.jsonl") == rows


@pytest.mark.parametrize(
    "text",
    [
        lines(make_row(more=[1, 2.5]), make_row()),  # a field of later versions
        lines(make_row(), make_row()).rstrip("\n"),
        lines(make_row(), make_row()).replace("\n", "\r\n"),
    ],
)
def test_unknown_fields_and_other_ends_of_lines_are_taken(read, text):
    assert [row.candidate for row in read(text)] == ["m", "m"]


def test_other_line_ends_inside_a_text_are_no_ends_of_rows(read):
    (row,) = read(lines(make_row(error="a\u2028b\x85c")))
    assert row.error == "a\u2028b\x85c"


@pytest.mark.parametrize("cut", [1, 200])
@pytest.mark.parametrize("before", [0, 2])
def test_a_line_that_is_cut_off_is_named(read, cut, before):
    with pytest.raises(UsageError, match=f"line {before + 1}: Input data was truncated: not a whole row"):
        read(lines(*[make_row()] * before) + lines(make_row())[:cut])


@pytest.mark.parametrize("schema", [3, "4", True])
def test_another_schema_is_refused(read, schema):
    with pytest.raises(UsageError, match=r"line 2: .*at `\$.schema`: not a whole row, schema 4, of quietframe bench"):
        read(lines(make_row(), make_row(schema=schema)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "line 1: .*invalid character.*: not a whole row, schema 4, of quietframe bench"),
        ("[]\n", "Expected `object`, got `array`"),
        ("{}\n", "missing required field `kind`"),
        (lines(make_row()) + "\n" + lines(make_row()), "line 2: Input data was truncated"),
        (lines(make_row(settings={"x": float("nan")})), "invalid character"),
        (lines(make_row(settings={"x": 1})).replace('"x": 1', '"x": ' + "[" * 100_000), "line 1: "),
        (lines(make_row()).replace("quality", "\\ud800"), "line 1"),
        (lines(make_row(kind="a\nb")), "Invalid value .* at `\\$.kind`"),
        (lines(make_row(versions="x" * 1000)), "got `str` - at `\\$.versions`"),
        (lines(make_row(model={"file": "m"})), "missing required field `sha256` - at `\\$.model`"),
        (lines({"schema": 4, "kind": "speed"}), "missing required field `finished_utc`"),
    ],
)
def test_what_is_no_file_of_rows_is_refused_in_one_line(read, content, says):
    with pytest.raises(UsageError, match=says) as refused:
        read(content)
    assert "rows.jsonl: line " in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\n"])
def test_an_empty_file_says_how_to_write_one(read, content):
    with pytest.raises(SourceError, match="the file is empty: quietframe bench speed --out FILE writes one"):
        read(content)


def test_what_cannot_be_opened_is_a_source_error(tmp_path):
    for path in (tmp_path / "missing", tmp_path, "no\0path"):
        with pytest.raises(SourceError, match="cannot be read"):
            read_rows(path)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_give_one_of_our_errors(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    with pytest.raises(QuietFrameError):
        read_rows(path)


@pytest.mark.parametrize(("suffix", "beside"), [(".xml", "m.bin"), (".onnx", "m.data"), (".tflite", None)])
def test_a_model_file_is_described_with_the_weights_beside_it(tmp_path, suffix, beside):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(b"<net>")
    for name in ("m.bin", "m.data"):
        (tmp_path / name).write_bytes(b"1234")
    if suffix == ".onnx":
        onnx = pytest.importorskip("onnx")
        weights = onnx.TensorProto(name="w", data_location=onnx.TensorProto.EXTERNAL)
        weights.external_data.add(key="location", value="m.data")
        path.write_bytes(onnx.ModelProto(graph=onnx.GraphProto(initializer=[weights])).SerializeToString())
    before = ModelFile.read(path)
    assert before.file_bytes == path.stat().st_size + 4 * bool(beside)
    for name in ("m.bin", "m.data"):
        (tmp_path / name).write_bytes(b"4321")
        assert (ModelFile.read(path) != before) == (name == beside)
        (tmp_path / name).write_bytes(b"1234")


def test_what_is_no_onnx_model_is_described_all_the_same(tmp_path):
    (tmp_path / "m.onnx").write_text("no model")
    assert ModelFile.read(tmp_path / "m.onnx").file_bytes == 8
