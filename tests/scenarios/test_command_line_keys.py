"""Keys on the command line, on a real vault process: rotation, verification, recovery, hand-over of the signing key, and no key left lying about."""

import base64
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import WHY, Commands, commands
from tests.processes import run, serving, wait_until
from vault.v1.operations_service_pb2 import KEY_ROTATION_STATE_COMPLETE, GetKeyRotationRequest

PHONES = [f"050-555{n:04d}" for n in range(12)]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cli(database_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with commands(database_kind, request, tmp_path_factory.mktemp("vault")) as started:
        yield started


def rotated(cli: Commands, kind: str, *options: str) -> dict[str, Any]:
    """A rotation, when it is over. Waited for on one connection: each run of the command takes as long as many rotations."""
    request = GetKeyRotationRequest(name=cli.answer("operator", "keys", "rotate", kind, *options)["rotation"]["name"])
    with cli.vault.client("operator") as operator:
        wait_until(
            lambda: operator.call(operator.operations.GetKeyRotation, request).rotation.state == KEY_ROTATION_STATE_COMPLETE, "rotated"
        )
    rotation: dict[str, Any] = cli.answer("operator", "keys", "rotation", request.name)["rotation"]
    return rotation


def revealed(cli: Commands, record: str) -> Any:
    return cli.answer("acme-app", "reveal", record, "--full", "--field", "phone", *WHY)


def material(home: Path) -> list[bytes]:
    """The root keys of a home, as bytes and as they are spelled in files and logs."""
    keys = [base64.b64decode(key) for key in json.loads((home / "root.key").read_text())["keys"].values()]
    return [spelling for key in keys for spelling in (key, key.hex().encode(), base64.b64encode(key))]


def test_every_key_is_rotated_by_command_and_what_was_stored_before_is_read_after(cli: Commands) -> None:
    records = [cli.put_contact(phone) for phone in PHONES[:4]]
    before = [revealed(cli, record) for record in records]
    subject = records[0].rsplit("/records/", 1)[0]

    version = run("keys", "add-root-key-version", cli.home / "root.key", "--json").answer()["version"]
    done = [
        rotated(cli, "root"),
        *(rotated(cli, kind, "--tenant", "acme") for kind in ("data", "index", "text", "legal", "digest")),
        rotated(cli, "subject", "--tenant", "acme", "--subject", subject),
    ]

    after = [revealed(cli, record) for record in records]
    listed = cli.answer("auditor", "keys", "rotations", "acme")["rotations"]
    assert version == 2
    assert [str(rotation["state"]) for rotation in done] == ["KEY_ROTATION_STATE_COMPLETE"] * 7
    assert [answer["record"]["fields"] for answer in after] == [answer["record"]["fields"] for answer in before]
    assert len(listed) == 6


def test_a_kind_of_key_that_does_not_exist_is_a_usage_error_and_a_wrong_role_is_refused(cli: Commands) -> None:
    assert cli.run("operator", "keys", "rotate", "everything").code == 2
    assert cli.error("acme-app", "keys", "rotate", "data", "--tenant", "acme")["reason"] == "ROLE_NOT_ALLOWED"
    assert cli.error("operator", "keys", "rotate", "data")["reason"] == "FIELD_INVALID"
    assert cli.error("operator", "keys", "rotate", "data", "--tenant", "nobody")["reason"] == "TENANT_NOT_FOUND"
    assert cli.error("operator", "keys", "move", "acme", "elsewhere")["reason"] == "ROOT_KEY_UNKNOWN"


def test_keys_verify_says_that_all_is_well_and_prints_no_key_and_no_value(cli: Commands) -> None:
    cli.put_contact(PHONES[5])

    finished = run("keys", "verify", "--config", cli.home / "vault.yaml", "--json")

    found = finished.answer()
    assert found["sound"] is True
    assert {tenant["tenant"] for tenant in found["tenants"]} >= {"acme", "globex", "system"}
    assert sum(int(tenant["parts_opened"]) for tenant in found["tenants"]) > 0
    said = (finished.out + finished.err).encode()
    assert [spelling for spelling in material(cli.home) if spelling in said] == []
    assert "555" not in finished.out


def test_a_recovery_copy_restores_the_root_key_from_enough_shares_and_from_no_fewer(cli: Commands, tmp_path: Path) -> None:
    key = cli.home / "root.key"
    recovery, shares = tmp_path / "recovery.json", tmp_path / "shares"

    run("keys", "split", key, "--recovery", recovery, "--shares-folder", shares, "--threshold", "2", "--shares", "3", "--json").answer()
    files = sorted(shares.iterdir())
    few = run("keys", "recover", recovery, "--share", files[0], "--output", tmp_path / "few.key", "--json").error()
    run("keys", "recover", recovery, "--share", files[2], "--share", files[0], "--output", tmp_path / "root.key", "--json").answer()
    again = run("keys", "recover", recovery, "--share", files[2], "--share", files[0], "--output", tmp_path / "root.key", "--json").error()
    twice = run("keys", "split", key, "--recovery", recovery, "--shares-folder", tmp_path / "other", "--json").error()

    assert few["reason"] == "RECOVERY_SHARES_INVALID"
    assert not (tmp_path / "few.key").exists()
    assert json.loads((tmp_path / "root.key").read_text())["keys"] == json.loads(key.read_text())["keys"]
    assert {again["reason"], twice["reason"]} == {"FILE_EXISTS"}
    assert not (tmp_path / "other").exists()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (*files, tmp_path / "root.key", recovery)} == {0o600}


