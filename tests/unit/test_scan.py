"""Card numbers and personal data are found, and ordinary references are not mistaken for them (A30, L40)."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn

from vault.errors import InvalidArgumentError
from vault.masking import MaskStyle, mask
from vault.scan import find_card_number, find_personal_data, find_security_code, refuse_card_data

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
    "text",
    [
        "4111 1111 1111 1111 123",
        "12 4111111111111111",
        "4111111111111111 1229",
        "41111111111111111229",
        "4111 - 1111 - 1111 - 1111",
        "4111–1111–1111–1111",
        "4111־1111־1111־1111",
        "4111\u00a01111\u202f1111\u20091111",
        "٤١١١١١١١١١١١١١١١",
        "４１１１１１１１１１１１１１１１",
        "4\u200b111\u00ad1111\u20601111\ufeff1111",
        "4\ufe0f\u20e31\ufe0f\u20e31\ufe0f\u20e31\ufe0f\u20e3111111111111",
    ],
    ids=ascii,
)
def test_card_number_is_found_beside_other_digits_and_however_it_is_written(text: str) -> None:
    """Harm: a number with its security code or expiry behind it was taken for one longer number with a wrong check digit."""
    assert find_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "0502345678 0522345678",
        "050-2345678 052-2345678",
        "054-2667869 050-6346484",
        "0546950699 0525755947",
        "0549592648 054-5646960",
        "0540796043 054-0750020",
    ],
)
def test_telephone_numbers_side_by_side_are_no_card(text: str) -> None:
    """Harm: any stretch of two numbers in a row could be a card, so every third text with two numbers was refused."""
    assert not find_card_number(text)


@given(st.text(alphabet="0123456789", min_size=13, max_size=19), st.sampled_from([" ", "-", "  ", " - "]))
def test_card_number_is_found_exactly_if_it_has_an_issuer_and_a_check_digit(digits: str, separator: str) -> None:
    sound = luhn.is_valid(digits)
    issuers = (
        *("4", *(str(number) for number in range(51, 56)), *(str(number) for number in range(2221, 2721)), "34", "37"),
        *(*(str(number) for number in range(300, 306)), "36", "38", *(str(number) for number in range(3528, 3590))),
        *("6011", *(str(number) for number in range(644, 650)), "65", "62"),
    )

    assert find_card_number(digits) == (sound and digits.startswith(issuers))
    assert find_card_number(f"טלפון 1{separator}{digits}{separator}2") or not find_card_number(digits)


def test_every_unseen_character_dash_digit_and_space_of_unicode_is_known() -> None:
    """A card number with any of them between its digits, or made of any digits, is still found."""
    for code in range(sys.maxunicode + 1):
        letter = chr(code)
        match unicodedata.category(letter):
            case "Cf":
                assert find_card_number(f"41111111{letter}11111111"), hex(code)
            case "Nd":
                written = "".join(chr(code - unicodedata.digit(letter) + int(digit)) for digit in CARDS[0])
                assert unicodedata.digit(letter) or find_card_number(written), hex(code)
            case "Zs" if letter != "\u1680":  # the Ogham space is a line
                assert find_card_number(f"41111111{letter}11111111"), hex(code)


@pytest.mark.parametrize("text", ["cvv123", "cvc2:123", "CVV is 123", "cvv2 הוא 1234", "cvv (123)"])
def test_security_code_is_found_however_it_is_written(text: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        refuse_card_data(text, field="extra")

    assert refused.value.reason == "SAD_FORBIDDEN"


@pytest.mark.parametrize(
    "text",
    [
        "card PIN: 1234",
        "the PIN of my card is 4321",
        "credit card pin code 123456",
        "ATM pin 1234",
        "debit card, pin block: 4821",
        "קוד סודי של הכרטיס 1234",
        "כרטיס אשראי, קוד סודי: 1234",
        "קוד האבטחה 123",
        "שלוש הספרות שבגב: 123",
        f"%B{CARDS[0]}^LEVI/DANA^29121010000000000000?",
        f";{CARDS[0]}=29121010000012345678?",
    ],
)
def test_pin_and_stripe_of_a_card_are_found_in_both_languages(text: str) -> None:
    """L40: PCI DSS 3.3.1, not even encrypted."""
    assert find_security_code(text)
    with pytest.raises(InvalidArgumentError) as refused:
        refuse_card_data(text, field="body")

    assert refused.value.reason == "SAD_FORBIDDEN"


@pytest.mark.parametrize(
    "text",
    [
        "your PIN is 123456",
        "קוד סודי לכניסה: 123456",
        "card ends with 1234",
        "credit of 1234 was given",
        "order 1234567890123=2024",
        "track 4 of the record",
    ],
)
def test_codes_that_businesses_send_to_sign_in_with_are_no_card_data(text: str) -> None:
    """Harm: every second message would be refused."""
    refuse_card_data(text, field="body")


@pytest.mark.parametrize("text", ["cvv", "cvv12", "cvv 12345", "the cvv of 2 cards", "recvv123", "code 123"])
def test_other_codes_are_no_security_codes(text: str) -> None:
    refuse_card_data(text, field="extra")


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
        ("line (03) 123-4567 is down", "phone"),
        ("call +972 (0)50-1234567", "phone"),
        ("לקוח 050־1234567 התקשר", "phone"),
        ("customer 050\u20111234567", "phone"),
        ("on 02.03.2026 10:15 from 050-1234567", "phone"),
        ("write to noa＠example.com", "email"),
        ("write to noa@example.com", "email"),
        ("id 123456782 asks", "id-number"),
        ("card 4111 1111 1111 1111", "card"),
    ],
)
def test_personal_data_in_a_justification_is_found(text: str, kind: str) -> None:
    assert find_personal_data(text) == kind


@given(st.text(alphabet="0123456789", min_size=9, max_size=9))
def test_an_identity_number_is_nine_digits_with_a_right_check_digit(digits: str) -> None:
    """§2B, free fields. Compared with the rule itself: every second digit is doubled, the digits of all are added."""
    added = sum(sum(map(int, str(int(digit) * (1 + place % 2)))) for place, digit in enumerate(digits))

    assert (find_personal_data(f"id {digits}") in {"id-number", "phone"}) == (
        (added % 10 == 0 and digits != "000000000") or find_personal_data(f"id {digits}") == "phone"
    )


@pytest.mark.parametrize(
    "text",
    [
        "customer asked in ticket HD-1234 why messages stopped",
        "order 12345-06-26 of the court in Haifa",
        "fault seen on 2026-11-23 at 10:15:00",
        "campaign 20261123 failed for 1500 recipients",
        "fault seen on 02.03.2026 10:15",
        "בתאריך 02/03/2026 10:15 הייתה תקלה",
        "from 01-02-26 08:00 to 03-02-26 09:30",
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
