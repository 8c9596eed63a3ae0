"""A vault that is not set up rightly does not start: it says why in one line, with its reason, and ends (I9)."""

import asyncio
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from tests.databases import sqlite_url
from tests.processes import copy_home, run
from tests.serving import serving
from vault.keys import local
from vault.store import tables
from vault.store.database import Database

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
def home(home_template: Path, tmp_path: Path, migrated_url: str) -> Path:
    return copy_home(home_template, tmp_path / "home", database_url=migrated_url)


def refused_start(home: Path) -> dict[str, Any]:
    """The error of a vault that ends by itself. `run` looks for tracebacks; lines of gRPC's own may stand above the error."""
    finished = run("serve", "--config", home / "vault.yaml", "--json")
    assert finished.code == 1, finished
    assert '"serving"' not in finished.err
    error: dict[str, Any] = json.loads(finished.err.splitlines()[-1])["error"]
    return error


def change(home: Path, section: str, **keys: object) -> None:
    """Replace keys inside a section."""
    configuration = yaml.safe_load((home / "vault.yaml").read_text())
    copy_home(home, home, **{section: configuration[section] | keys})


def without_schema(home: Path) -> None:
    copy_home(home, home, database_url=sqlite_url(home / "new.db"))


def without_folder(home: Path) -> None:
    copy_home(home, home, database_url=sqlite_url(home / "no" / "such" / "folder" / "vault.db"))


def another_authority_garbled(home: Path) -> None:
    (home / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n")


def anothers_private_key(home: Path) -> None:
    shutil.copyfile(home / "clients" / "desk" / "private-key.pem", home / "server.key")


@pytest.mark.parametrize(
    ("damage", "reason", "named"),
    [
        pytest.param(without_schema, "SCHEMA_OUTDATED", "migrate", id="no schema"),
        pytest.param(without_folder, "CONFIG_INVALID", "database", id="no folder"),
        pytest.param(lambda home: (home / "root.key").unlink(), "KEYS_UNAVAILABLE", "root key", id="no root key"),
        pytest.param(lambda home: (home / "root.key").chmod(0o644), "ROOT_KEY_INVALID", "0600", id="root key for all to read"),
        pytest.param(lambda home: (home / "root.key").write_text("garbage"), "ROOT_KEY_INVALID", "root key", id="garbage for a root key"),
        pytest.param(lambda home: (home / "server.pem").unlink(), "CONFIG_INVALID", "server.pem", id="no certificate"),
        pytest.param(lambda home: (home / "server.pem").write_text("garbage"), "CONFIG_INVALID", "tls.certificate", id="no PEM"),
        pytest.param(another_authority_garbled, "CONFIG_INVALID", "tls.client_ca", id="PEM of garbage"),
        pytest.param(lambda home: (home / "server.key").write_text("garbage"), "CONFIG_INVALID", "tls.private_key", id="garbage for a key"),
        pytest.param(anothers_private_key, "CONFIG_INVALID", "tls.private_key", id="the key of another certificate"),
        pytest.param(lambda home: (home / "signing.key").write_text("garbage"), "CONFIG_INVALID", "signing_key", id="no signing key"),
        pytest.param(
            lambda home: change(home, "principals", **{"spiffe://x.example/a": {"roles": ["emperor"], "tenants": "*"}}),
            "CONFIG_INVALID",
            "emperor",
            id="unknown role",
        ),
        pytest.param(
            lambda home: change(home, "principals", **{"spiffe://x.example/a": {"roles": [], "tenants": "*", "products": ["fax"]}}),
            "CONFIG_INVALID",
            "fax",
            id="unknown product",
        ),
        pytest.param(
            lambda home: change(home, "oidc", hourly_releases_for={"curiosity": 1}), "CONFIG_INVALID", "curiosity", id="unknown purpose"
        ),
    ],
)
@ON_SQLITE
def test_a_vault_that_is_not_set_up_rightly_says_why_and_ends(
    home: Path, damage: Callable[[Path], object], reason: str, named: str
) -> None:
    """I9."""
    damage(home)

    error = refused_start(home)

    assert error["reason"] == reason
    assert named in error["message"]
    assert error["hint"]


def test_a_taken_port_is_told_and_the_process_ends(home: Path) -> None:
    """On both databases: PostgreSQL lets several vaults share a port, not a vault and a stranger."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        copy_home(home, home, listen=f"127.0.0.1:{stranger.getsockname()[1]}")

        error = refused_start(home)

    assert error["reason"] == "PORT_UNAVAILABLE"


async def test_another_database_s_root_key_is_refused_and_nothing_new_is_made(home_template: Path, home: Path, migrated_url: str) -> None:
    """I3: a vault that made itself new keys here would lock out every record there is."""
    async with serving(home_template, home, migrated_url) as served:
        await served.create_tenants("acme")
    before = await stored_keys(migrated_url)
    (home / "root.key").unlink()
    local.create(home / "root.key")

    error = await asyncio.to_thread(refused_start, home)

    assert error["reason"] == "CIPHERTEXT_INVALID"
    assert "root key" in error["message"]
    assert len(before) == 12
    assert await stored_keys(migrated_url) == before


async def stored_keys(url: str) -> list[tuple[Any, ...]]:
    database = Database(url)
    async with database.read() as connection:
        order = (tables.tenant_keys.c.tenant_id, tables.tenant_keys.c.purpose, tables.tenant_keys.c.version)
        rows = [tuple(row) for row in await connection.execute(select(tables.tenant_keys).order_by(*order))]
    await database.close()
    return rows
