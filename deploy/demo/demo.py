"""The whole main job on sample data: `make demo`.

Everything goes through the `pii-vault` command, the way a person would; the vault is a real one, on a loopback port, in a folder that is made
anew each time. Each step is one line; a step that does not come out as it must ends the demo with exit code 1.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage

from deploy.demo.vault_process import VaultProcess, command

HERE = Path(__file__).resolve().parent
SAMPLES = HERE / "samples"
LIST, CALLS_TENANT = "spring-2026", "cellact-comm"
INCOMPLETE = 2
WHY = "answering what the customer asked for"


class DemoError(Exception):
    """A step did not come out as it must."""


class Demo:
    """Runs commands as somebody, of another version of the source if told, and tells what came of them."""

    def __init__(self, home: Path, tree: Path | None = None) -> None:
        self.home = home
        self._program = command(tree)
        self._step = 0

    def say(self, sentence: str) -> None:
        """One line of the story."""
        self._step += 1
        print(f"{self._step:>3}. {sentence}", flush=True)

    def run(self, who: str, *arguments: str) -> dict[str, Any]:
        """A command that must succeed; its answer."""
        done = self._command(who, arguments)
        if done.returncode:
            raise DemoError(f"{' '.join(arguments[:3])} as {who}: {done.stderr.strip()}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def refused(self, who: str, reason: str, *arguments: str) -> str:
        """A command that must be refused for exactly this reason; where the refusal was recorded."""
        done = self._command(who, arguments)
        error = json.loads(done.stderr)["error"] if done.returncode == 1 else {}
        if error.get("reason") != reason:
            raise DemoError(f"{' '.join(arguments[:3])} as {who} was not refused with {reason}: {done.stdout}{done.stderr}")
        return str(error["receipt"])

    def exit_code(self, *arguments: str) -> int:
        """The exit code of an offline command."""
        return self._command("", arguments).returncode

    def _command(self, who: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        client = ["--client", str(self.home / "clients" / who)] if who else []
        return subprocess.run([*self._program, "--json", *client, *arguments], capture_output=True, text=True, check=False, cwd=self.home)


def main() -> int:
    """0 if every step came out as it must."""
    home = Path(sys.argv[1] if len(sys.argv) > 1 else ".demo").resolve()
    for folder in (home, home.with_name(f"{home.name}-erasure-ledger")):
        shutil.rmtree(folder, ignore_errors=True)
    vault = VaultProcess.create(home, tenants=("acme", "globex", CALLS_TENANT))
    demo = Demo(home)
    try:
        with vault:
            demo.say(f"The vault serves at {vault.address}: TLS, client certificates, SQLite, keys in a file; see {home.name}/vault.yaml.")
            record = store(demo)
            release(demo, record)
            refuse(demo, record)
            court_order(demo)
            erase(demo, record)
            audit(demo)
    except DemoError as error:
        print(f"     not as it must be: {error}", file=sys.stderr)
        return 1
    demo.say("Everything came out as it must. To try it yourself: make run")
    return 0


def store(demo: Demo) -> str:
    """Tenants, lists, calls and number mappings; returns a record to work with."""
    for tenant in ("acme", "globex", CALLS_TENANT):
        demo.run("operator", "tenant", "create", tenant)
    demo.say("The operator creates three tenants, each with keys and an audit log of its own.")
    expected = json.loads((SAMPLES / "expected.json").read_text())
    for file, who, tenant, options in (
        ("customers.csv", "acme-app", "acme", ("--list", LIST)),
        ("customers.xlsx", "acme-app", "acme", ("--list", f"{LIST}-b")),
        ("calls.csv", "billing", CALLS_TENANT, ()),
        ("mappings.csv", "num2", CALLS_TENANT, ()),
    ):
        wanted = expected[file]
        rejects = demo.home / f"{file}.rejects.csv"
        arguments = ("import", str(SAMPLES / file), "-t", tenant, "--category", wanted["category"], "--rejects", str(rejects), *options)
        got = demo.run(who, *arguments)
        counts, rejected = {name: int(got[name]) for name in ("rows", "accepted", "duplicates")}, _numbers(got["rejected"])
        if rejected != wanted["rejected"] or any(count != wanted[name] for name, count in counts.items()):
            raise DemoError(f"import of {file}: {counts}, {rejected}")
        refused = ", ".join(f"{count} {reason}" for reason, count in rejected.items()) or "none"
        demo.say(f"Import {file}: {got['rows']} rows, {got['accepted']} stored, {got['duplicates']} merged, refused: {refused}.")
    phone = "+972 58 339 9869"
    found = demo.run(
        "acme-app", "find", phone, "-t", "acme", "--category", "end-customer-contact", "--kind", "phone", *_why("service-delivery")
    )
    record = str(found["matches"][0]["record"])
    demo.say(f"Find {phone}, which the file spells 058-3399869: {record.rsplit('/', 1)[-1]}, an opaque name.")
    return record


def release(demo: Demo, record: str) -> None:
    """Masked by default, whole on request, by number and moment."""
    masked = demo.run("acme-app", "reveal", record, *_why("service-delivery"))
    demo.say(f"Reveal it: {_text(masked, 'phone')}, masked by default; recorded as {_receipt(masked)} before it left.")
    whole = demo.run("acme-app", "reveal", record, "--full", "--field", "phone", *_why("service-delivery"))
    demo.say(f"Reveal its telephone number whole: {_text(whole, 'phone')}; recorded as {_receipt(whole)}.")
    lookup = (
        "resolve",
        "972534365620",
        "-t",
        CALLS_TENANT,
        "--kind",
        "virtual-number",
        "--full",
        "--field",
        "user_ref",
        *_why("service-delivery"),
    )
    first, second = (_text(demo.run("num2", *lookup, "--as-of", day), "user_ref") for day in ("2026-02-01", "2026-09-01"))
    demo.say(f"Whose was a recycled second number? In February {first}, in September {second}.")
    receipt = demo.refused("num2", "AS_OF_REQUIRED", *lookup)
    demo.say(f"Without a moment the question has no answer: AS_OF_REQUIRED, recorded as {receipt}.")


def refuse(demo: Demo, record: str) -> None:
    """Three refusals, each recorded."""
    receipt = demo.refused("acme-app", "JUSTIFICATION_REQUIRED", "reveal", record, "-p", "service-delivery", "--reason", ".")
    demo.say(f"No justification: refused, JUSTIFICATION_REQUIRED, recorded as {receipt}.")
    receipt = demo.refused("marketing", "ROLE_NOT_ALLOWED", "reveal", record, *_why("own-marketing"))
    demo.say(f"Wrong role: marketing is refused, ROLE_NOT_ALLOWED, recorded as {receipt}.")
    receipt = demo.refused("globex-app", "TENANT_NOT_FOUND", "reveal", record, *_why("service-delivery"))
    demo.say(f"Wrong tenant: to globex the record does not exist, TENANT_NOT_FOUND, recorded as {receipt}.")


def court_order(demo: Demo) -> None:
    """From the order's details to a package that verifies offline, and one that does not."""
    for employee, roles in (
        ("dana", ["legal-officer"]),
        ("eli", ["legal-officer"]),
        ("noa", ["legal-approver"]),
        ("uri", ["order-courier"]),
        ("tamar", ["privacy-officer"]),
    ):
        demo.run("", "dev", "sign-in", str(demo.home), employee, *(part for role in roles for part in ("--role", role)))
    now = datetime.now(UTC)
    dates = ("--signed", (now - timedelta(days=1)).isoformat(), "--until", (now + timedelta(days=365)).isoformat())
    for employee in ("dana", "eli", "noa", "uri"):
        demo.run("tamar", "tenant", "register-nda", employee, str(SAMPLES / "order.pdf"), *dates)
    demo.say("Two legal officers, a legal approver, a courier and the privacy officer sign in; confidentiality agreements are registered.")
    identity = pyrage.x25519.Identity.generate()
    key = demo.home / "recipient.key"
    key.write_text(f"{identity}\n")
    order = demo.run(
        *("dana", "order", "register", str(SAMPLES / "order.json"), "-t", CALLS_TENANT, "--document", str(SAMPLES / "order.pdf")),
        *("--recipient", str(identity.to_public()), "--recipient-body", "police unit", "--verified", "call-back to our own directory"),
    )["order"]
    demo.say("Dana registers a court order for the calls of one number in half a year, with its scan; what it covers is held from now on.")
    by_phone = ("--method", "call-back", "--finding", "the registry of the court read the case back to us")
    receipt = demo.refused("dana", "SEPARATION_OF_DUTIES", "order", "authenticate", order["name"], *by_phone)
    demo.run("eli", "order", "authenticate", order["name"], *by_phone)
    demo.say(
        f"Eli calls the court and finds it authentic; Dana could not have said so herself: SEPARATION_OF_DUTIES, recorded as {receipt}."
    )
    order = demo.run("dana", "order", "scope", order["name"])["order"]
    preview = demo.run("eli", "order", "preview", order["name"])
    demo.run("noa", "order", "preview", order["name"])
    demo.say(
        f"Dana settles that all of it is exported; Eli and Noa see that these are {preview['record_counts']['call-detail']} calls, none of "
        f"them opened, under the scope digest {order['scope_digest'][:12]}…."
    )
    approve = ("order", "approve", order["name"], "--scope-digest", order["scope_digest"])
    receipt = demo.refused("dana", "SEPARATION_OF_DUTIES", *approve)
    demo.say(f"Dana may not approve her own: SEPARATION_OF_DUTIES, recorded as {receipt}.")
    demo.run("eli", *approve)
    demo.refused("dana", "APPROVALS_MISSING", "order", "export", order["name"])
    demo.run("noa", *approve)
    demo.say("Eli and Noa approve exactly this scope; with one approval alone there was no export, APPROVALS_MISSING.")
    export = demo.run("dana", "order", "export", order["name"])["export"]
    count = int(export["record_counts"]["call-detail"])
    if count != json.loads((SAMPLES / "expected.json").read_text())["order.json"]["records"]["call-detail"]:
        raise DemoError(f"the package holds {count} calls")
    demo.say(f"The export holds the {count} calls in scope and nothing else, signed, sealed to the recipient's key.")
    demo.refused("uri", "RELEASE_NOT_APPROVED", "order", "download", export["name"], "-o", str(demo.home / "order.tar.age"))
    demo.run("noa", "order", "approve", export["name"])
    demo.say("Before Noa approves its release nobody gets it, RELEASE_NOT_APPROVED.")
    package = demo.home / "order.tar.age"
    demo.run("uri", "order", "download", export["name"], "-o", str(package))
    verify = ("order", "verify", str(package), "--identity", str(key), "--trust", str(demo.home / "signing.pub"))
    _must(demo.exit_code(*verify) == 0, "the package verifies")
    demo.say("The recipient verifies the package offline, with their key and the operator's public key: it holds.")
    took = ("--package", str(package), "--recipient-name", "Ori Example", "--recipient-id", "badge 433-17")
    demo.run("uri", "order", "deliver", export["name"], *took)
    demo.run("dana", "order", "close", order["name"])
    demo.say("The recipient reads its digest back, which fulfils the order; Dana closes it, and what it held is let go.")
    _flip(package, lambda size: size // 2)
    _must(demo.exit_code(*verify) == 1, "the altered package is caught")
    demo.say("One byte of it changed: it does not hold.")


def erase(demo: Demo, record: str) -> None:
    """Destroy a person's key, and certify it."""
    subject = record.rsplit("/records/", 1)[0]
    digest = demo.run("acme-admin", "erase", "preview", subject, "--reason", WHY)["preview_digest"]
    erasure = demo.run("acme-admin", "erase", "request", subject, "--preview-digest", digest, "--reason", WHY)["erasure"]["name"]
    demo.run("tamar", "tenant", "register-nda", "ruth", str(SAMPLES / "order.pdf"), "--signed", "2026-01-01", "--until", "2036-01-01")
    demo.run("", "dev", "sign-in", str(demo.home), "ruth", "--role", "privacy-officer")
    demo.run("ruth", "erase", "approve", erasure, "--reason", WHY)
    demo.say("acme asks to erase the person, a privacy officer approves: the key is destroyed, then rows and index entries.")
    receipt = demo.refused("acme-app", "RECORD_NOT_FOUND", "reveal", record, *_why("service-delivery"))
    demo.say(f"The next reveal finds nothing: RECORD_NOT_FOUND, recorded as {receipt}.")
    certificate = demo.home / "certificate.txt"
    demo.run("acme-admin", "erase", "certificate", erasure, "-o", str(certificate))
    verify = ("erase", "verify", str(certificate), "--key", str(demo.home / "verifier.txt"))
    _must(demo.exit_code(*verify) == 0, "the certificate verifies")
    certificate.write_text(certificate.read_text().replace('"erased": 1', '"erased": 0', 1))
    _must(demo.exit_code(*verify) == 1, "the altered certificate is caught")
    demo.say("Its signed certificate verifies offline; with one digit changed it does not.")


def audit(demo: Demo) -> None:
    """Dump the log, verify it, and catch who alters it."""
    dump = demo.home / "acme.log"
    entries = demo.run("auditor", "audit", "dump", "acme", "-o", str(dump))["entries"]
    verify = ("audit", "verify", str(dump), "--log", "acme", "--key", str(demo.home / "verifier.txt"))
    _must(demo.exit_code(*verify) == 0, "the log verifies")
    demo.say(f"The auditor dumps acme's log, {entries} entries, and verifies it offline: intact and complete.")
    whole = dump.read_text()
    lines = whole.splitlines(keepends=True)
    dump.write_text("".join([*lines[:-3], *lines[-2:]]))
    _must(demo.exit_code(*verify) == 1, "the gap is caught")
    dump.write_text("".join(lines[:-1]))
    _must(demo.exit_code(*verify) == INCOMPLETE, "the cut tail is caught")
    dump.write_text(whole)
    demo.say("An entry taken out of the middle: not intact. The newest entry cut off: not complete.")


def _why(purpose: str) -> tuple[str, ...]:
    return ("--purpose", purpose, "--reason", WHY)


def _text(answer: Mapping[str, Any], field: str) -> str:
    return str(answer["record"]["fields"][field]["text"])


def _receipt(answer: Mapping[str, Any]) -> str:
    return f"{answer['receipt']['log']}/{answer['receipt']['index']}"


def _numbers(counts: Mapping[str, object]) -> dict[str, int]:
    return {reason: int(str(count)) for reason, count in counts.items()}


def _flip(path: Path, where: Callable[[int], int]) -> None:
    content = bytearray(path.read_bytes())
    content[where(len(content))] ^= 1
    path.write_bytes(content)


def _must(condition: bool, what: str) -> None:
    if not condition:
        raise DemoError(f"expected: {what}")


if __name__ == "__main__":
    sys.exit(main())
