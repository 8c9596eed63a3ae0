"""The offline verifier against every way to tamper with a package (N6, N14, N18; I8)."""

import ast
import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from pyrage import x25519

from tests.vectors.bundle_2.sample import (
    CALL_ROWS,
    CALLS,
    EXPORT_ID,
    IDENTITY,
    MANIFEST,
    NUMBERS,
    RECIPIENT,
    SIGNATURE,
    SIGNER,
    bag_anew,
    build,
    edit_manifest,
    list_anew,
    of_calls,
    pack,
    sample,
    sign_anew,
    unpack,
)
from vault.bundle.content import PackageContent
from vault.bundle.order_page import cover, pages
from vault.bundle.seal import open_sealed, seal
from vault.bundle.verdict import Code, Verdict
from vault.bundle.verify import verify
from vault.catalogue.words import Language
from vault.errors import InvalidArgumentError

Files = dict[str, bytes]
VECTORS = Path(__file__).parents[1] / "vectors"
TRUST = SIGNER.public_key().public_bytes_raw()
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
TAR = build(sample(), SIGNER)
FILES = unpack(TAR)
SEALED = seal(TAR, RECIPIENT)
JSONL, CSV = "data/02_records/call-detail.jsonl", "data/02_records/call-detail.csv"
SCHEMA, COVER_HE, COVER_EN = "data/03_schema/call-detail.json", "data/00_cover/cover_he.pdf", "data/00_cover/cover_en.pdf"
ORDER, WITHHELD = "data/01_order/order_ref.json", "data/04_withheld/withheld.csv"


def judge(files: Files) -> Verdict:
    return verify(seal(pack(files), RECIPIENT), identity=IDENTITY, trust=TRUST)


def judge_signed(files: Files) -> Verdict:
    """As the operator itself would have signed it: whatever is found is a fault inside."""
    return judge(sign_anew(bag_anew(files)))


def cover_of(content: PackageContent, language: str) -> bytes:
    """A cover page that says something else."""
    return pages(cover(content, Language(language)), f"cover_{language}.txt")


def findings(verdict: Verdict) -> list[tuple[str, str]]:
    return [(finding.code.value, finding.where) for finding in verdict.findings]


def test_an_untouched_package_is_ok_and_says_what_it_is() -> None:
    verdict = verify(SEALED, identity=IDENTITY, trust=TRUST)

    assert findings(verdict) == []
    assert verdict.ok
    assert verdict.exit_code == 0
    assert verdict.export_id == EXPORT_ID
    assert verdict.manifest is not None
    assert verdict.manifest.counts == {"call-detail": 3, "number-mapping": 0}
    assert verdict.manifest.withheld == {("call-detail", "KEY_DESTROYED"): 2, ("message-body", "CLASS_NOT_COVERED"): 1}
    assert (verdict.manifest.audit_log, verdict.manifest.audit_size, verdict.manifest.audit_root) == ("tenants/acme", 1234, "ab" * 32)
    assert verdict.order["case_no"] == 'צ"א 12345-06-26'


def test_the_test_packs_as_the_format_does() -> None:
    """Else every tampering below would be found for its packing alone."""
    assert pack(FILES) == TAR
    assert sign_anew(bag_anew(FILES)) == FILES


@pytest.mark.parametrize("version", [1, 2])
def test_a_stored_package_of_every_format_still_verifies(version: int) -> None:
    """I8: a package must be checkable years later."""
    sealed, trust = ((VECTORS / f"bundle_{version}" / name).read_bytes() for name in ("package.tar.age", "operator.pem"))

    verdict = verify(sealed, identity=IDENTITY, trust=trust)

    assert verdict.ok
    assert verdict.manifest is not None
    assert verdict.manifest.format == f"pii-vault-export/{version}"


