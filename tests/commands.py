"""The command line on a real vault process: who runs what, and what came of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.databases import PostgresServer
from tests.processes import Finished, VaultProcess, run, serving
from vault.cli import development
from vault.v1.access_service_pb2 import RegisterNdaRequest
from vault.v1.tenant_service_pb2 import CreateTenantRequest

WHY = ("--purpose", "service-delivery", "--reason", "carrying out what the customer asked for")


class Commands:
    """A serving vault, and the command run as one of its callers."""

    def __init__(self, vault: VaultProcess) -> None:
        self.vault = vault
        self.home = vault.home

    def folder(self, who: str) -> Path:
        """The client folder of somebody."""
        return self.home / "clients" / who

    def run(self, who: str, *arguments: str | Path, typed: str = "") -> Finished:
        """Run the command for people; `typed` is what they type into it."""
        return run("--client", self.folder(who), *arguments, typed=typed)

    def answer(self, who: str, *arguments: str | Path) -> Any:
        """What it answers in JSON; it must succeed."""
        return self.run(who, *arguments, "--json").answer()

    def error(self, who: str, *arguments: str | Path) -> dict[str, Any]:
        """What it says in JSON about why not; it must be refused."""
        return self.run(who, *arguments, "--json").error()

    def sign_in(self, employee: str, *roles: str) -> str:
        """A person with a confidentiality agreement."""
        development.sign_in(self.home, "registrar", roles=["privacy-officer"], tenants=["*"])
        development.sign_in(self.home, employee, roles=roles, tenants=["*"])
        request = RegisterNdaRequest(person=f"people/{employee}", document_sha256=b"\1" * 32)
        request.sign_time.FromDatetime(datetime.now(UTC) - timedelta(days=1))
        request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=365))
        with self.vault.client("registrar") as officer:
            officer.call(officer.access.RegisterNda, request)
        return employee

    def create_tenant(self, tenant: str) -> str:
        """A tenant; `acme` and `globex` are there."""
        with self.vault.client("operator") as operator:
            operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id=tenant))
        return tenant

    def put_contact(self, phone: str) -> str:
        """Store a contact of acme; the record's name."""
        return str(self.answer("acme-app", "put", "-t", "acme", "--category", "end-customer-contact", f"phone={phone}")["record"]["name"])


@contextmanager
def commands(database_kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Commands]:
    """A vault made by `pii-vault init` on the database of a kind, serving, with two tenants."""
    home = folder / "home"
    options: list[str] = []
    drop: tuple[PostgresServer, str] | None = None
    if database_kind == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        name = server.create()
        options, drop = ["--database-url", server.database_url(name)], (server, name)
    try:
        made = run("init", home, "--listen", "localhost:0", *options)
        assert made.code == 0, made.err
        with serving(home) as vault:
            started = Commands(vault)
            started.create_tenant("acme")
            started.create_tenant("globex")
            yield started
    finally:
        if drop is not None:
            drop[0].drop(drop[1])
