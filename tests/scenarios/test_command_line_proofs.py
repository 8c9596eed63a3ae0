"""The command as people run it: imports that are killed, and what can be verified without a vault - erasures, orders, the audit log."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

from deploy.demo.demo import SAMPLES
from tests import poppler
from tests.commands import WHY, Commands, commands
from tests.processes import COMMAND, run, wait_until
from vault.bundle.erasure_page import render_certificate
from vault.catalogue import loader
from vault.catalogue.words import Language
from vault.client import VaultClient
from vault.v1.resources_pb2 import Justification
from vault.v1.vault_service_pb2 import FindSubjectsRequest

REASON = ("--reason", "answering what the customer asked for")
ROWS = 4000  # enough that the kill comes midway on a fast machine too


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cli(database_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with commands(database_kind, request, tmp_path_factory.mktemp("vault")) as started:
        yield started


def is_stored(client: VaultClient, phone: str) -> bool:
    why = Justification(purpose="service-delivery", reason="watching how far the import came")
    request = FindSubjectsRequest(parent="tenants/acme", category="end-customer-contact", kind="phone", value=phone, justification=why)
    return bool(client.call(client.records.FindSubjects, request).matches)


def test_import_that_is_killed_goes_on_and_prints_nothing_of_the_file(cli: Commands, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    good = [f"050-2{n:06d},Zebulon{n},zeb{n}@example.com" for n in range(ROWS)]
    file.write_text("\n".join(["phone,first name,email", *good, good[0], "none,Zebulon,none"]) + "\n")
    arguments = ("import", file, "-t", "acme", "--category", "end-customer-contact", "--list", "spring", "--map", "first name=-")

    first = subprocess.Popen([COMMAND, "--client", cli.folder("acme-app"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with cli.vault.client("acme-app") as client:
        wait_until(lambda: first.poll() is not None or is_stored(client, "050-2000300"), "midway")
    first.send_signal(signal.SIGKILL)
    out, err = first.communicate()
    second = cli.run("acme-app", *arguments, "--json")
    third = cli.run("acme-app", *arguments)
    found = cli.answer("acme-app", "find", "0502000000", "-t", "acme", "--category", "end-customer-contact", "--kind", "phone", *WHY)

    assert first.returncode == -signal.SIGKILL
    answer = second.answer()
    assert [int(answer[name]) for name in ("rows", "accepted", "duplicates")] == [ROWS + 2, ROWS, 1]
    assert {reason: int(count) for reason, count in answer["rejected"].items()} == {"NO_USABLE_IDENTIFIER": 1}
    assert 0 < int(answer["resumed_after"]) < ROWS + 2
    assert third.code == 0
    assert len(found["matches"]) == 1
    rejects = Path(answer["rejects_file"])
    assert rejects.stat().st_mode & 0o777 == 0o600
    assert f"{ROWS + 3},NO_USABLE_IDENTIFIER," in rejects.read_text(encoding="utf-8-sig")
    told = out.decode() + err.decode() + second.out + second.err + third.out + third.err + rejects.read_text()
    assert [part for part in ("050-2", "97250", "Zebulon", "zeb", "@example.com") if part in told] == []


def test_erasure_is_previewed_asked_for_approved_and_certified(cli: Commands, tmp_path: Path) -> None:
    record, certificate = cli.put_contact("050-2345611"), tmp_path / "certificate.txt"
    subject = record.rsplit("/records/", 1)[0]
    cli.sign_in("ruth", "privacy-officer")
    verify = ("erase", "verify", certificate, "--key", cli.home / "verifier.txt")

    digest = cli.answer("acme-admin", "erase", "preview", subject, *REASON)["preview_digest"]
    erasure = cli.answer("acme-admin", "erase", "request", subject, "--preview-digest", digest, *REASON)["erasure"]["name"]
    early = cli.error("acme-admin", "erase", "certificate", erasure, "-o", certificate)
    cli.answer("ruth", "erase", "approve", erasure, *REASON)
    gone = cli.error("acme-app", "reveal", record, *WHY)
    unwritable = cli.error("acme-admin", "erase", "certificate", erasure, "-o", tmp_path / "none" / "file")
    cli.answer("acme-admin", "erase", "certificate", erasure, "-o", certificate)
    holds = run(*verify, "--json")
    certificate.write_text(certificate.read_text().replace('"erased": 1', '"erased": 0', 1))
    altered = run(*verify, "--json")

    assert early["reason"] == "ERASURE_NOT_COMPLETE"
    assert gone["reason"] == "RECORD_NOT_FOUND"
    assert unwritable["reason"] == "FILE_UNUSABLE"
    assert holds.answer()
    assert altered.error()["hint"]


def without_typesetter(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command where `pii-vault[pdf]` is not installed."""
    script = "import sys; sys.modules['typst'] = None; from vault.cli import main; main()"
    return subprocess.run([sys.executable, "-c", script, *arguments], check=False, capture_output=True, text=True)