def test_the_stored_package_is_still_what_we_build_but_for_its_pages() -> None:
    """N15. Pages are another version's bytes when the typesetter is."""
    stored = unpack(open_sealed((VECTORS / "bundle_2" / "package.tar.age").read_bytes(), IDENTITY))
    moved = {path for path in FILES if path.endswith(".pdf") or path.startswith(("manifest-", "tagmanifest-", "meta/", "bag-info"))}

    assert {path: data for path, data in stored.items() if path not in moved} == {path: FILES[path] for path in FILES.keys() - moved}
    assert stored.keys() == FILES.keys()


def test_a_nil_package_verifies() -> None:
    """N18: zero hits still gives a signed package, with or without the empty tables."""
    for tables in ((), (of_calls(()),)):
        sealed = seal(build(sample(tables=tables, withheld=()), SIGNER, rows=()), RECIPIENT)

        assert verify(sealed, identity=IDENTITY, trust=TRUST).ok


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["record", "caller", "note"]), st.text())))
def test_whatever_the_records_hold_the_package_verifies(rows: list[dict[str, str]]) -> None:
    sealed = seal(build(sample(tables=(of_calls(rows),), withheld=()), SIGNER, rows=rows), RECIPIENT)

    assert findings(verify(sealed, identity=IDENTITY, trust=TRUST)) == []


@pytest.mark.parametrize("path", sorted(FILES.keys() - {MANIFEST, SIGNATURE}))
def test_a_changed_file_is_a_checksum_mismatch(path: str) -> None:
    """N6."""
    changed = FILES[path][:-1] + bytes([FILES[path][-1] ^ 1]) if FILES[path] else b"x"

    assert findings(judge({**FILES, path: changed})) == [("CHECKSUM_MISMATCH", path)]


@pytest.mark.parametrize("path", sorted(FILES))
def test_a_removed_file_is_missing(path: str) -> None:
    """N6."""
    verdict = judge({name: data for name, data in FILES.items() if name != path})

    assert findings(verdict) == [("PAYLOAD_MISSING", path)]


@pytest.mark.parametrize("path", ["data/02_records/extra.csv", "fetch.txt", "meta/export-manifest.p7s", "meta/export-manifest.tsr"])
def test_an_added_file_is_extra(path: str) -> None:
    """N6; a signature that this verifier cannot check is no signature."""
    assert findings(judge({**FILES, path: b"x"})) == [("PAYLOAD_EXTRA", path)]


def test_two_files_swapped_are_both_found() -> None:
    """N6."""
    swapped = {**FILES, CSV: FILES[JSONL], JSONL: FILES[CSV]}

    assert findings(judge(swapped)) == [("CHECKSUM_MISMATCH", CSV), ("CHECKSUM_MISMATCH", JSONL)]


def test_a_file_changed_together_with_the_checksum_files_is_found() -> None:
    """N6: whoever regenerates the bag's own checksums still meets the signed manifest."""
    anew = {**bag_anew({**FILES, JSONL: b""}), MANIFEST: FILES[MANIFEST]}

    verdict = judge(anew)

    assert verdict.codes == {Code.CHECKSUM_MISMATCH}
    assert ("CHECKSUM_MISMATCH", JSONL) in findings(verdict)


def test_a_file_changed_together_with_every_manifest_is_found_by_the_signature() -> None:
    """N6; and nothing of the unsigned manifest is repeated."""
    verdict = judge(bag_anew({**FILES, JSONL: b""}))

    assert findings(verdict) == [("SIGNATURE_INVALID", SIGNATURE)]
    assert verdict.manifest is None
    assert verdict.export_id is None
    assert verdict.order == {}
    assert verdict.exit_code == 1


def test_a_manifest_signed_by_a_stranger_under_our_key_id_is_found() -> None:
    assert findings(judge(sign_anew(bag_anew(FILES), STRANGER))) == [("SIGNATURE_INVALID", SIGNATURE)]


