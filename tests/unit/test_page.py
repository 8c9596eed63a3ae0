"""Pages: what comes from outside stays in its place, whatever it holds; the same document gives the same bytes everywhere."""

import subprocess
import sys
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import poppler
from vault.bundle.page import Attachment, Document, Heading, Paragraph, Rows, Table, isolated, render
from vault.catalogue.words import Language
from vault.errors import InvalidArgumentError

CREATED = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
SHOWN = "".join(map(chr, [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100), *range(0x5D0, 0x5EB)])) + "־׳״–—‘’‚“”„•…₪€"


def document(*blocks: Heading | Paragraph | Rows | Table, language: Language = Language.HE) -> Document:
    return Document(title="כותרת", language=language, created=CREATED, footer="תחתית", blocks=blocks)


def test_hebrew_reads_from_the_right_and_what_is_isolated_in_it_from_the_left() -> None:
    text = f"נמצאו {isolated('+97250•••••67')} ביום {isolated('2026-11-24 10:00:00 UTC')} לפי {isolated('a/b-c')}, {isolated('d')}."

    seen = poppler.lines(render(document(Paragraph(text))))

    # As the eye meets them, from the left: the end of the sentence first, each isolate in its own order.
    assert f".d ,a/b-c {'לפי'[::-1]} 2026-11-24 10:00:00 UTC {'ביום'[::-1]} +97250•••••67 {'נמצאו'[::-1]}" in seen


def test_columns_of_a_hebrew_table_run_from_the_right() -> None:
    table = Table((1, 1, 1), ("סוג", "נמצאו", "נמחקו"), [("ראשון", isolated("12"), isolated("345"))])

    seen = poppler.lines(render(document(table)))

    assert f"{'נמחקו'[::-1]} {'נמצאו'[::-1]} {'סוג'[::-1]}" in seen
    assert f"345 12 {'ראשון'[::-1]}" in seen


def test_columns_of_an_english_table_run_from_the_left() -> None:
    table = Table((1, 1, 1), ("Kind", "Found", "Erased"), [("first", isolated("12"), isolated("345"))])

    seen = poppler.lines(render(document(table, language=Language.EN)))

    assert {"Kind Found Erased", "first 12 345"} <= set(seen)


def test_head_of_a_long_table_is_on_every_page(tmp_path: Path) -> None:
    rows = [(isolated(f"row-{number}"), isolated(str(number))) for number in range(200)]
    pdf = render(document(Table((1, 1), ("Name", "Number"), rows), language=Language.EN))

    pages = poppler.images(pdf, tmp_path)

    assert len(pages) > 3
    assert poppler.lines(pdf).count("Name Number") == len(pages)
    assert {f"row-{number} {number}" for number in range(200)} <= set(poppler.lines(pdf))


def test_every_character_that_is_let_through_is_drawn() -> None:
    """The font has all of them: a character that it lacked would be a box on paper."""
    rows = [(f"{ord(character):04X}", isolated(character)) for character in SHOWN]

    seen = poppler.lines(render(document(Rows(rows), language=Language.EN)))

    assert [f"{ord(character):04X} {character}" for character in SHOWN if f"{ord(character):04X} {character}" not in seen] == []


@pytest.mark.parametrize(
    "hostile",
    ["\u202e", "\u202d", "\u2066", "\u2067", "\u2068", "\u2069", "\u200f", "\u200b", "\x00", "\n", "\x1b", "\ud800", "\u0301", "Ж", "😀"],
)
def test_what_is_not_seen_or_cannot_be_shown_stands_as_its_code_point(hostile: str) -> None:
    value = f"before{hostile}after"

    with pytest.raises(InvalidArgumentError) as raised:
        render(document(Paragraph(value)))
    seen = poppler.lines(render(document(Rows([("תווית", isolated(value))]))))

    assert raised.value.reason == "PAGE_TEXT_INVALID"
    assert f"before[U+{ord(hostile):04X}]after {'תווית'[::-1]}" in seen


@pytest.mark.parametrize("text", [f"\u2068{'a'}", "a\u2069", "\u2068a\u2068b\u2069\u2069", "\u2069a\u2068"])
def test_an_isolate_that_is_not_closed_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        render(document(Heading(text)))

    assert raised.value.reason == "PAGE_TEXT_INVALID"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_any_value_can_be_shown_and_changes_no_other_line(values: list[str]) -> None:
    rows = [Rows([(isolated(value), isolated(value)) for value in values]), Rows([("סוף", isolated("2026-11-24 END"))])]

    pdf = render(document(*rows))

    assert all(unicodedata.category(character) not in {"Cc", "Cs"} for value in values for character in isolated(value))
    assert f"2026-11-24 END {'סוף'[::-1]}" in poppler.lines(pdf)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("value", ["a" * 5000, "W" * 300, "א" * 3000, "ab-cd/" * 500, "מילה " * 800, " " * 400 + "x"])
def test_long_values_stay_on_the_page(language: Language, value: str) -> None:
    table = Table((1, 4, 1), ("a", "b", "c"), [(isolated(value),) * 3])
    pdf = render(replace(document(Rows([(isolated(value), isolated(value))]), table, language=language), footer=isolated(value[:2000])))

    assert poppler.outside_of_margins(pdf) == []


def test_text_is_never_a_program() -> None:
    program = '#panic("ran") #set page(fill: red) = Heading *bold* $x^2$ ]) \\u{41} https://example.com // @label <label>'

    pdf = render(document(Paragraph(program), Rows([(program, isolated(program))]), language=Language.EN))

    assert f"{program}" in " ".join(poppler.text(pdf).split())


def test_double_hyphens_and_letters_are_not_joined() -> None:
    """The font has one glyph for two hyphens, which made another id of one that holds them."""
    seen = poppler.lines(render(document(Rows([("a", isolated("x--y fi ffl -->"))]), language=Language.EN)))

    assert "a x--y fi ffl -->" in seen


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        render(document(Table((1, 1), ("a", "b"), [("c",)])))

    assert raised.value.reason == "PAGE_TABLE_INVALID"


def test_file_names_its_title_language_and_time_and_brings_its_font(tmp_path: Path) -> None:
    attached = Attachment("source.txt", "מקור\n\n— end\n", "what it was made from")
    pdf = render(replace(document(Heading("פרק"), Paragraph("טקסט")), attachment=attached))

    facts, fonts = poppler.facts(pdf), poppler.fonts(pdf)

    assert facts["Title"] == "כותרת"
    assert facts["Tagged"] == "yes"
    assert b"/CreationDate(D:20261124100000Z)" in pdf
    assert b"/Lang(he-IL)" in pdf
    assert [font[0].split("+")[1] for font in fonts] == ["Heebo-Regular"] * len(fonts) != []
    assert all(font[-5:-2] == ["yes", "yes", "yes"] for font in fonts)
    assert poppler.attachment(pdf, tmp_path).decode() == attached.text


def test_another_process_makes_the_same_bytes() -> None:
    script = "import sys; from tests.unit.test_page import *; sys.stdout.buffer.write(render(document(Heading('א'), Rows([('b', isolated('1'))]))))"

    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, env={"TZ": "Asia/Jerusalem", "PYTHONPATH": ":".join(sys.path)}
    )

    assert done.stdout == render(document(Heading("א"), Rows([("b", isolated("1"))])))
