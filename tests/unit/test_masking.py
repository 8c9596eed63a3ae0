"""A masked value is enough to recognise what one knows already, and no more: exactly the characters that are documented, whatever the value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.masking import MaskStyle, mask

DOT = "•"
# What is shown as it is has its own test.
styles = st.sampled_from([style for style in MaskStyle if style is not MaskStyle.SHOWN])
# A value that is a mask already masks to itself; that is shown below, not here.
values = st.text(min_size=1, max_size=40).filter(lambda text: DOT not in text)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("+972501234567", "+97250•••••67"),
        ("+97231234567", "+97231••••67"),
        ("+12025550123", "+12025••••23"),
        ("+2901234567", "+29012•••67"),  # eleven characters: the shortest of which something is shown
        ("+290123456", "•••"),
        ("*2000", "•••"),
        ("1", "•••"),
    ],
)
def test_a_number_shows_its_beginning_and_two_digits_or_nothing(text: str, masked: str) -> None:
    assert mask(MaskStyle.PHONE, text) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("noa.cohen@example.com", "n•••@example.com"),
        ("na@example.com", "n•••@example.com"),
        ("n@example.com", "•••@example.com"),
        ("@example.com", "•••@example.com"),
        ("noa@", "n•••@"),
        ("נועה@example.co.il", "נ•••@example.co.il"),
        ("noa@home@example.com", "n•••@example.com"),
        ("no mailbox", "•••"),
        ("n", "•••"),
    ],
)
def test_a_mailbox_shows_its_first_letter_and_its_domain(text: str, masked: str) -> None:
    assert mask(MaskStyle.EMAIL, text) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Noa", "N•••"),
        ("נועה כהן", "נ•••"),
        ("נעה", "נ•••"),
        ("محمد", "م•••"),
        ("李", "•••"),
        ("李雷", "李•••"),
        ("נ", "•••"),
        ("\u200fנועה", "\u200f•••"),  # a direction mark is a character: the letter behind it stays hidden
        ("e\u0301lodie", "e•••"),  # an accent of its own is one more character, and hidden
        ("😀 Noa", "😀•••"),
    ],
)
def test_a_name_shows_its_first_character(text: str, masked: str) -> None:
    assert mask(MaskStyle.NAME, text) == masked


@pytest.mark.parametrize("text", ["x", "12", "a long address in Haifa", "כתובת", "noa@example.com", "+972501234567", "\n", "\x00"])
def test_what_is_hidden_shows_not_even_its_length(text: str) -> None:
    assert mask(MaskStyle.HIDDEN, text) == "•••"


@pytest.mark.parametrize("style", MaskStyle)
def test_what_is_empty_stays_empty(style: MaskStyle) -> None:
    assert mask(style, "") == ""


@given(styles, values)
def test_a_masked_value_is_never_the_value(style: MaskStyle, text: str) -> None:
    assert mask(style, text) != text


@given(values)
def test_what_stands_in_for_another_value_is_shown_as_it_is(text: str) -> None:
    assert mask(MaskStyle.SHOWN, text) == text


@given(styles, values)
def test_three_characters_or_more_are_always_hidden(style: MaskStyle, text: str) -> None:
    assert mask(style, text).count(DOT) >= 3


@given(values)
def test_a_number_never_shows_more_than_six_characters_in_front_and_two_behind(text: str) -> None:
    masked = mask(MaskStyle.PHONE, text)

    shown = (text[:6], text[-2:]) if len(text) >= 11 else ("", "")
    assert masked == shown[0] + DOT * (len(text) - 8 if len(text) >= 11 else 3) + shown[1]


@given(values)
def test_a_mailbox_never_shows_more_than_one_character_of_its_local_part(text: str) -> None:
    local, at, domain = text.rpartition("@")

    shown, _, behind = mask(MaskStyle.EMAIL, text).partition(DOT * 3)

    assert shown in {"", local[:1]}
    assert behind == (at + domain if at else "")


@given(values)
def test_a_name_never_shows_more_than_one_character(text: str) -> None:
    assert mask(MaskStyle.NAME, text).replace(DOT, "") in {"", text[0]}


@given(st.text(alphabet="0123456789", min_size=5, max_size=5), st.text(alphabet="0123456789", min_size=5, max_size=5))
def test_numbers_that_differ_in_what_is_hidden_look_alike(first: str, second: str) -> None:
    assert mask(MaskStyle.PHONE, f"+97250{first}67") == mask(MaskStyle.PHONE, f"+97250{second}67")


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_that_begin_alike_look_alike_however_long_they_are(first: str, second: str) -> None:
    assert mask(MaskStyle.NAME, f"נ{first}") == mask(MaskStyle.NAME, f"נ{second}")


@given(styles, st.text(min_size=1, max_size=40))
def test_a_masked_value_masked_again_shows_nothing_new(style: MaskStyle, text: str) -> None:
    once = mask(style, text)

    again = mask(style, once)

    assert set(again) <= {*once, DOT}


@given(st.sampled_from(["50", "52", "54"]), st.integers(2_000_000, 9_999_999))
def test_a_stored_number_hides_five_of_its_digits(prefix: str, number: int) -> None:
    """I2: the masked view of a real number leaves a hundred thousand that it could be."""
    masked = mask(MaskStyle.PHONE, f"+972{prefix}{number}")

    assert masked.count(DOT) == 5
    assert str(number)[:5] not in masked