def test_a_package_of_another_signer_is_not_trusted() -> None:
    sealed = seal(build(sample(), STRANGER), RECIPIENT)

    assert findings(verify(sealed, identity=IDENTITY, trust=TRUST)) == [("UNTRUSTED_KEY", SIGNATURE)]


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"not base64\n",
        base64.b64encode(bytes(64)) + b"\n",
        FILES[SIGNATURE].rstrip(b"\n"),
        FILES[SIGNATURE] + b"\n",
        FILES[SIGNATURE].replace(b"\n", b"\r\n"),
        base64.b64encode(base64.b64decode(FILES[SIGNATURE])[:32]) + b"\n",
        "ø".encode(),
    ],
)
def test_a_signature_that_is_not_exactly_one_is_invalid(signature: bytes) -> None:
    assert findings(judge({**FILES, SIGNATURE: signature})) == [("SIGNATURE_INVALID", SIGNATURE)]


def test_the_bare_manifest_signed_without_its_context_is_invalid() -> None:
    """A signature that the same key gave for something else cannot be moved here."""
    bare = base64.b64encode(SIGNER.sign(FILES[MANIFEST])) + b"\n"

    assert judge({**FILES, SIGNATURE: bare}).codes == {Code.SIGNATURE_INVALID}


def test_a_package_sealed_anew_to_someone_else_shows_it() -> None:
    """N14: the recipient is named inside the signature."""
    other = x25519.Identity.generate()
    forwarded = seal(open_sealed(SEALED, IDENTITY), str(other.to_public()))

    verdict = verify(forwarded, identity=str(other), trust=TRUST)

    assert findings(verdict) == [("WRONG_RECIPIENT", "signed manifest names another recipient key")]


def test_a_package_for_someone_else_does_not_open() -> None:
    verdict = verify(SEALED, identity=str(x25519.Identity.generate()), trust=TRUST)

    assert findings(verdict) == [("WRONG_RECIPIENT", "package is not sealed to this identity")]


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_any_flipped_bit_of_the_sealed_file_is_found(bit: int) -> None:
    flipped = bytearray(SEALED)
    flipped[bit // 8] ^= 1 << bit % 8

    verdict = verify(bytes(flipped), identity=IDENTITY, trust=TRUST)

    # A flip in the recipient's own header line looks like a foreign key.
    allowed = {Code.OUTER_CORRUPT, Code.WRONG_RECIPIENT} if bit // 8 < SEALED.index(b"\n--- ") else {Code.OUTER_CORRUPT}
    assert len(verdict.codes) == 1
    assert verdict.codes <= allowed


@given(st.integers(0, len(SEALED) - 1))
def test_any_truncation_of_the_sealed_file_is_found(length: int) -> None:
    assert verify(SEALED[:length], identity=IDENTITY, trust=TRUST).codes == {Code.OUTER_CORRUPT}


def test_bytes_after_the_sealed_file_are_found() -> None:
    assert verify(SEALED + b"\0", identity=IDENTITY, trust=TRUST).codes == {Code.OUTER_CORRUPT}


@given(st.integers(0, len(TAR) * 8 - 1))
def test_any_flipped_bit_of_the_archive_is_found(bit: int) -> None:
    """Also in headers and padding, which no checksum covers: the recipient could have done it, and shall not be able to."""
    flipped = bytearray(TAR)
    flipped[bit // 8] ^= 1 << bit % 8

    assert not verify(seal(bytes(flipped), RECIPIENT), identity=IDENTITY, trust=TRUST).ok


@pytest.mark.parametrize("tar", [pack(FILES, root=f"EXP-{'a' * 26}"), pack(FILES, mtime=1)], ids=["name", "date"])
def test_another_name_or_date_on_a_signed_package_is_found(tar: bytes) -> None:
    verdict = verify(seal(tar, RECIPIENT), identity=IDENTITY, trust=TRUST)

    assert verdict.codes == {Code.OUTER_CORRUPT}
    assert not verdict.ok


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "pii-vault-export/3"),
        ("format", "pii-vault-export/1"),
        ("selected", []),
        ("certificate", "5F" * 32),
        ("key_id", "0" * 16),
        ("counts", {"call-detail": "3", "number-mapping": 0}),
        ("counts", {"call-detail": True, "number-mapping": 0}),
        ("counts", {"call-detail": -3, "number-mapping": 0}),
        ("counts", {"call-detail": 3}),
        ("counts", []),
        ("withheld", {}),
        ("withheld", [{"category": "a", "count": 1, "reason": "B"}] * 2),
        ("files", {}),
        ("snapshot_time", "yesterday"),
        ("snapshot_time", "2026-13-04T10:30:00Z"),
        ("snapshot_time", "2026-06-04T10:30:00"),
        ("export_id", "../../../etc"),
        ("scope_digest", "5F" * 32),
        ("unknown_member", ""),
    ],
)
def test_a_signed_manifest_of_unknown_form_is_refused(name: str, value: object) -> None:
    """I9."""
    assert findings(judge(sign_anew(edit_manifest(FILES, {name: value})))) == [("MANIFEST_INVALID", MANIFEST)]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b"\xff\n",
        b"1" * 5_000 + b"\n",
        FILES[MANIFEST] + b"\n",
        FILES[MANIFEST].replace(b'"format":', b'"format": '),
        FILES[MANIFEST].replace(b'{"audit_head"', b'{"counts":{},"audit_head"'),
    ],
)
def test_a_signed_manifest_that_two_readers_could_read_differently_is_refused(raw: bytes) -> None:
    assert findings(judge(sign_anew({**FILES, MANIFEST: raw}))) == [("MANIFEST_INVALID", MANIFEST)]


