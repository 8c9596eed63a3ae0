"""The pages of a package as a person sees them: what the PDF shows is what its text says, and Hebrew reads the right way round."""

import re

import pytest

from tests import poppler
from tests.vectors.bundle_2.sample import sample
from vault.bundle import order_words as words
from vault.bundle.attachment import attached
from vault.bundle.content import PackageContent
from vault.bundle.order_page import cover, pages, statement, text_of
from vault.bundle.verdict import Code
from vault.bundle.verdict_words import FINDINGS
from vault.catalogue.words import Language

_WORD = re.compile("[0-9A-Za-z_]{2,}|[\u05d0-\u05ea]{2,}")
_ISOLATES = str.maketrans("", "", "\u2068\u2069")
BOTH = pytest.mark.parametrize("language", list(Language))
MAKERS = pytest.mark.parametrize("make", [cover, statement])


@BOTH
@MAKERS
def test_the_text_that_a_page_carries_is_what_it_shows(language: Language, make: object) -> None:
    """The verifier reads the text where a person reads the page."""
    document = make(sample(), language)  # type: ignore[operator]
    pdf = pages(document, "text.txt")

    text = attached(pdf).decode()
    assert text == text_of(document)
    # Word by word: where letters of both directions meet, what is read off a page has no order of its own.
    assert set(_WORD.findall(text)) - set(_WORD.findall(poppler.text(pdf).replace("\n", " "))) == set()


@BOTH
def test_counts_of_the_cover_are_lines_of_their_own(language: Language) -> None:
    lines = text_of(cover(sample(), language)).translate(_ISOLATES).split("\n")
    title = {"he": "פירוט שיחה", "en": "Call detail"}[language]

    assert f"- {title} (call-detail): 3" in lines
    assert sum("(call-detail): 3" in line for line in lines) == 1


@BOTH
def test_every_number_and_latin_word_from_outside_is_isolated(language: Language) -> None:
    """Policy §5.5: without isolates they read backwards in Hebrew."""
    text = text_of(cover(sample(), language))

    for value in ('צ"א 12345-06-26', "2026-06-04 10:30:00 UTC", "5f" * 32, "Example Telecom Ltd"):
        assert f"\u2068{value}\u2069" in text


@BOTH
def test_the_statement_is_filled_from_the_facts_of_the_package(language: Language) -> None:
    """L24: when the records were made, how many were stored near the event, the head of the log; and a place to sign."""
    text = text_of(statement(sample(), language)).translate(_ISOLATES)

    for fact in ("2026-01-03 07:00:00 UTC", "2026-01-30 21:05:09 UTC", "2 / 3", "tenants/acme", "1234", "ab" * 32, "____"):
        assert fact in text


def test_the_same_content_gives_the_same_pages() -> None:
    """N15."""
    first, second = (pages(cover(sample(), Language.HE), "cover_he.txt") for _ in range(2))

    assert first == second


def test_a_value_cannot_reach_out_of_its_place() -> None:
    """A name with a line break or a turn of direction is refused before; what a font cannot show stands as its code point."""
    content: PackageContent = sample(operator="Ελληνικά (call-detail): 9")

    lines = text_of(cover(content, Language.EN)).translate(_ISOLATES).split("\n")

    assert not [line for line in lines if line.startswith("- ") and line.endswith("(call-detail): 9")]
    assert any("[U+0395]" in line for line in lines)


def test_every_closed_text_is_there_in_both_languages() -> None:
    texts = [
        *words.LABELS.values(),
        *words.INSTRUMENTS.values(),
        *words.REASONS.values(),
        *words.VERIFY,
        *words.STATEMENT,
        *FINDINGS.values(),
    ]

    assert FINDINGS.keys() == set(Code)
    assert all(text.he.strip() and text.en.strip() and text.he != text.en for text in texts)
