"""The command as people run it, in processes of its own: setting up, tenants, records, and how answers and refusals look."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.commands import WHY, Commands, commands
from tests.processes import COMMAND, run

CONTACT = ("-t", "acme", "--category", "end-customer-contact")
PRIVATE = {"root.key", "signing.key", "issuer.key", "ca.key", "server.key", "private-key.pem", "token.jwt"}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cli(database_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with commands(database_kind, request, tmp_path_factory.mktemp("vault")) as started:
        yield started


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_init_keeps_the_home_and_every_secret_to_its_owner(cli: Commands) -> None:
    run("dev", "sign-in", cli.home, "gil", "--role", "auditor")

    secrets = [path for path in cli.home.rglob("*") if path.name in PRIVATE]

    assert mode(cli.home) == 0o700
    assert {path.name for path in secrets} == PRIVATE
    assert {path: oct(mode(path)) for path in secrets if mode(path) != 0o600} == {}
    holding = [path for path in cli.home.rglob("*.[kp]e*") if b"PRIVATE KEY" in path.read_bytes()]
    assert {path.name for path in holding} <= PRIVATE


def test_the_script_as_it_is_installed_answers_as_the_forked_command_does(cli: Commands) -> None:
    """The other tests fork the command; here it is started, with its own imports."""
    for tenant in ("acme", "nobody"):
        arguments = ["--client", str(cli.folder("operator")), "tenant", "get", tenant, "--json"]
        started = subprocess.run([COMMAND, *arguments], check=False, capture_output=True, text=True, encoding="utf-8")
        forked = run(*arguments)

        assert (started.returncode, started.stdout) == (forked.code, forked.out)
        assert bool(started.stderr) == bool(forked.err)
    assert forked.error()["reason"] == "TENANT_NOT_FOUND"


def test_init_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    refused = run("init", tmp_path, "--json").error()

    assert refused["reason"] == "HOME_EXISTS"
    assert refused["hint"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_init_refuses_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("mine")

    refused = run("init", tmp_path / "home", "--json").error()

    assert refused["reason"] == "FILE_UNUSABLE"


def test_config_check_shows_what_is_in_force_without_the_password(home_template: Path, tmp_path: Path) -> None:
    home = shutil.copytree(home_template, tmp_path / "home")
    url = "postgresql+asyncpg://vault:hunter-2@db.example/vault"

    checked = run("config", "check", home / "vault.yaml", "--json", environment={"VAULT_DATABASE_URL": url})

    assert checked.answer()["database_url"] == "postgresql+asyncpg://vault:***@db.example/vault"
    assert "hunter-2" not in checked.out + checked.err


def test_config_check_names_the_key_that_is_wrong(home_template: Path, tmp_path: Path) -> None:
    home = shutil.copytree(home_template, tmp_path / "home")
    with (home / "vault.yaml").open("a") as file:
        file.write("\nno_such_key: 1\n")

    checked = run("config", "check", home / "vault.yaml")

    assert checked.code == 1
    assert checked.out == ""
    assert checked.err.startswith("CONFIG_INVALID: ")
    assert "no_such_key" in checked.err
    assert "  what to do: " in checked.err


def test_migrate_can_be_run_again(cli: Commands, database_kind: str, tmp_path: Path) -> None:
    config = cli.home / "vault.yaml"
    if database_kind == "sqlite":  # a file has one process; the one that serves has it
        run("init", tmp_path / "home")
        config = tmp_path / "home" / "vault.yaml"

    migrated = run("migrate", "--config", config, "--json")

    assert migrated.answer() == {"migrated": True}


def test_tenant_is_created_shown_listed_and_changed(cli: Commands) -> None:
    created = cli.answer("operator", "tenant", "create", "initech", "--display-name", "Initech")
    changed = cli.answer("operator", "tenant", "update", "initech", "--display-name", "Initech Ltd", "--reference-pattern", r"IT-\d{4}")
    got = cli.answer("operator", "tenant", "get", "initech")
    listed = cli.answer("operator", "tenant", "list")

    assert created["tenant"]["name"] == "tenants/initech"
    assert changed["tenant"]["display_name"] == "Initech Ltd"
    assert got["tenant"]["reference_pattern"] == r"IT-\d{4}"
    assert "tenants/initech" in [tenant["name"] for tenant in listed["tenants"]]
    assert cli.error("operator", "tenant", "create", "initech")["reason"] == "TENANT_EXISTS"


def test_staff_reach_a_list_only_while_the_customers_request_is_open(cli: Commands, tmp_path: Path) -> None:
    record = cli.put_contact("050-2345601")
    agreement = tmp_path / "agreement.pdf"
    agreement.write_bytes(b"signed")
    for employee, role in (("rina", "support"), ("officer", "privacy-officer")):
        cli.answer("operator", "dev", "sign-in", cli.home, employee, "--role", role)
    opened = cli.answer(
        "acme-admin",
        "tenant",
        "open-request",
        "acme",
        "--operation",
        "reveal",
        "--until",
        (datetime.now(UTC) + timedelta(days=1)).isoformat(),
    )
    name = opened["customer_request"]["name"]
    look = ("reveal", record, "--purpose", "customer-request", "--reason", "looking at what the customer asked", "--reference", name)

    unbound = cli.error("rina", *look)
    cli.answer("officer", "tenant", "register-nda", "rina", agreement, "--signed", "2026-01-01", "--until", "2036-01-01")
    shown = cli.answer("rina", *look)
    cli.answer("acme-admin", "tenant", "close-request", name)
    closed = cli.error("rina", *look)

    assert unbound["reason"] == "NDA_INVALID"
    assert shown["record"]["fields"]["phone"]["text"] == "+97250•••••01"
    assert closed["reason"] in {"CUSTOMER_REQUEST_REQUIRED", "REFERENCE_INVALID"}


def test_subject_is_created_and_counts_its_records(cli: Commands) -> None:
    subject = cli.answer("acme-app", "subject", "create", "-t", "acme")["subject"]["name"]
    cli.answer("acme-app", "put", *CONTACT, "--subject", subject, "email=dana@example.com")

    got = cli.answer("acme-app", "subject", "get", subject)

    assert got["subject"]["name"] == subject
    assert "end-customer-contact" in json.dumps(got)


def test_record_is_stored_found_changed_and_deleted(cli: Commands) -> None:
    stored = cli.answer("acme-app", "put", *CONTACT, "phone=050-2345602")["record"]["name"]
    found = cli.answer("acme-app", "find", "+972 50 234 5602", *CONTACT, "--kind", "phone", *WHY)
    listed = cli.answer("acme-app", "record", "list", stored.rsplit("/records/", 1)[0])
    cli.answer("acme-app", "record", "update", stored, "email=noa@example.com", *WHY)
    whole = cli.answer("acme-app", "reveal", stored, "--full", "-f", "email", "-f", "phone", *WHY)
    cli.answer("acme-app", "record", "update", stored, "--remove", "email", *WHY)
    left = cli.answer("acme-app", "reveal", stored, *WHY)
    got = cli.answer("acme-app", "record", "get", stored)
    cli.answer("acme-app", "record", "delete", stored, *WHY)
    gone = cli.error("acme-app", "record", "get", stored)

    assert [match["record"] for match in found["matches"]] == [stored]
    assert [record["name"] for record in listed["records"]] == [stored]
    assert {name: value["text"] for name, value in whole["record"]["fields"].items()} == {
        "email": "noa@example.com",
        "phone": "+972502345602",
    }
    assert left["record"]["fields"].keys() == {"phone"}
    assert got["record"]["name"] == stored
    assert "2345602" not in json.dumps(got)
    assert gone["reason"] == "RECORD_NOT_FOUND"


def test_field_takes_the_bytes_of_a_file(cli: Commands, tmp_path: Path) -> None:
    body = tmp_path / "body.bin"
    body.write_bytes(b"\x00\xff not text")
    fields = ("from=050-2345603", "virtual_number=0523456789", "message_id=m1", "received_at=2026-10-01T12:00:00Z")
    message = ("-t", "acme", "--category", "incoming-message", "--level", "report", *fields)

    stored = cli.answer("engine", "put", *message, f"body=@{body}")
    unread = cli.run("engine", "put", *message, f"body=@{tmp_path}/none")

    assert stored["record"]["name"].startswith("tenants/acme/subjects/")
    assert unread.code == 2
    assert "cannot be read" in unread.err


def test_reveal_of_many_ends_with_1_if_any_is_refused(cli: Commands) -> None:
    first, second = cli.put_contact("050-2345604"), cli.put_contact("050-2345605")
    none = second.rsplit("/", 1)[0] + "/" + "a" * 26

    both = cli.answer("acme-app", "reveal", first, second, *WHY)["results"]
    some = cli.run("acme-app", "reveal", first, none, *WHY, "--json")

    assert [result["record"]["fields"]["phone"]["text"] for result in both] == ["+97250•••••04", "+97250•••••05"]
    assert some.code == 1
    good, bad = json.loads(some.out)["results"]
    assert "record" in good
    assert bad["refused"]["reason"] == "RECORD_NOT_FOUND"
    assert bad["receipt"]["log"] == "acme"


def test_resolve_says_whose_a_number_was(cli: Commands) -> None:
    fields = ("real_number=972583017271", "assigned_number=972534365620", "service=NUM2", "user_ref=u-1")
    cli.answer("num2", "put", "-t", "acme", "--category", "number-mapping", *fields, "valid_from=2026-01-07T08:00:00Z")
    ask = ("resolve", "972534365620", "-t", "acme", "--kind", "virtual-number", "--full", "--field", "user_ref", *WHY)

    then = cli.answer("num2", *ask, "--as-of", "2026-02-01")
    timeless = cli.error("num2", *ask)
    nonsense = cli.run("num2", *ask, "--as-of", "yesterday")

    assert then["record"]["fields"]["user_ref"]["text"] == "u-1"
    assert timeless["reason"] == "AS_OF_REQUIRED"
    assert nonsense.code == 2
    assert "--as-of" in nonsense.err


def test_refusal_says_why_what_to_do_and_where_it_is_recorded(cli: Commands) -> None:
    record = cli.put_contact("050-2345606")
    ask = ("reveal", record, "--purpose", "own-marketing", "--reason", "sending them a new offer")

    told = cli.run("marketing", *ask)
    error = cli.error("marketing", *ask)

    assert told.code == 1
    assert told.out == ""
    reason, advice, receipt = told.err.splitlines()
    assert reason.startswith("ROLE_NOT_ALLOWED: ")
    assert advice == f"  what to do: {error['hint']}"
    assert receipt.startswith("  recorded as: acme/")
    assert error["reason"] == "ROLE_NOT_ALLOWED"
    assert error["receipt"].startswith("acme/")
    assert error.keys() == {"reason", "message", "fields", "hint", "receipt", "metadata"}


@pytest.mark.parametrize("place", [0, 3, 5])
def test_json_may_stand_anywhere(cli: Commands, place: int) -> None:
    arguments: list[str | Path] = ["--client", cli.folder("operator"), "tenant", "get", "acme"]
    arguments.insert(place, "--json")

    answer = run(*arguments).answer()

    assert answer["tenant"]["name"] == "tenants/acme"


def test_answer_for_people_has_a_line_for_each_member(cli: Commands) -> None:
    shown = cli.run("acme-app", "reveal", cli.put_contact("050-2345607"), *WHY)

    assert shown.err == ""
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["phone", "+97250•••••07"] in lines
    assert any(line[0] == "receipt" and line[1].startswith("acme/") for line in lines)


def test_somebody_must_be_calling(cli: Commands, tmp_path: Path) -> None:
    nobody = run("tenant", "list")
    incomplete = run("--client", tmp_path, "tenant", "list")
    by_environment = run("tenant", "get", "acme", "--json", environment={"PII_VAULT_CLIENT": str(cli.folder("operator"))})

    assert nobody.code == incomplete.code == 2
    assert "--client" in nobody.err
    assert "address" in incomplete.err
    assert by_environment.answer()["tenant"]["name"] == "tenants/acme"


def test_nobody_answers_at_a_wrong_address(cli: Commands, tmp_path: Path) -> None:
    folder = shutil.copytree(cli.folder("operator"), tmp_path / "operator")
    (folder / "address").write_text("localhost:1\n")

    error = run("--client", folder, "tenant", "list", "--json").error()

    assert error["reason"] == "UNREACHABLE"
    assert error["hint"]
    assert error["receipt"] == ""


def test_bytes_that_are_no_text_are_refused(cli: Commands) -> None:
    error = cli.error("acme-app", "put", *CONTACT, "phone=\udcff")

    assert error["reason"] == "FIELD_INVALID"


def test_sign_in_is_for_development_homes_and_sound_names(cli: Commands, tmp_path: Path) -> None:
    elsewhere = run("dev", "sign-in", tmp_path, "gil", "--role", "auditor", "--json").error()
    unsound = run("dev", "sign-in", cli.home, "../gil", "--role", "auditor", "--json").error()
    signed = run("dev", "sign-in", cli.home, "gil", "--role", "auditor", "--json").answer()

    assert elsewhere["reason"] == "HOME_INVALID"
    assert (unsound["reason"], unsound["fields"]) == ("FIELD_INVALID", ["employee"])
    assert signed == {"client": str(cli.folder("gil"))}
    assert mode(cli.folder("gil")) == 0o700
