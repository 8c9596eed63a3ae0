"""How the command shows answers and refusals: what a stranger put into a record is shown as it is and steers nothing; no file makes a stack trace."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer

from vault.cli import session
from vault.cli.session import reported, say, show, vault
from vault.client import CallError, Receipt
from vault.errors import InvalidArgumentError
from vault.v1.resources_pb2 import FieldValue, RevealedRecord
from vault.v1.tenant_service_pb2 import ListTenantsResponse
from vault.v1.vault_service_pb2 import RevealRecordResponse


@pytest.fixture(autouse=True)
def _fresh_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NO_COLOR", "1")
    made = session.Session()
    monkeypatch.setattr(session, "SESSION", made)
    return iter([None])


@pytest.fixture
def _json(_fresh_session: None) -> None:
    session.SESSION.json = True


def revealed(**fields: str) -> RevealRecordResponse:
    return RevealRecordResponse(record=RevealedRecord(fields={name: FieldValue(text=value) for name, value in fields.items()}))


# --- answers


@pytest.mark.parametrize("value", ["plain", "[bold]x[/bold]", ":heart:", ":+1: :smile:", "שלום דנה", "a" * 500, "\\n", "\U0001f600", "[/]"])
def test_a_value_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], value: str) -> None:
    """Harm: `:heart:` in a record was shown as a picture, which is another value."""
    show({"first_name": value})

    assert capsys.readouterr().out == f"first_name  {value}\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\x1b[2J\x1b[1;1Hnobody", "\\x1b[2J\\x1b[1;1Hnobody"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("050-2345678\rxxx", "050-2345678\\rxxx"),
        ("\x9b31m", "\\x9b31m"),
        ("a\x08b\x7f\x00", "a\\x08b\\x7f\\x00"),
    ],
)
def test_a_value_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str], value: str, shown: str) -> None:
    """Harm: an escape sequence in a list that somebody imported ran in the terminal of whoever revealed it."""
    show({"first_name": value})
    say(value)

    assert capsys.readouterr().out == f"first_name  {shown}\n{shown}\n"


def test_a_text_of_several_lines_keeps_them(capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint is one."""
    show({"checkpoint": "origin\n5\nroot\n"})

    assert capsys.readouterr().out == "checkpoint  origin\n5\nroot\n\n"


@pytest.mark.usefixtures("_json")
@pytest.mark.parametrize("value", ["\x1b[2J", ":heart:", "שלום", '"\\\n'])
def test_json_holds_the_exact_value(capsys: pytest.CaptureFixture[str], value: str) -> None:
    show(revealed(first_name=value))
    say("not part of the answer")

    assert json.loads(capsys.readouterr().out)["record"]["fields"]["first_name"]["text"] == value


@pytest.mark.usefixtures("_json")
def test_json_holds_every_field_empty_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    show(ListTenantsResponse())

    assert json.loads(capsys.readouterr().out) == {"tenants": [], "next_page_token": ""}


# --- refusals


def refuse(error: Exception) -> int:
    with pytest.raises(typer.Exit) as raised, reported():
        raise error
    return raised.value.exit_code


CALL = CallError(
    grpc.StatusCode.PERMISSION_DENIED,
    "ROLE_NOT_ALLOWED",
    "no role of the caller may call this method",
    fields=("name",),
    receipt=Receipt("acme", 7),
    metadata={"limit": "5"},
)


def test_a_refusal_says_reason_field_limit_advice_and_receipt(capsys: pytest.CaptureFixture[str]) -> None:
    code = refuse(CALL)

    captured = capsys.readouterr()
    assert (code, captured.out) == (1, "")
    first, advice, recorded = captured.err.splitlines()
    assert first == "ROLE_NOT_ALLOWED: no role of the caller may call this method (name) [limit 5]"
    assert advice.startswith("  what to do: ask someone whose role")
    assert recorded == "  recorded as: acme/7"


