"""Pages for people: headings, paragraphs, rows and tables in Hebrew or English in, a PDF out.

Rules:
- The same document gives the same bytes: no clock, no random id, no font of the machine.
- What comes from outside goes through `isolated`: a directional isolate (UAX #9), in which every character that the font cannot show, that is not
  seen or that changes direction stands as its code point, `[U+202E]`. Nothing is dropped, and nothing reaches out of its place.
- `render` refuses a text with any other such character, so a forgotten `isolated` is an error and not a page that reads backwards.
- Text goes to the typesetter as data and is never part of its program.

The layout is in `page.typ`. PDF/A-3a and PDF/UA-1: tagged, with title and language, its fonts embedded in part, the attachment inside.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources

import typst

from vault.catalogue.words import Language
from vault.errors import FailedPreconditionError, InvalidArgumentError

_FSI, _PDI = "\u2068", "\u2069"
# Latin letters, the Hebrew alphabet and punctuation: what the font has, less what is not seen.
_SHOWN = " -~\u00a1-\u00ac\u00ae-\u00ff\u05be\u05d0-\u05ea\u05f3\u05f4\u2013\u2014\u2018-\u201a\u201c-\u201e\u2022\u2026\u20aa\u20ac"
_NOT_SHOWN = re.compile(f"[^{_SHOWN}]")
_SOUND = re.compile(f"(?:[{_SHOWN}]|{_FSI}[{_SHOWN}]*{_PDI})*")
_NOTHING = "–"
_FONT = "fontpkg_heebo"  # Heebo, SIL Open Font License 1.1: Hebrew and Latin of one design


@dataclass(frozen=True, slots=True)
class Heading:
    """Begins a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True, slots=True)
class Rows:
    """What is said about one thing: label and value, a line each."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose head is repeated on every page.

    Attributes:
        widths: width of each column as a share of the page.
        rows: as many cells as there are widths, each.
    """

    widths: Sequence[int]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Heading | Paragraph | Rows | Table


@dataclass(frozen=True, slots=True)
class Attachment:
    """A text that is embedded in the PDF: what the pages were made from.

    Attributes:
        description: one line, for whoever lists the attachments.
    """

    name: str
    text: str
    description: str


@dataclass(frozen=True, slots=True)
class Document:
    """What `render` sets.

    Attributes:
        created: stands in the file as its time of creation, to the second and not before 1970.
        footer: stands on every page.
    """

    title: str
    language: Language
    created: datetime
    footer: str
    blocks: Sequence[Block]
    attachment: Attachment | None = None


def isolated(value: str) -> str:
    """A value from outside, made harmless; its direction is that of its first letter. An empty one is a dash."""
    return f"{_FSI}{_NOT_SHOWN.sub(_code_point, value) or _NOTHING}{_PDI}"


def render(document: Document) -> bytes:
    """Set a document.

    Returns:
        PDF/A-3a and PDF/UA-1, on A4.
    Raises:
        InvalidArgumentError: PAGE_TEXT_INVALID, a text holds a character that only `isolated` lets through.
        FailedPreconditionError: PAGE_NOT_SET, the typesetter refused it.
    """
    inputs = {
        "document": json.dumps({**_head(document), "blocks": [_block(block) for block in document.blocks]}),
        "attachment": document.attachment.text if document.attachment else "",
    }
    try:
        return typst.compile(
            resources.files("vault.bundle").joinpath("page.typ").read_bytes(),
            format="pdf",
            font_paths=_fonts(),
            sys_inputs=inputs,
            pdf_standards=["a-3a", "ua-1"],
            timestamp=max(0, int(document.created.timestamp())),
        )
    except typst.TypstError:
        raise FailedPreconditionError("PAGE_NOT_SET", "the typesetter cannot set this document") from None


@cache
def _fonts() -> typst.Fonts:
    """The one font, and none of the machine's: pages look the same everywhere."""
    folder = resources.files(_FONT).joinpath("files")
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(folder)])


def _head(document: Document) -> dict[str, object]:
    attached = document.attachment
    return {
        "title": _sound(document.title),
        "language": document.language,
        "footer": _sound(document.footer),
        "attachment": {"name": _sound(attached.name), "description": _sound(attached.description)} if attached else None,
    }


def _block(block: Block) -> dict[str, object]:
    match block:
        case Heading(text) | Paragraph(text):
            return {"kind": "heading" if isinstance(block, Heading) else "paragraph", "text": _sound(text)}
        case Rows(rows):
            return {"kind": "rows", "rows": [[_sound(label), _sound(value)] for label, value in rows]}
        case Table(widths, head, rows):
            cells = [[_sound(cell) for cell in row] for row in (head, *rows)]
            if any(len(row) != len(widths) for row in cells):
                raise InvalidArgumentError("PAGE_TABLE_INVALID", "a row has another number of cells than the table has columns")
            return {"kind": "table", "widths": list(widths), "head": cells[0], "rows": cells[1:]}


def _sound(text: str) -> str:
    if not _SOUND.fullmatch(text):
        raise InvalidArgumentError("PAGE_TEXT_INVALID", "a text holds a character that is not shown and is not isolated")
    return text


def _code_point(character: re.Match[str]) -> str:
    return f"[U+{ord(character[0]):04X}]"
