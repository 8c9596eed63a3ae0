"""`pii-vault audit evidence`: what an external auditor asks for, in one folder, without personal data (L1, L2, L8).

    access.yaml            who may call what
    database-definition.md what is stored, for what, for how long
    role-grants.json       who holds which role besides configuration, and when it was attested
    key-rotations.json     every rotation of keys
    incidents.json         every incident, with its clock
    surplus.json           for every tenant, lists that nobody used for a year and former contacts that are due for a look
    refusals.csv           every refusal of the period, by the members of the log that name nobody
    checkpoints/           a signed head of every log, and what restores left of it
    components.json        the packages that this version runs on (CycloneDX)
    MANIFEST.sha256        digests of all of them

What it holds is what an auditor may read by single calls; opaque ids of people and records are left out all the same.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import metadata, resources
from pathlib import Path
from typing import Annotated, Any

import typer

from vault.cli.asking import CSV_COLUMNS, Page, all_pages, cell
from vault.cli.auditing import parent
from vault.cli.session import plain, reported, show, vault
from vault.client import VaultClient
from vault.names import SYSTEM_LOG
from vault.v1.access_service_pb2 import ListIncidentsRequest, ListRoleGrantsRequest
from vault.v1.audit_service_pb2 import GetCheckpointRequest, QueryAuditEntriesRequest
from vault.v1.operations_service_pb2 import GetDatabaseDefinitionRequest, ListKeyRotationsRequest
from vault.v1.tenant_service_pb2 import GetSurplusReportRequest, ListTenantsRequest

_NAMES_SOMEBODY = frozenset({"records", "subjects"})
_COLUMNS = tuple(name for name in CSV_COLUMNS if name not in _NAMES_SOMEBODY)


def evidence(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.", show_default=False)],
    days: Annotated[int, typer.Option(help="How far back refusals are listed.", min=1)] = 92,
) -> None:
    """Gather the evidence of a quarter for an external audit."""
    with reported(), vault() as client:
        output.mkdir(parents=True, exist_ok=False)
        (output / "checkpoints").mkdir()
        logs = [SYSTEM_LOG, *sorted(str(item["name"]).removeprefix("tenants/") for item in _tenants(client))]
        (output / "access.yaml").write_bytes(resources.files("vault.policy").joinpath("access.yaml").read_bytes())
        document = client.call(client.operations.GetDatabaseDefinition, GetDatabaseDefinitionRequest()).document
        (output / "database-definition.md").write_text(document, encoding="utf-8")
        _write(output / "role-grants.json", _pages(client, client.access.ListRoleGrants, ListRoleGrantsRequest(), "grants"))
        _write(output / "key-rotations.json", {log: _rotations(client, log) for log in logs})
        _write(output / "incidents.json", {log: _incidents(client, log) for log in logs})
        _write(output / "surplus.json", {log: _surplus(client, log) for log in logs if log != SYSTEM_LOG})
        _write(output / "components.json", _components())
        for log in logs:
            head = client.call(client.audit.GetCheckpoint, GetCheckpointRequest(parent=parent(log)))
            (output / "checkpoints" / f"{log}.checkpoint").write_text(head.checkpoint, encoding="utf-8")
            for number, note in enumerate(head.restore_notes, 1):
                (output / "checkpoints" / f"{log}.{number}.restore").write_text(note, encoding="utf-8")
        with (output / "refusals.csv").open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows([cell(entry[name]) for name in _COLUMNS] for log in logs for entry in _refusals(client, log, days))
        files = sorted(path for path in output.rglob("*") if path.is_file())
        digests = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(output)}\n" for path in files]
        (output / "MANIFEST.sha256").write_text("".join(digests), encoding="utf-8")
        show({"written": str(output), "files": len(files) + 1, "logs": logs})


def _tenants(client: VaultClient) -> list[dict[str, Any]]:
    return _pages(client, client.tenants.ListTenants, ListTenantsRequest(), "tenants")


def _incidents(client: VaultClient, log: str) -> list[dict[str, Any]]:
    found = _pages(client, client.access.ListIncidents, ListIncidentsRequest(parent=parent(log)), "incidents")
    return [{key: value for key, value in item.items() if key not in _NAMES_SOMEBODY} for item in found]


def _rotations(client: VaultClient, log: str) -> list[dict[str, Any]]:
    found = _pages(client, client.operations.ListKeyRotations, ListKeyRotationsRequest(parent=parent(log)), "rotations")
    return [{key: value for key, value in item.items() if key != "subject"} for item in found]


def _surplus(client: VaultClient, tenant: str) -> dict[str, Any]:
    return plain(client.call(client.tenants.GetSurplusReport, GetSurplusReportRequest(name=parent(tenant))))


def _refusals(client: VaultClient, log: str, days: int) -> Iterator[dict[str, Any]]:
    asked = QueryAuditEntriesRequest(parent=parent(log), decision="REFUSED", page_size=1000)
    asked.start_time.FromDatetime(datetime.now(UTC) - timedelta(days=days))

    def page(token: str) -> Page:
        asked.page_token = token
        answer = client.call(client.audit.QueryAuditEntries, asked)
        return answer.entries, answer.next_page_token

    return all_pages(page, 0)


def _pages(client: VaultClient, method: Callable[..., Any], request: Any, field: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        answer = client.call(method, request)
        found.extend(plain(item) for item in getattr(answer, field))
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found


def _components() -> dict[str, Any]:
    installed = {distribution.metadata["Name"]: distribution.version for distribution in metadata.distributions()}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": [
            {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name.lower()}@{version}"}
            for name, version in sorted(installed.items())
        ],
    }


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
