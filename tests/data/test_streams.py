"""What comes through a pipe is copied as it is, under the suffix of the format that its first line shows."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from unroll import DataError
from unroll.data import streams
from unroll.data.preparation import Kind
from unroll.data.streams import is_stream, receive, receive_from


@pytest.mark.parametrize(
    ("kind", "content", "suffix"),
    [
        ("images", b"\x89PNG", ""),
        ("series", b"PK\3\4", ".npz"),
        ("series", b"@problemName x\n@data\n1,2:a\n", ".ts"),
        ("series", b"\n  # made by hand\n@data\n", ".ts"),
        ("series", b"id,time,x\n", ".csv"),
        ("series", b"", ".csv"),
        ("texts", b'[{"text": "a"}]', ".json"),
        ("texts", b'[\n  {"text": "a"}]', ".json"),
        ("texts", b"[sic] a line of text\n", ".txt"),
        ("texts", b'{"text": "a"}\n{"text": "b"}\n', ".jsonl"),
        ("texts", b"{curly} words\n", ".txt"),
        ("texts", b"id,text\n1,a\n", ".csv"),
        ("texts", b'\xef\xbb\xbf"id";"text"\n1;a\n', ".csv"),
        ("texts", b"text\na\n", ".txt"),
        ("texts", b"good, fine words\n", ".txt"),
        ("texts", b"caf\xe9, text\n", ".csv"),
    ],
)
def test_a_stream_without_a_suffix_shows_its_format_in_its_first_line(
    kind: Kind, content: bytes, suffix: str, tmp_path: Path
) -> None:
    copy = receive_from(io.BytesIO(content), "standard input", kind, tmp_path / "0")
    assert (copy.name, copy.read_bytes()) == (f"0{suffix}", content)


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".ts", ".tsv", ".jsonl", ".txt"])
def test_a_known_suffix_counts_whatever_comes(suffix: str, tmp_path: Path) -> None:
    kind: Kind = "texts" if suffix in (".jsonl", ".txt") else "series"
    assert receive_from(io.BytesIO(b"@"), f"a{suffix}", kind, tmp_path / "0") == tmp_path / f"0{suffix}"


@pytest.mark.parametrize(("most", "is_refused"), [(6, False), (5, True)])
def test_a_stream_without_an_end_is_left(
    most: int, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_BYTES", most)
    monkeypatch.setattr(streams, "CHUNK", 4)
    if is_refused:
        with pytest.raises(DataError, match="^pipe brings more than 5 bytes: expected fewer; write it into a file"):
            receive_from(io.BytesIO(b"1,2\n3\n"), "pipe", "series", tmp_path / "0")
    else:
        assert receive_from(io.BytesIO(b"1,2\n3\n"), "pipe", "series", tmp_path / "0").read_bytes() == b"1,2\n3\n"


def test_a_file_is_no_stream_and_what_is_not_there_neither(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n")
    assert not is_stream(tmp_path / "a.csv")
    assert not is_stream(tmp_path / "none")
    with pytest.raises(DataError, match="^cannot read .*none: No such file"):
        receive(tmp_path / "none", "series", tmp_path / "0")
