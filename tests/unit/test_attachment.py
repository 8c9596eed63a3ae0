"""The certificate in a PDF: taken out exactly, or not at all."""

import subprocess
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import poppler
from tests.programs import installed
from vault.bundle.attachment import MAX_ATTACHMENT_BYTES, attached
from vault.bundle.page import Attachment, Document, Paragraph, render
from vault.catalogue.words import Language
from vault.errors import DataLossError

TEXT = "ראשון\n\n— second\n" * 40


def holding(text: str) -> bytes:
    return render(Document("a", Language.EN, datetime(2026, 1, 1, tzinfo=UTC), "b", [Paragraph("c")], Attachment("d.note", text, "e")))


PDF = holding(TEXT)


def refused(pdf: bytes) -> str:
    with pytest.raises(DataLossError) as raised:
        attached(pdf)
    return raised.value.reason


def embedded(content: bytes, dictionary: bytes = b"/Type /EmbeddedFile") -> bytes:
    return b"%PDF-1.7\n1 0 obj\n<< " + dictionary + b" >>\nstream\n" + content + b"\nendstream\nendobj\n"


@pytest.mark.parametrize("text", [TEXT, "", "\n", "stream\n", "endstream endobj /Type /EmbeddedFile\n" * 9, "%PDF-1.7\r\n"])
def test_attachment_is_what_was_attached(text: str) -> None:
    assert attached(holding(text)).decode() == text


@pytest.mark.parametrize("options", [["--linearize"], ["--object-streams=generate"], ["--stream-data=uncompress"]])
def test_attachment_survives_being_saved_by_another_program(options: list[str], tmp_path: Path) -> None:
    installed("qpdf")
    (tmp_path / "a.pdf").write_bytes(PDF)

    subprocess.run(["qpdf", *options, tmp_path / "a.pdf", tmp_path / "b.pdf"], check=True)

    assert attached((tmp_path / "b.pdf").read_bytes()).decode() == TEXT


def test_attachment_that_a_tool_adds_does_not_take_the_place_of_ours(tmp_path: Path) -> None:
    assert attached(poppler.attach(PDF, "another.txt", tmp_path)).decode() == TEXT


def test_two_attachments_of_our_kind_are_refused() -> None:
    assert refused(PDF + PDF) == "ATTACHMENT_MISSING"


@pytest.mark.parametrize(
    "pdf",
    [
        b"",
        b"%PDF-1.7\n",
        b"%PDF-1.7\n/Type /EmbeddedFile",
        embedded(b"plain", b"/Type /Page"),
        embedded(b"!", b"/Type /EmbeddedFile /Filter /ASCII85Decode"),
        embedded(b"no deflate", b"/Type /EmbeddedFile /Filter /FlateDecode"),
        embedded(zlib.compress(b"cut short" * 99)[:-9], b"/Type /EmbeddedFile /Filter [/FlateDecode]"),
        embedded(b"plain", b"/Type /EmbeddedFile /Length 5 0 R"),
        embedded(b"plain", b"/Type /EmbeddedFile /Length 99"),
        embedded(b"plain"),
        embedded(zlib.compress(bytes(MAX_ATTACHMENT_BYTES + 1)), b"/Type /EmbeddedFile /Filter /FlateDecode"),
        b"%PDF-1.7\n" + b"obj " * 300_000 + b"/Type /EmbeddedFile",
        b"%PDF-1.7\n" + b"/Type /EmbeddedFile " * 100_000,
    ],
)
def test_what_cannot_be_read_is_refused(pdf: bytes) -> None:
    assert refused(pdf) == "ATTACHMENT_MISSING"


def test_attachment_that_lies_there_as_it_is_is_read() -> None:
    assert attached(embedded(b"plain\n", b"/Length 6 /Type /EmbeddedFile")) == b"plain\n"


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(PDF) - 1), st.integers(1, 255))
def test_a_changed_byte_changes_the_attachment_or_nothing(place: int, flip: int) -> None:
    changed = PDF[:place] + bytes([PDF[place] ^ flip]) + PDF[place + 1 :]

    try:
        content = attached(changed)
    except DataLossError:
        return
    assert content == TEXT.encode()
