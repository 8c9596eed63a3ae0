"""Page tokens: one opens for the listing it was made for and in the spelling it was given out, and nothing else opens (PAGE_TOKEN_INVALID)."""

import base64
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.errors import InvalidArgumentError
from vault.rpc.pages import PageTokens

KEY = bytes(range(32))
QUERY = ("records", "tenants/acme/subjects/aaaaaaaaaaaaaaaaaaaaaaaaaa", "call-detail")
AFTER = "bbbbbbbbbbbbbbbbbbbbbbbbbb"
ALPHABET = string.ascii_letters + string.digits + "-_"


@pytest.fixture
def pages() -> PageTokens:
    return PageTokens(KEY)


def refused(pages: PageTokens, token: str, *query: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        pages.open(token, *query)

    assert (caught.value.reason, caught.value.field) == ("PAGE_TOKEN_INVALID", "page_token")
    assert len(token) < 8 or token not in str(caught.value)
    assert caught.value.__cause__ is None


@settings(deadline=None)
@given(after=st.text(min_size=1), query=st.lists(st.text(), max_size=5))
def test_a_token_opens_to_the_position_it_was_made_for(after: str, query: list[str]) -> None:
    assert PageTokens(KEY).open(PageTokens(KEY).seal(after, *query), *query) == after


def test_the_end_of_a_listing_has_no_token_and_no_token_is_the_beginning(pages: PageTokens) -> None:
    assert pages.seal("", *QUERY) == ""
    assert pages.open("", *QUERY) == ""


def test_every_worker_with_the_key_opens_the_token() -> None:
    token = PageTokens(KEY).seal(AFTER, *QUERY)

    assert PageTokens(KEY).open(token, *QUERY) == AFTER


def test_a_token_says_nothing_to_its_holder(pages: PageTokens) -> None:
    first, second = pages.seal(AFTER, *QUERY), pages.seal(AFTER, *QUERY)

    assert first != second
    assert AFTER.encode() not in base64.urlsafe_b64decode(first)
    assert set(first) <= {*ALPHABET, "="}


@pytest.mark.parametrize(
    "query",
    [
        ("erasures", *QUERY[1:]),
        (QUERY[0], QUERY[1].replace("acme", "globex"), QUERY[2]),
        (*QUERY[:2], "outgoing-message"),
        QUERY[:2],
        (*QUERY, ""),
        (),
        (QUERY[1], QUERY[0], QUERY[2]),
        ("".join(QUERY),),
    ],
    ids=["method", "tenant", "category", "one part less", "one part more", "nothing", "other order", "joined"],
)
def test_a_token_of_another_query_is_refused(pages: PageTokens, query: tuple[str, ...]) -> None:
    refused(pages, pages.seal(AFTER, *QUERY), *query)


@settings(deadline=None)
@given(first=st.lists(st.text(max_size=6), max_size=4), second=st.lists(st.text(max_size=6), max_size=4))
def test_no_two_queries_share_their_tokens(first: list[str], second: list[str]) -> None:
    pages = PageTokens(KEY)
    token = pages.seal(AFTER, *first)

    if first == second:
        assert pages.open(token, *second) == AFTER
    else:
        refused(pages, token, *second)


def test_a_token_under_another_key_is_refused(pages: PageTokens) -> None:
    refused(pages, PageTokens(bytes(32)).seal(AFTER, *QUERY), *QUERY)


def test_a_changed_character_is_refused(pages: PageTokens) -> None:
    """Also where the change is in bits that base64 leaves unused: one token has one spelling."""
    for after in (AFTER, AFTER + "c", AFTER + "cc"):
        token = pages.seal(after, *QUERY)
        for place, letter in enumerate(token):
            for other in {*ALPHABET, "=", "+", "/", "!"} - {letter}:
                refused(pages, token[:place] + other + token[place + 1 :], *QUERY)


@pytest.mark.parametrize("noise", ["!", " ", "\n", ".", "*", "é", "\x00", "=", "A"])
def test_something_put_into_a_token_is_refused(pages: PageTokens, noise: str) -> None:
    """Harm: the decoder skipped what is not base64, so a token had as many spellings as one liked."""
    token = pages.seal(AFTER, *QUERY)

    for place in range(len(token) + 1):
        refused(pages, token[:place] + noise + token[place:], *QUERY)


def test_a_shortened_token_is_refused(pages: PageTokens) -> None:
    token = pages.seal(AFTER, *QUERY)

    for length in range(1, len(token)):
        refused(pages, token[:length], *QUERY)


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "....",
        "not a token",
        "é",
        "דף 2",
        "😀" * 20,
        "\ud800",
        "\x00",
        "=",
        "====",
        "AAAA",
        "A" * 100,
        "2",
        "-" * 40,
        " ",
        AFTER,
        "{}",
        "%3D",
    ],
)
def test_garbage_is_refused(pages: PageTokens, token: str) -> None:
    refused(pages, token, *QUERY)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=120))
def test_any_text_is_refused(token: str) -> None:
    refused(PageTokens(KEY), token, *QUERY)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=80))
def test_any_bytes_in_base64_are_refused(data: bytes) -> None:
    refused(PageTokens(KEY), base64.urlsafe_b64encode(data).decode(), *QUERY)