@pytest.mark.usefixtures("_json")
def test_a_refusal_in_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    code = refuse(CALL)

    captured = capsys.readouterr()
    error = json.loads(captured.err)["error"]
    assert (code, captured.out) == (1, "")
    assert error.pop("hint").startswith("ask someone whose role")
    assert error == {
        "reason": "ROLE_NOT_ALLOWED",
        "message": "no role of the caller may call this method",
        "fields": ["name"],
        "receipt": "acme/7",
        "metadata": {"limit": "5"},
    }


def test_a_refusal_before_any_call_has_no_receipt(capsys: pytest.CaptureFixture[str]) -> None:
    refuse(InvalidArgumentError("DOCUMENT_MISMATCH", "another scan", field="document"))

    assert "recorded" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "work",
    [
        lambda folder: (folder / "none" / "file").open("w"),
        lambda folder: folder.open(),
        lambda folder: (folder / "none").read_bytes(),
        lambda folder: (folder / ("x" * 300)).write_text(""),
    ],
    ids=["no folder", "a folder", "no file", "too long"],
)
def test_a_file_that_cannot_be_used_is_a_refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], work: Callable[[Path], object]
) -> None:
    with pytest.raises(typer.Exit) as raised, reported():
        work(tmp_path)

    assert raised.value.exit_code == 1
    assert capsys.readouterr().err.startswith("FILE_UNUSABLE: ")


# --- who is calling

FOLDER: dict[str, bytes] = {
    "address": b"localhost:8443\n",
    "ca.pem": b"ca",
    "certificate.pem": b"certificate",
    "private-key.pem": b"key",
    "token.jwt": b"a.b.c\n",
}


def client_folder(folder: Path, **changes: bytes | None) -> Path:
    for name, content in {**FOLDER, **{name.replace("_", "."): value for name, value in changes.items()}}.items():
        if content is not None:
            (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"address": None}, "address"),
        ({"ca_pem": None}, "ca.pem"),
        ({"certificate_pem": None}, "certificate.pem"),
        ({"address": b""}, "address"),
        ({"address": b"\n"}, "address"),
        ({"address": b"\xff\xfe"}, "address"),
        ({"token_jwt": b"\xff\xfe"}, "token"),
        ({"token_jwt": "שלום".encode()}, "token"),
        ({"token_jwt": b"a.b.c\na.b.c"}, "token"),
        ({"token_jwt": b"a.b.c\x00"}, "token"),
    ],
)
def test_a_client_folder_that_cannot_be_used_is_a_mistake_in_the_call(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    """Harm: a token of two lines was sent to nobody and told as a fault of the vault, one that is no text as a stack trace."""
    session.SESSION.client = client_folder(tmp_path, **changes)

    with pytest.raises(typer.BadParameter) as raised, vault():
        pass

    assert named in raised.value.message


@pytest.mark.parametrize("token", [b"a.b.c\n", b"  a.b.c\r\n", b"", None], ids=str)
def test_a_client_folder_as_it_should_be_is_used(tmp_path: Path, token: bytes | None) -> None:
    session.SESSION.client = client_folder(tmp_path, token_jwt=token)

    with vault() as client:
        assert client.tenants is not None


def test_somebody_is_calling_or_it_is_a_mistake() -> None:
    with pytest.raises(typer.BadParameter) as raised, vault():
        pass

    assert "--client" in raised.value.message


@pytest.mark.parametrize(
    "arguments", [("serve",), ("migrate",), ("init", "home"), ("config", "check"), ("dev", "sign-in", "home", "dana", "--role", "auditor")]
)
def test_a_command_without_its_server_says_which_extra_is_missing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Once, an install of the command alone ended in a stack trace."""
    script = "import sys; sys.modules.update(dict.fromkeys(('pydantic_settings', 'jwt'))); from vault.cli import main; main()"

    done = subprocess.run([sys.executable, "-c", script, "--json", *arguments], check=False, capture_output=True, text=True, cwd=tmp_path)

    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["reason"] == "EXTRA_MISSING"


def test_the_base_install_says_which_extra_the_command_needs(tmp_path: Path) -> None:
    script = "import sys; sys.modules['typer'] = None; from vault.cli import main; main()"

    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "EXTRA_MISSING: the command needs pii-vault[cli]; 'typer' is not installed\n"
