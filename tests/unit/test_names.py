"""Resource names: what parses comes out as it went in, and nothing else parses (NAME_INVALID), without being repeated."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault import names
from vault.errors import InvalidArgumentError
from vault.names import ChildName, ExportName, RecordName, SubjectName, TenantName

A, B, C = "a" * 26, "b" * 26, "c2" * 13
NAMES: list[tuple[Callable[[str], object], str, object]] = [
    (names.parse_tenant, "tenants/acme", TenantName("acme")),
    (names.parse_subject, f"tenants/acme/subjects/{A}", SubjectName("acme", A)),
    (names.parse_record, f"tenants/acme/subjects/{A}/records/{B}", RecordName("acme", A, B)),
    (lambda name: names.parse_child(name, "orders"), f"tenants/acme/orders/{C}", ChildName("acme", "orders", C)),
    (names.parse_export, f"tenants/acme/orders/{A}/exports/{B}", ExportName("acme", A, B)),
]
IDS = ["tenant", "subject", "record", "child", "export"]
every_name = pytest.mark.parametrize(("parse", "text", "name"), NAMES, ids=IDS)

tenants = st.from_regex(names.TENANT_ID, fullmatch=True).filter(lambda tenant: tenant != "system")
ids = st.binary(min_size=16, max_size=16).map(lambda seed: names.new_id(lambda _: seed))


def refusal(attempt: Callable[[str], object], text: str) -> InvalidArgumentError:
    with pytest.raises(InvalidArgumentError) as refused:
        attempt(text)

    assert refused.value.reason == "NAME_INVALID"
    return refused.value


@every_name
def test_a_name_is_parsed_and_written_alike(parse: Callable[[str], object], text: str, name: object) -> None:
    assert parse(text) == name
    assert str(name) == text


@given(tenants, ids, ids)
def test_every_name_that_is_written_parses_to_the_same(tenant: str, first: str, second: str) -> None:
    record, export = RecordName(tenant, first, second), ExportName(tenant, first, second)

    assert names.parse_record(str(record)) == record
    assert names.parse_export(str(export)) == export
    assert names.parse_subject(str(SubjectName(tenant, first))) == SubjectName(tenant, first)
    assert names.parse_tenant(str(TenantName(tenant))) == TenantName(tenant)
    assert names.parse_child(str(ChildName(tenant, "imports", first)), "imports") == ChildName(tenant, "imports", first)


DAMAGE: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "slash in front": lambda text: f"/{text}",
    "slash behind": lambda text: f"{text}/",
    "blank in front": lambda text: f" {text}",
    "blank behind": lambda text: f"{text} ",
    "line break behind": lambda text: f"{text}\n",
    "zero byte behind": lambda text: f"{text}\x00",
    "more behind": lambda text: f"{text}/x/y",
    "last part missing": lambda text: text.rpartition("/")[0],
    "last part empty": lambda text: text.rpartition("/")[0] + "/",
    "double slash": lambda text: text.replace("/", "//", 1),
    "backslash": lambda text: text.replace("/", "\\"),
    "singular collection": lambda text: text.replace("tenants", "tenant"),
    "capital collection": lambda text: text.replace("tenants", "Tenants"),
    "parent folder": lambda text: text.replace("acme", ".."),
    "per cent": lambda text: text.replace("acme", "%61cme"),
    "Cyrillic letter": lambda text: text.replace("acme", "\u0430cme"),
    "dash": lambda text: text.replace("acme", "-"),
    "no tenant": lambda text: text.replace("acme", ""),
    "system log": lambda text: text.replace("acme", "system"),
    "pattern": lambda text: text.replace("acme", "{tenant}"),
    "full resource name": lambda text: f"//vault.example/{text}",
}


@every_name
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_name_of_another_form_is_refused(parse: Callable[[str], object], text: str, name: object, damage: Callable[[str], str]) -> None:
    assert damage(text) != str(name)

    refusal(parse, damage(text))


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_is_refused_without_being_repeated(text: str) -> None:
    for parse in (names.parse_tenant, names.parse_subject, names.parse_record, names.parse_export):
        try:
            assert str(parse(text)) == text
        except InvalidArgumentError as error:
            refused = error
            # What every refusal of this kind says may hold a piece of it.
            assert text not in refused.message or text in refusal(parse, "?").message
        else:
            continue
        assert refused.reason == "NAME_INVALID"


def test_a_name_of_another_kind_is_refused() -> None:
    for parse, _, own in NAMES:
        for _, text, _ in NAMES:
            if text != str(own):
                refusal(parse, text)


def test_the_collection_is_part_of_a_childs_name() -> None:
    assert refusal(lambda name: names.parse_child(name, "erasures"), f"tenants/acme/orders/{A}").message == (
        "name is not of the form tenants/{tenant}/erasures/{id}"
    )


@pytest.mark.parametrize("part", ["a" * 25, "a" * 27, "A" * 26, "a" * 25 + "1", "a" * 25 + "8", "a" * 25 + "=", "a" * 25 + "é", ""])
def test_an_id_of_another_form_is_refused(part: str) -> None:
    refusal(names.parse_subject, f"tenants/acme/subjects/{part}")
    refusal(names.parse_record, f"tenants/acme/subjects/{A}/records/{part}")
    refusal(names.parse_record, f"tenants/acme/subjects/{part}/records/{A}")
    refusal(names.parse_export, f"tenants/acme/orders/{part}/exports/{A}")
    refusal(lambda name: names.parse_child(name, "orders"), f"tenants/acme/orders/{part}")


@pytest.mark.parametrize("tenant", ["ab", "a1", "acme", "acme-2", "a--b", "a" * 63])
def test_a_tenant_id_of_letters_digits_and_dashes_is_taken(tenant: str) -> None:
    assert names.check_tenant_id(tenant) == tenant


@pytest.mark.parametrize(
    "tenant", ["", "a", "1a", "-a", "a-", "A1", "Acme", "a_b", "a.b", "a b", "a" * 64, "system", "ab\n", "אב", "a٣", "tenants/acme"]
)
def test_a_tenant_id_of_another_form_is_refused(tenant: str) -> None:
    assert refusal(names.check_tenant_id, tenant).field == "tenant_id"


@pytest.mark.parametrize("list_id", ["1", "a", "newsletter", "Spring-2026_v1.2", "x" * 64])
def test_a_list_id_is_an_opaque_token(list_id: str) -> None:
    assert names.check_list_id(list_id) == list_id


@pytest.mark.parametrize("list_id", ["", "-a", ".a", "_a", "a b", "a/b", "לקוחות", "customers of Noa", "a@b", "x" * 65, "a\n", "٣"])
def test_a_list_id_that_could_be_a_sentence_is_refused(list_id: str) -> None:
    assert refusal(names.check_list_id, list_id).field == "list"


@pytest.mark.parametrize(("parse", "field"), [(names.parse_tenant, "parent"), (names.parse_subject, "name"), (names.parse_record, "name")])
def test_a_refusal_names_the_field_and_the_rule(parse: Callable[..., object], field: str) -> None:
    assert refusal(parse, "x").field == field
    assert refusal(lambda name: parse(name, field="record.subject"), "x").field == "record.subject"
    assert "tenants/{tenant}" in refusal(parse, "x").message


def test_what_was_sent_is_not_repeated() -> None:
    """A name can hold anything, also a telephone number that was put into the wrong field."""
    for parse, text, _ in NAMES:
        for spoilt in ("+972501234567", text.replace("acme", "+972501234567"), text.rpartition("/")[0] + "/+972501234567"):
            assert "972501234567" not in str(refusal(parse, spoilt))


def test_new_ids_are_random_and_of_the_one_form() -> None:
    made = {names.new_id() for _ in range(1000)}

    assert len(made) == 1000
    assert all(re.fullmatch(r"[a-z2-7]{26}", made_id) for made_id in made)


def test_an_id_holds_every_bit_of_its_128() -> None:
    asked: list[int] = []

    def randomness(size: int) -> bytes:
        asked.append(size)
        return bytes(range(size))

    assert names.new_id(randomness) == "aaaqeayeaudaocajbifqydiob4"
    assert asked == [16]


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_different_bits_are_different_ids(first: bytes, second: bytes) -> None:
    assert (names.new_id(lambda _: first) == names.new_id(lambda _: second)) == (first == second)