@pytest.mark.parametrize(
    ("edits", "found"),
    [
        ({JSONL: FILES[JSONL].split(b"\n", 1)[1]}, {("COUNT_MISMATCH", JSONL), ("TOTALS", CSV)}),
        ({JSONL: FILES[JSONL] + b'{"record":"r4"}\n'}, {("COUNT_MISMATCH", JSONL), ("TOTALS", CSV)}),
        ({JSONL: FILES[JSONL].rstrip(b"\n")}, {("COUNT_MISMATCH", JSONL)}),
        ({JSONL: b'["r1"]\n{}\n{}\n'}, {("COUNT_MISMATCH", JSONL)}),
        ({JSONL: b'{"record":1}\n{}\n{}\n'}, {("COUNT_MISMATCH", JSONL)}),
        ({JSONL: b'{"record":"a","record":"b"}\n{}\n{}\n'}, {("COUNT_MISMATCH", JSONL)}),
        ({JSONL: FILES[JSONL].replace(b"0500000003", b"0500000004")}, {("TOTALS", CSV)}),
        ({JSONL: FILES[JSONL].replace(b'"caller":"0', b'"salary":"0')}, {("TOTALS", SCHEMA)}),
        ({CSV: FILES[CSV] + b'"r4","",""\r\n'}, {("COUNT_MISMATCH", CSV), ("TOTALS", CSV)}),
        ({CSV: FILES[CSV].replace(b"'+9725", b"+9725").replace(b"0500000003", b"0500000004")}, {("TOTALS", CSV)}),
        ({CSV: FILES[CSV].removeprefix(b"\xef\xbb\xbf")}, {("COUNT_MISMATCH", CSV)}),
        ({CSV: FILES[CSV].replace(b'"r2"', b"r2")}, {("COUNT_MISMATCH", CSV)}),
        ({CSV: FILES[CSV] + b"\xff"}, {("COUNT_MISMATCH", CSV)}),
        ({SCHEMA: b"not json"}, {("TOTALS", SCHEMA)}),
        ({SCHEMA: b"[" * 100_000}, {("TOTALS", SCHEMA)}),
        ({SCHEMA: b'{"columns":[1]}'}, {("TOTALS", SCHEMA)}),
        ({COVER_HE: cover_of(sample(tables=(of_calls(CALL_ROWS[:2]), NUMBERS), withheld=()), "he")}, {("COUNT_MISMATCH", COVER_HE)}),
        ({COVER_EN: cover_of(sample(tables=(CALLS,)), "en")}, {("COUNT_MISMATCH", COVER_EN)}),
        ({COVER_HE: b"\xff"}, {("COUNT_MISMATCH", COVER_HE)}),
        ({WITHHELD: FILES[WITHHELD].replace(b'"2"', b'"1"')}, {("TOTALS", WITHHELD)}),
        ({WITHHELD: b""}, {("TOTALS", WITHHELD)}),
        ({ORDER: FILES[ORDER].replace(b"nbswy3dp", b"aaaaaaaa")}, {("TOTALS", ORDER)}),
        ({ORDER: b"[]"}, {("TOTALS", ORDER)}),
        ({"bagit.txt": b"BagIt-Version: 0.97\n"}, {("TOTALS", "bagit.txt")}),
        ({"bag-info.txt": FILES["bag-info.txt"].replace(b"Scope-Digest: 5f", b"Scope-Digest: 00")}, {("TOTALS", "bag-info.txt")}),
    ],
)
def test_files_that_disagree_are_found_though_rightly_signed(edits: Files, found: set[tuple[str, str]]) -> None:
    """The verifier believes no count that it did not make itself."""
    assert set(findings(judge_signed({**FILES, **edits}))) == found


