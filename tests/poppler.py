"""A PDF as poppler sees it: text, places of words, attachments, pages as images. None of it knows our code."""

import re
import subprocess
import tempfile
from collections import defaultdict
from html import unescape
from itertools import pairwise
from pathlib import Path

from tests.programs import installed

_PAGE = re.compile(r"<page width=\"([\d.]+)\" height=\"([\d.]+)\">(.*?)</page>", re.DOTALL)
_WORD = re.compile(r'<word xMin="(-?[\d.]+)" yMin="(-?[\d.]+)" xMax="(-?[\d.]+)" yMax="(-?[\d.]+)">(.*?)</word>')


def text(pdf: bytes) -> str:
    """The text without the marks that poppler puts around what it finds to be right-to-left."""
    return re.sub("[\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069]", "", _run("pdftotext", pdf, "-enc", "UTF-8", output="-"))


def lines(pdf: bytes) -> list[str]:
    """Every line as it is seen, from left to right: letters of Hebrew words are in reverse."""
    seen = []
    for page in _pages(pdf):
        rows: dict[float, list[tuple[float, float, str]]] = defaultdict(list)
        for left, top, right, _, word in page:
            rows[next((y for y in rows if abs(y - top) < 1), top)].append((left, right, word))
        seen += [_joined(sorted(words)) for _, words in sorted(rows.items())]
    return seen


def outside_of_margins(pdf: bytes) -> list[str]:
    """Words that reach beyond the paper, or lie upon each other."""
    wrong = []
    for page in _pages(pdf):
        wrong += [word for left, top, right, bottom, word in page if left < 0 or top < 0 or right > 596 or bottom > 842]
        rows = sorted((round(top), left, right, word) for left, top, right, _, word in page)
        wrong += [word for (y, _, end, _), (top, left, _, word) in pairwise(rows) if y == top and left < end - 1]
    return wrong


def images(pdf: bytes, folder: Path) -> list[Path]:
    """Each page as an image."""
    (folder / "pages.pdf").write_bytes(pdf)
    installed("pdftoppm")
    done = subprocess.run(["pdftoppm", "-r", "40", "-gray", "pages.pdf", "page"], cwd=folder, check=True, capture_output=True, text=True)
    # Poppler wants a word where the standard has true or false; it says nothing else.
    assert {line for line in done.stderr.splitlines() if "Suspects object is wrong type" not in line} == set()
    return sorted(folder.glob("page*.pgm"))


def attachment(pdf: bytes, folder: Path) -> bytes:
    """The first attachment."""
    _run("pdfdetach", pdf, "-save", "1", "-o", str(folder / "attachment"))
    return (folder / "attachment").read_bytes()


def attach(pdf: bytes, name: str, folder: Path) -> bytes:
    """The PDF with one more attachment."""
    (folder / name).write_text("another\n")
    return _filtered("pdfattach", pdf, str(folder / name))


def facts(pdf: bytes) -> dict[str, str]:
    """What `pdfinfo` says."""
    return dict(re.findall(r"^([\w ]+): +(.*)$", _run("pdfinfo", pdf), re.MULTILINE))


def fonts(pdf: bytes) -> list[list[str]]:
    """Name and, as the sixth to third word from the end, whether each font is embedded, in part, and readable."""
    return [line.split() for line in _run("pdffonts", pdf).splitlines()[2:]]


def _joined(words: list[tuple[float, float, str]]) -> str:
    """The words of one line, with a space where one is seen."""
    line = words[0][2]
    for (_, end, _), (begin, _, word) in pairwise(words):
        line += f" {word}" if begin - end > 1 else word
    return line


def _pages(pdf: bytes) -> list[list[tuple[float, float, float, float, str]]]:
    found = _PAGE.findall(_run("pdftotext", pdf, "-bbox", "-enc", "UTF-8", output="-"))
    return [
        [(float(a), float(b), float(c), float(d), unescape(word)) for a, b, c, d, word in _WORD.findall(content)] for _, _, content in found
    ]


def _run(program: str, pdf: bytes, *options: str, output: str = "") -> str:
    installed(program)
    with tempfile.NamedTemporaryFile(suffix=".pdf") as file:
        file.write(pdf)
        file.flush()
        command = [program, *options, file.name, *([output] if output else [])]
        return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout


def _filtered(program: str, pdf: bytes, *arguments: str) -> bytes:
    installed(program)
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.pdf"), Path(folder, "after.pdf")
        before.write_bytes(pdf)
        subprocess.run([program, str(before), *arguments, str(after)], check=True, capture_output=True)
        return after.read_bytes()