def test_erasure_certificate_is_had_as_pages_that_carry_their_proof(cli: Commands, tmp_path: Path) -> None:
    record, note = cli.put_contact("050-2345622"), tmp_path / "certificate.note"
    subject = record.rsplit("/records/", 1)[0]
    cli.sign_in("ruth", "privacy-officer")
    key = ("--key", cli.home / "verifier.txt")
    hebrew, english, forged, added = (tmp_path / f"{name}.pdf" for name in ("he", "en", "forged", "added"))
    digest = cli.answer("acme-admin", "erase", "preview", subject, *REASON)["preview_digest"]
    erasure = cli.answer("acme-admin", "erase", "request", subject, "--preview-digest", digest, *REASON)["erasure"]["name"]
    cli.answer("ruth", "erase", "approve", erasure, *REASON)

    nowhere = cli.run("acme-admin", "erase", "certificate", erasure)
    both = cli.answer("acme-admin", "erase", "certificate", erasure, "-o", note, "--pdf", hebrew)
    one = cli.answer("acme-admin", "erase", "certificate", erasure, "--pdf", english, "--language", "en")
    forged.write_bytes(render_certificate(note.read_text().replace('"erased": 1', '"erased": 0', 1), Language.HE, loader.load()))
    added.write_bytes(hebrew.read_bytes() + b"\n% a page more\n")
    signed, *paged = (run("erase", "verify", file, *key, "--json").answer() for file in (note, hebrew, english, added))
    untrue = run("erase", "verify", forged, *key, "--json").error()
    for_people = run("erase", "verify", added, *key)
    bare = without_typesetter("erase", "verify", hebrew, *key, "--json")
    unset = without_typesetter("--client", cli.folder("acme-admin"), "erase", "certificate", erasure, "--pdf", forged, "--json")

    assert nowhere.code == 2
    assert (both["written"], one["written"]) == ([str(note), str(hebrew)], [str(english)])
    assert paged == [{**signed, "pages": pages} for pages in ("SAME", "SAME", "DIFFERENT")]
    assert untrue["reason"] == "NOTE_INVALID"
    assert "the certificate holds" in for_people.out
    assert "NOT what this version makes of it" in for_people.out
    assert json.loads(bare.stdout) == {**signed, "pages": "NOT_COMPARED"}
    assert (unset.returncode, json.loads(unset.stderr)["error"]["reason"]) == (1, "EXTRA_MISSING")
    for file in (hebrew, english):
        assert erasure in poppler.text(file.read_bytes())
        assert "2345622" not in poppler.text(file.read_bytes())


