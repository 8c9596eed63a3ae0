"""The pages of an erasure certificate (policy §6.5): everything that is signed is on them, in both languages, and nobody's identifier."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import poppler
from vault.audit.checkpoint import NoteSigner, open_note, sign_note
from vault.bundle import erasure_words as words
from vault.bundle.attachment import attached
from vault.bundle.erasure_page import ATTACHMENT, language_of, render_certificate
from vault.bundle.page import isolated
from vault.catalogue import loader
from vault.catalogue.fields import Description
from vault.catalogue.words import Language
from vault.errors import DataLossError
from vault.scan import find_contact

CATALOGUE = loader.load()
SIGNER = NoteSigner("vault.example", Ed25519PrivateKey.from_private_bytes(b"\7" * 32))
SAID: dict[str, Any] = {
    "format": "pii-vault-erasure-certificate/3",
    "issuer": "vault.example",
    "operator": "Cellact Ltd / סלקט בע״מ",
    "certificate_no": "EC-2026-000417-S1",
    "supplement": 1,
    "supplements": "EC-2026-000417",
    "erasure": "tenants/acme/erasures/3f0c9a77c2b84f6b9d0e5a1b2c3d4e5f",
    "state": "PARTIAL",
    "next_time": "2027-01-31T00:00:00+00:00",
    "request_time": "2026-11-20T11:15:02.123+02:00",
    "finish_time": "2026-11-24T10:00:00+00:00",
    "requester_kind": "SUBJECT",
    "identifier": "+97250•••••67",
    "subject": "tenants/acme/subjects/aabbccddeeff00112233445566778899",
    "outcomes": [
        {"category": "end-customer-contact", "found": 3, "erased": 3, "tokenised": 0, "restricted": [], "forwarded": 0},
        {
            "category": "call-detail",
            "found": 1284,
            "erased": 0,
            "tokenised": 12,
            "restricted": [
                {"basis": "REGULATORY_TELECOM", "count": 1200, "until": "2033-11-24"},
                {"basis": "LEGAL_CLAIM", "count": 72, "review": "2027-05-01"},
            ],
            "forwarded": 0,
        },
        {
            "category": "list-membership",
            "found": 5,
            "erased": 0,
            "tokenised": 0,
            "restricted": [],
            "forwarded": 5,
            "controller": "tenants/acme",
        },
    ],
    "methods": [{"method": "KEY_DESTRUCTION", "key_ids": ["sk-7b1f03aa", "sk-91d2aa00"]}, {"method": "ROW_DELETION"}],
    "not_reachable": "MERGED_BODIES",
    "caches_verified_time": "2026-11-24T10:00:30+00:00",
    "backups_expire_time": "2026-12-24T10:00:00+00:00",
    "suppression": "KEPT",
    "notifications": [
        {"recipient": "tenants/acme", "state": "ACKNOWLEDGED", "count": 1},
        {"recipient": "affiliate", "state": "SENT", "count": 4},
    ],
    "approvers": ["people/ruth", "people/noa"],
    "policy_version": "2026.11",
    "audit": {"log": "tenants/acme", "index": 90211, "size": 90213, "root": "Jq1x0l9w3nC0mF7n2Q4s0m5bq0m7g7u3V2o1r8m0x5E="},
}
# The closed sets of policy §6.1 to §6.5, which the tables of texts must cover.
CLOSED: dict[str, tuple[Mapping[str, Description], set[str]]] = {
    "state": (words.STATES, {"COMPLETE", "PARTIAL"}),
    "requester": (words.REQUESTERS, {"SUBJECT", "GUARDIAN", "REPRESENTATIVE", "TENANT", "OPERATOR", "CONTRACT_END", "RETENTION", "COURT"}),
    "basis": (
        words.BASES,
        {"LEGAL_HOLD", "STATUTORY_TAX", "REGULATORY_TELECOM", "LEGAL_CLAIM", "CONSENT_EVIDENCE", "AUDIT_FLOOR", "RETAINED_UNDER_LAW"},
    ),
    "method": (words.METHODS, {"KEY_DESTRUCTION", "ROW_DELETION", "TOKENISATION"}),
    "suppression": (words.SUPPRESSION, {"KEPT", "ERASED"}),
    "notification": (words.NOTIFICATION_STATES, {"PENDING", "SENT", "ACKNOWLEDGED"}),
}


def signed(said: Mapping[str, Any]) -> str:
    return sign_note(json.dumps(said, ensure_ascii=False, sort_keys=True, indent=1) + "\n", SIGNER)


def rendered(said: Mapping[str, Any], language: Language = Language.HE) -> bytes:
    return render_certificate(signed(said), language, CATALOGUE)


def seen(language: Language, label: str, *values: str) -> str:
    """A row as it is seen from the left: in Hebrew the label is at the right, its letters in reverse."""
    text = words.LABELS[label]
    return " ".join([text.en, *values] if language is Language.EN else [*reversed(values), text.he[::-1]])


@pytest.mark.parametrize("language", Language)
def test_every_number_id_and_date_is_in_the_text_in_its_own_order(language: Language) -> None:
    pdf = rendered(SAID, language)
    text, lines = " ".join(poppler.text(pdf).split()), " ".join(poppler.lines(pdf))

    ids = re.findall(r'"((?:tenants/|people/|sk-|EC-|affiliate)[^"]*)"', json.dumps(SAID))
    numbers = [str(number) for number in (1284, 12, 1200, 72, 1272, 1292, 90211, 90213)]
    days = ["2033-11-24", "2027-05-01"]
    instants = ["2027-01-31 00:00:00", "2026-11-20 09:15:02", "2026-11-24 10:00:00", "2026-11-24 10:00:30", "2026-12-24 10:00:00"]
    wanted = {*ids, *numbers, *days, *(f"{instant} UTC" for instant in instants), "+97250•••••67", "2026.11", "vault.example", ATTACHMENT}
    assert len(ids) == 12
    assert {part for part in wanted if part not in text} == set()
    assert {part for part in {*wanted, SAID["audit"]["root"]} if part not in lines} == set()


@pytest.mark.parametrize("language", Language)
def test_rows_and_tables_run_in_the_direction_of_the_language(language: Language) -> None:
    lines = poppler.lines(rendered(SAID, language))

    assert seen(language, "finish_time", "2026-11-24 10:00:00 UTC") in lines
    assert seen(language, "identifier", "+97250•••••67") in lines
    assert seen(language, "total", "1292", "3", "12", "1272", "5") in lines
    approvers = "people/ruth, people/noa" if language is Language.EN else "people/noa ,people/ruth"
    assert seen(language, "approvers", approvers) in lines
    end = f"{words.LABELS['review'].en} 2027-05-01" if language is Language.EN else f"2027-05-01 {words.LABELS['review'].he[::-1]}"
    assert any(end in line and "72" in line for line in lines)


def test_count_that_the_certificate_does_not_give_is_not_made_up() -> None:
    lines = poppler.lines(rendered({**SAID, "outcomes": [{"category": "call-detail", "found": 7, "restricted": []}]}, Language.EN))

    assert "Total 7 – – 0 –" in lines


@pytest.mark.parametrize("language", Language)
def test_every_page_can_be_drawn_and_nothing_lies_outside(language: Language, tmp_path: Path) -> None:
    many = [{**SAID["outcomes"][1], "category": category} for category in CATALOGUE.categories]
    pdf = rendered({**SAID, "outcomes": many, "approvers": [f"people/{'x' * 90}{number}" for number in range(30)]}, language)

    drawn = [path.read_bytes() for path in poppler.images(pdf, tmp_path)]

    assert len(drawn) > 2
    assert all(min(page[20:]) < 128 for page in drawn)
    assert poppler.outside_of_margins(pdf) == []


@pytest.mark.parametrize("name", CLOSED)
def test_every_value_of_a_closed_set_has_a_text_in_both_languages(name: str) -> None:
    table, values = CLOSED[name]

    assert values - table.keys() == set()


def test_texts_are_complete_and_can_be_set() -> None:
    tables = [value for value in vars(words).values() if isinstance(value, dict) and value.keys() != vars(words).keys()]
    texts = [text for table in tables for text in table.values() if isinstance(text, Description)] + list(words.PROOF)

    assert len(texts) > 70
    assert [text for text in texts if not (re.search("[א-ת]", text.he) and re.search("[a-z]", text.en))] == []
    assert [text for text in texts if re.search("[0-9A-Za-z]", text.he)] == []  # what reads from the left is a value, and isolated
    assert [text for text in texts for part in (text.he, text.en) if isolated(part)[1:-1] != part] == []


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("name", CLOSED)
def test_closed_texts_reach_the_page(language: Language, name: str) -> None:
    table, _ = CLOSED[name]
    for value, text in table.items():
        said = {
            "state": {**SAID, "state": value},
            "requester": {**SAID, "requester_kind": value},
            "basis": {
                **SAID,
                "outcomes": [{"category": "call-detail", "restricted": [{"basis": value.lower().replace("_", "-"), "count": 1}]}],
            },
            "method": {**SAID, "methods": [value]},
            "suppression": {**SAID, "suppression": value},
            "notification": {**SAID, "notifications": [{"recipient": "affiliate", "state": value, "count": 1}]},
        }[name]

        flat = "".join(poppler.text(rendered(said, language)).split())

        wanted = text.en if language is Language.EN else text.he
        assert all(word in flat for word in re.findall(r"[\w־]+", wanted)), value


@pytest.mark.parametrize("language", Language)
def test_members_that_are_not_known_are_shown(language: Language) -> None:
    outcomes = [{**SAID["outcomes"][0], "surprise": "inner-value"}, "no object"]
    said = {
        **SAID,
        "outcomes": [outcomes[0]],
        "state": "SUSPENDED",
        "requester_kind": "ALIEN",
        "novelty": {"deep": [1, {"er": 77}]},
        "flag": True,
        "audit": {**SAID["audit"], "witness": "w-1"},
    }

    text = " ".join(poppler.lines(rendered(said, language)))
    other_shape = " ".join(poppler.lines(rendered({**SAID, "outcomes": outcomes}, language)))

    assert [
        part
        for part in ("SUSPENDED", "ALIEN", "novelty", '{"deep": [1, {"er": 77}]}', "flag", "true", "audit.witness", "w-1")
        if part not in text
    ] == []
    assert "outcomes[0].surprise" in text
    assert "inner-value" in text
    assert "no object" in other_shape


def test_certificate_of_the_first_format_is_shown() -> None:
    outcomes = {"call-detail": {"found": 4, "erased": 4}}
    first = {
        "format": "pii-vault-erasure-certificate/1",
        "erasure": "tenants/acme/erasures/e1",
        "requester": "people/dana",
        "outcomes": outcomes,
    }

    lines = poppler.lines(rendered({**first, "kept": []}, Language.EN))

    assert {"Erasure tenants/acme/erasures/e1", "requester people/dana", 'outcomes {"call-detail": {"erased": 4, "found": 4}}'} <= set(
        lines
    )
    assert words.LABELS["outcomes"].en not in lines


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(SAID)),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["category", "count", "basis", "until"]), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    ),
    st.sampled_from(Language),
)
def test_any_certificate_can_be_rendered(other: dict[str, Any], language: Language) -> None:
    said = {**SAID, **other, "identifier": SAID["identifier"]}
    note = json.dumps(said, sort_keys=True) + "\n\n— vault.example AAAA\n"

    pdf = render_certificate(note, language, CATALOGUE)

    assert attached(pdf).decode() == note


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize(
    "hostile", ["\u202e317 deretsiger", "a\nCERTIFICATE WITHDRAWN", "\x00\x07", "x" * 4000, "\u2069\u2069\u202eabc", "<b>&amp;#panic()]"]
)
def test_hostile_members_stay_in_their_place(language: Language, hostile: str) -> None:
    said = {
        **SAID,
        "policy_version": hostile,
        "approvers": [hostile],
        "issuer": hostile,
        "notifications": [{"recipient": hostile, "state": hostile}],
    }

    pdf = rendered({**said, hostile: hostile}, language)

    assert poppler.outside_of_margins(pdf) == []
    assert seen(language, "finish_time", "2026-11-24 10:00:00 UTC") in poppler.lines(pdf)
    assert attached(pdf).decode() == signed({**said, hostile: hostile})


@pytest.mark.parametrize(
    ("finish_time", "created"),
    [
        ("2026-11-24T12:00:00.123456+02:00", "D:20261124100000Z"),
        ("1969-12-31T00:00:00+00:00", "D:19700101000000Z"),
        ("0001-01-01T00:00:00+14:00", "D:19700101000000Z"),
        ("9999-12-31T23:59:59+00:00", "D:99991231235959Z"),
        ("yesterday", "D:19700101000000Z"),
        (None, "D:19700101000000Z"),
    ],
)
def test_pdf_is_created_when_the_erasure_finished(finish_time: str | None, created: str) -> None:
    assert f"/CreationDate({created})".encode() in rendered({**SAID, "finish_time": finish_time})


@pytest.mark.parametrize(
    "identifier", ["+972502345667", "dana@example.com", "0502345667", "+972502345667•", ["+972502345667"], 972502345667]
)
def test_identifier_in_clear_is_refused(identifier: object) -> None:
    with pytest.raises(DataLossError) as raised:
        rendered({**SAID, "identifier": identifier})

    assert raised.value.reason == "IDENTIFIER_NOT_MASKED"


@pytest.mark.parametrize("language", Language)
def test_pages_hold_nobodys_number_or_mailbox(language: Language) -> None:
    found = {word: find_contact(word) for word in poppler.text(rendered(SAID, language)).split()}

    assert {word for word, kind in found.items() if kind} <= {"+97250•••••67"}


@pytest.mark.parametrize("note", ["", "no json\n\n— a b\n", "[1]\n\n— a b\n", '{"state": "COMPLETE"}'])
def test_what_is_no_certificate_is_refused(note: str) -> None:
    with pytest.raises(DataLossError) as raised:
        render_certificate(note, Language.HE, CATALOGUE)

    assert raised.value.reason == "CERTIFICATE_INVALID"


@pytest.mark.parametrize("language", Language)
def test_pdf_carries_the_note_that_it_was_made_from(language: Language, tmp_path: Path) -> None:
    pdf = rendered(SAID, language)

    ours, popplers = attached(pdf), poppler.attachment(pdf, tmp_path)

    assert ours == popplers
    assert json.loads(open_note(ours.decode(), SIGNER.verifier())) == SAID
    assert language_of(pdf, ours.decode(), CATALOGUE) is language


def test_pages_of_another_certificate_are_noticed() -> None:
    note, other = signed(SAID), rendered({**SAID, "state": "COMPLETE"})

    assert language_of(other, note, CATALOGUE) is None
    assert language_of(rendered(SAID).replace(b"Heebo", b"Haabo"), note, CATALOGUE) is None


def test_pages_depend_on_the_note_and_the_titles_only() -> None:
    calls = CATALOGUE.categories["call-detail"]
    renamed = replace(
        CATALOGUE, categories={**CATALOGUE.categories, "call-detail": replace(calls, title=Description("שם אחר", "Other name"))}
    )

    assert rendered(SAID) == rendered(SAID)
    assert "Other name" in poppler.text(render_certificate(signed(SAID), Language.EN, renamed))