def test_a_provider_is_checked_by_command(cli: Commands) -> None:
    found = run("keys", "check-provider", f"local:{cli.home}/root.key", "--json").answer()
    unknown = run("keys", "check-provider", "cloud:anything", "--json").error()

    assert found["sound"] is True
    assert len(found["rules"]) > 5
    assert unknown["reason"] == "KEYS_URI_UNKNOWN"


def stop(cli: Commands) -> None:
    """Stop the vault of this module, for this and every later test."""
    if cli.vault.process.poll() is None:
        cli.vault.process.terminate()
    assert cli.vault.ended() == 0


def wait_for_notes(cli: Commands) -> None:
    """Hand-overs are published with the checkpoints, at the next interval; a restart does so at once."""
    stop(cli)
    with serving(cli.home) as vault:
        wait_until(lambda: any((cli.home / "checkpoints" / "signing-keys").glob("*.note")), "published")
        vault.process.terminate()
        assert vault.ended() == 0


def test_the_signing_key_hands_over_and_who_trusts_the_old_one_verifies_what_the_new_one_signs(cli: Commands, tmp_path: Path) -> None:
    unchanged = cli.error("operator", "keys", "rotate", "signing")
    run("keys", "new-signing-key", "--config", cli.home / "vault.yaml", "--json").answer()
    cli.answer("operator", "keys", "rotate", "signing")
    notes = cli.home / "checkpoints" / "signing-keys"
    dump, verifier = tmp_path / "acme.dump", cli.home / "verifier.txt"
    cli.answer("auditor", "audit", "dump", "acme", "-o", dump)
    cli.answer("auditor", "audit", "checkpoint", "acme")
    wait_for_notes(cli)

    alone = run("audit", "verify", dump, "--log", "acme", "--key", verifier)
    with_note = run("audit", "verify", dump, "--log", "acme", "--key", verifier, "--hand-overs", notes)
    new = run("audit", "successor", verifier, notes, "--json").answer()
    (tmp_path / "new.txt").write_text(new["verifier_key"] + "\n")
    by_new = run("audit", "verify", dump, "--log", "acme", "--key", tmp_path / "new.txt")

    assert unchanged["reason"] == "SIGNING_KEY_UNCHANGED"
    assert new["hand_overs"] == 1
    assert (alone.code, with_note.code, by_new.code) == (1, 0, 0)


def test_a_signing_key_that_nobody_introduced_stops_the_start(cli: Commands) -> None:
    """Somebody exchanges the key, and the vault says so instead of signing with it."""
    stop(cli)
    old = cli.home / "signing.key.old"
    mine = (cli.home / "signing.key").read_bytes()
    old.unlink(missing_ok=True)
    run("keys", "new-signing-key", "--config", cli.home / "vault.yaml", "--json").answer()
    old.unlink()

    refused = run("serve", "--config", cli.home / "vault.yaml", "--json").error()

    (cli.home / "signing.key").write_bytes(mine)
    assert refused["reason"] == "SIGNING_KEY_UNKNOWN"
    assert refused["hint"]


def test_a_key_that_its_predecessor_left_beside_it_is_introduced_at_the_start(cli: Commands) -> None:
    """The command replaced the key, and the vault crashed before `rotate signing`."""
    stop(cli)
    notes = cli.home / "checkpoints" / "signing-keys"
    before = len(list(notes.glob("*.note")))
    (cli.home / "signing.key.old").unlink(missing_ok=True)
    run("keys", "new-signing-key", "--config", cli.home / "vault.yaml", "--json").answer()

    with serving(cli.home) as vault:
        wait_until(lambda: len(list(notes.glob("*.note"))) == before + 1, "published")
        leaves_nothing(vault.process.pid, cli.home)
        recorded = cli.answer("auditor", "audit", "list", "system", "--limit", "1000")["entries"]
        vault.process.terminate()
        assert vault.ended() == 0
        log = vault.log_text()

    assert [entry["actor"] for entry in recorded if entry["rule"] == "key:signing"][-1] == "upkeep"
    assert [spelling for spelling in material(cli.home) if spelling in log.encode()] == []


def leaves_nothing(pid: int, home: Path) -> None:
    """No core dump, nobody of the same account may attach, and no key in what every process shows of itself."""
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    [core] = [line.split() for line in limits if line.startswith("Max core file size")]
    shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    secrets = [*material(home), (home / "signing.key").read_bytes()]
    configuration = yaml.safe_load((home / "vault.yaml").read_text())

    assert core[4:6] == ["0", "0"]
    # What is not dumpable belongs to root in /proc, whoever runs it.
    assert Path(f"/proc/{pid}/mem").stat().st_uid == 0
    assert [secret for secret in secrets if secret in shown] == []
    assert "root_keys" in configuration