def test_order_is_registered_approved_exported_fetched_and_verified(cli: Commands, tmp_path: Path) -> None:  # noqa: PLR0915 - the whole way
    for employee, role in (
        *(("dana", "legal-officer"), ("eli", "legal-officer"), ("noa", "legal-approver")),
        *(("uri", "order-courier"), ("gil", "order-courier")),
    ):
        cli.sign_in(employee, role)
    cli.answer("billing", "import", SAMPLES / "calls.csv", "-t", "acme", "--category", "call-detail", "--rejects", tmp_path / "rejects.csv")
    identity, other = pyrage.x25519.Identity.generate(), tmp_path / "other.pdf"
    other.write_bytes(b"another scan")
    key, package = tmp_path / "recipient.key", tmp_path / "order.tar.age"
    key.write_text(f"{identity}\n")
    part = package.with_name(package.name + ".part")
    who = ("--recipient", str(identity.to_public()), "--recipient-body", "police unit", "--verified", "call-back to our directory")
    register = ("order", "register", SAMPLES / "order.json", "-t", "acme", *who, "--document")
    verify = ("order", "verify", package, "--identity", key, "--trust", cli.home / "signing.pub", "--json")

    mismatch = cli.error("dana", *register, other)
    registered = cli.answer("dana", *register, SAMPLES / "order.pdf")["order"]
    cli.answer("eli", "order", "authenticate", registered["name"], "--method", "call-back", "--finding", "the registry read it back to us")
    order = cli.answer("dana", "order", "scope", registered["name"])["order"]
    approve = ("order", "approve", order["name"], "--scope-digest", order["scope_digest"])
    own = cli.error("dana", *approve)
    for employee in ("eli", "noa"):
        cli.answer(employee, "order", "preview", order["name"])
        cli.answer(employee, *approve)
    export = cli.answer("dana", "order", "export", order["name"])["export"]
    got = cli.answer("dana", "order", "get-export", export["name"])["export"]
    download = ("order", "download", export["name"], "-o", package)
    cli.answer("noa", "order", "approve", export["name"])
    by_officer = cli.error("dana", *download)
    cli.answer("uri", *download)
    whole = package.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    package.unlink()
    cli.answer("uri", *download)
    resumed = package.read_bytes()
    by_another = cli.error("gil", *download)
    again = cli.error("uri", *download)
    part.write_bytes(b"x" * len(whole))
    damaged = cli.error("uri", *download)
    deliver = ("order", "deliver", export["name"], "--recipient-name", "פקד אורי לדוגמה", "--recipient-id", "badge 433-17")
    not_ours = cli.error("uri", *deliver, "--sha256", "00" * 32)
    confirmed = cli.answer("uri", *deliver, "--package", package)["export"]
    dump = tmp_path / "acme.log"
    cli.sign_in("aya", "auditor")
    cli.answer("aya", "audit", "dump", "acme", "-o", dump)
    holds = run(*verify, "--log", dump)
    said = run(*verify[:-1], "--log", dump, "--language", "he").out
    package.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    altered = run(*verify)

    assert mismatch["reason"] == "DOCUMENT_MISMATCH"
    assert own["reason"] == "SEPARATION_OF_DUTIES"
    assert got["record_counts"] == {"call-detail": "10"}
    assert int(got["size_bytes"]) == len(whole)
    assert resumed == whole
    assert [refused["reason"] for refused in (by_officer, by_another, again)] == ["ROLE_NOT_ALLOWED", "NOT_THE_COURIER", "EXPORT_TAKEN"]
    assert damaged["reason"] == "DOWNLOAD_DAMAGED"
    assert not_ours["reason"] == "EXPORT_DIGEST_MISMATCH"
    assert confirmed["state"] == "EXPORT_STATE_RECEIPT_CONFIRMED"
    assert "החבילה תקינה" in said
    assert not part.exists()
    assert holds.answer()["holds"] is True
    assert altered.code == 1
    assert json.loads(altered.out)["findings"]


def test_audit_log_is_listed_dumped_and_verified(cli: Commands, tmp_path: Path) -> None:
    cli.put_contact("050-2345612")
    cli.put_contact("050-2345613")
    dump, published = tmp_path / "acme.log", tmp_path / "published"
    published.mkdir()
    verify = ("audit", "verify", dump, "--log", "acme", "--key", cli.home / "verifier.txt", "--json")

    listed = cli.answer("auditor", "audit", "list", "acme", "--limit", "2")
    cli.answer("auditor", "audit", "dump", "acme", "-o", dump)
    good = run(*verify)
    whole = dump.read_text().splitlines(keepends=True)
    dump.write_text("".join([*whole[:-2], whole[-1]]))
    gap = run(*verify)
    dump.write_text("".join(whole[:-1]))
    cut = run(*verify)
    dump.write_text("".join(whole))
    cli.put_contact("050-2345614")
    (published / "newer.checkpoint").write_text(cli.answer("auditor", "audit", "checkpoint", "acme")["checkpoint"])
    older = run(*verify, "--checkpoints", published)

    assert len(listed["entries"]) == 2
    assert "2345612" not in json.dumps(listed)
    assert [(one.code, json.loads(one.out)["intact"], json.loads(one.out)["complete"]) for one in (good, gap, cut, older)] == [
        (0, True, True),
        (1, False, False),
        (2, True, False),
        (2, True, False),
    ]
