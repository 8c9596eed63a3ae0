"""Card numbers and personal data are found, and ordinary references are not mistaken for them (A30, L40)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.errors import InvalidArgumentError
from vault.masking import MaskStyle, mask
from vault.scan import find_card_number, find_personal_data, refuse_card_data

# Published test numbers of the card schemes; no account stands behind them.
CARDS = [
    "4111111111111111",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "6011111111111117",
    "30569309025904",
    "3530111333300000",
]


@pytest.mark.parametrize("number", CARDS)
@pytest.mark.parametrize("form", ["{}", "כרטיס {}", "x{}y", "card: {}, exp 12/29", "\u200f{}\u200e"])
def test_card_number_is_found(number: str, form: str) -> None:
    assert find_card_number(form.format(number))


@given(st.sampled_from(CARDS), st.sampled_from([" ", "-", ".", ""]), st.integers(2, 5))
def test_card_number_is_found_with_separators(number: str, separator: str, group: int) -> None:
    written = separator.join(number[start : start + group] for start in range(0, len(number), group))

    assert find_card_number(f"הערה {written} סוף")


@pytest.mark.parametrize(
    "text", ["0501234567", "+972-50-123-4567", "4111111111111112", "2026-01-01T10:00:00+02:00", "m000000012345", "12345-06-26", ""]
)
def test_other_numbers_are_not_cards(text: str) -> None:
    assert not find_card_number(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("cvv 123", "SAD_FORBIDDEN"), ("CVC: 4821", "SAD_FORBIDDEN"), ("קוד אבטחה 123", "SAD_FORBIDDEN"), (CARDS[0], "PAN_IN_FREE_FIELD")],
)
def test_card_data_in_a_free_field_is_refused_without_repeating_it(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        refuse_card_data(text, field="extra")

    assert refused.value.reason == reason
    assert text not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("customer 050-1234567 called", "phone"),
        ("customer 0501234567 called", "phone"),
        ("call +972501234567", "phone"),
        ("call 00972 50 123 4567", "phone"),
        ("line 03-1234567 is down", "phone"),
        ("write to noa@example.com", "email"),
        ("id 123456782 asks", "id-number"),
        ("card 4111 1111 1111 1111", "card"),
    ],
)
def test_personal_data_in_a_justification_is_found(text: str, kind: str) -> None:
    assert find_personal_data(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "customer asked in ticket HD-1234 why messages stopped",
        "order 12345-06-26 of the court in Haifa",
        "fault seen on 2026-11-23 at 10:15:00",
        "campaign 20261123 failed for 1500 recipients",
        "לקוח ביקש לבדוק תקלה בקריאה",
    ],
)
def test_ordinary_justifications_pass(text: str) -> None:
    assert find_personal_data(text) is None


@pytest.mark.parametrize(
    ("style", "text", "masked"),
    [
        (MaskStyle.PHONE, "+972501234567", "+97250•••••67"),
        (MaskStyle.PHONE, "12345", "•••"),
        (MaskStyle.EMAIL, "noa@example.com", "n•••@example.com"),
        (MaskStyle.EMAIL, "n@example.com", "•••@example.com"),
        (MaskStyle.NAME, "נועה", "נ•••"),
        (MaskStyle.NAME, "נ", "•••"),
        (MaskStyle.HIDDEN, "anything", "•••"),
        (MaskStyle.HIDDEN, "", ""),
    ],
)
def test_masked_forms(style: MaskStyle, text: str, masked: str) -> None:
    assert mask(style, text) == masked