@pytest.mark.parametrize("path", ["manifest-sha256.txt", "manifest-sha512.txt", "tagmanifest-sha512.txt"])
def test_a_checksum_file_that_leaves_a_line_out_is_found_though_rightly_signed(path: str) -> None:
    anew = bag_anew(FILES)
    anew[path] = anew[path].split(b"\n", 1)[1]

    verdict = judge(sign_anew(list_anew(anew)))

    assert ("CHECKSUM_MISMATCH", path) in findings(verdict)
    assert verdict.codes == {Code.CHECKSUM_MISMATCH}


def test_an_oxum_that_does_not_fit_is_found_though_rightly_signed() -> None:
    anew = bag_anew(FILES)
    anew["bag-info.txt"] = anew["bag-info.txt"].replace(b"Payload-Oxum: ", b"Payload-Oxum: 1")

    verdict = judge(sign_anew(list_anew(anew)))

    assert ("TOTALS", "bag-info.txt") in findings(verdict)


def test_an_identity_file_is_taken_as_age_keygen_writes_it() -> None:
    text = f"# created: 2026-06-01T00:00:00Z\n# public key: {RECIPIENT}\n{IDENTITY}\n"

    assert verify(SEALED, identity=text, trust=TRUST).ok


@pytest.mark.parametrize("identity", ["", RECIPIENT, f"{IDENTITY}\n{IDENTITY}", IDENTITY[:-1]])
def test_what_is_no_single_identity_is_refused_without_being_repeated(identity: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        verify(SEALED, identity=identity, trust=TRUST)

    assert refused.value.reason == "IDENTITY_INVALID"
    assert IDENTITY[:20] not in str(refused.value)


def test_the_trusted_key_may_be_pem() -> None:
    pem = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    assert verify(SEALED, identity=IDENTITY, trust=pem).ok


@pytest.mark.parametrize(
    "trust",
    [b"", b"junk", bytes(31), generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)],
)
def test_a_trusted_key_that_is_no_ed25519_key_is_refused(trust: bytes) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        verify(SEALED, identity=IDENTITY, trust=trust)

    assert refused.value.reason == "TRUST_KEY_INVALID"


def test_the_verdict_shows_no_name_of_the_order_in_its_repr() -> None:
    """I2."""
    assert "לדוגמה" not in repr(verify(SEALED, identity=IDENTITY, trust=TRUST))


def test_the_verifier_shares_no_code_with_the_writer() -> None:
    """I8."""
    reached, todo = set[str](), {"vault.bundle.verify"}
    while todo:
        module = todo.pop()
        reached.add(module)
        tree = ast.parse(Path(__file__).parents[2].joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        todo |= {name for name in imported if name.startswith("vault")} - reached

    modules = ("verify", "archive", "attachment", "countersigned", "logged", "recount", "verdict")
    assert reached == {*(f"vault.bundle.{name}" for name in modules), "vault.errors"}
