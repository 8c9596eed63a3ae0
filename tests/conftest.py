"""Databases, and whole vaults, for every test that wants one: each such test runs on SQLite and on PostgreSQL."""

import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from tests.databases import PostgresServer, PostgresUnavailableError, create_migrated_sqlite, memory, running_postgres, sqlite_url
from tests.serving import Serving, make_home, serving
from vault.store.database import Database

# Files of tests that take half a minute and more.
_LONG = frozenset(
    {"test_canaries", "test_conditions", "test_demo", "test_erasure_killed", "test_replay_killed", "test_rotation_under_load", "test_swaps"}
)


def pytest_configure() -> None:
    """Temporary files are kept in memory if there is room: thousands of homes and SQLite files are written, flushed and soon gone."""
    if (place := memory()) is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(place))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs PostgreSQL, so that `-m "not postgres"` leaves it out; what takes long comes first, so that nobody waits for it at the end."""
    items.sort(key=lambda item: item.path.stem not in _LONG)
    for item in items:
        if isinstance(item, pytest.Function) and (
            "postgres_server" in item.fixturenames
            or (hasattr(item, "callspec") and item.callspec.params.get("database_kind") == "postgres")
        ):
            item.add_marker(pytest.mark.postgres)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL, started when the first test of this process asks for it."""
    try:
        with running_postgres() as server:
            yield server
    except PostgresUnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> Iterator[str]:
    """Name of a migrated database that nobody connects to, to copy from."""
    name = postgres_server.create_migrated()
    yield name
    postgres_server.drop(name)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to copy from."""
    path = tmp_path_factory.mktemp("template") / "vault.db"
    create_migrated_sqlite(path)
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Which database the test runs on: both, unless it says `parametrize("database_kind", ["postgres"], indirect=True)`."""
    return str(request.param)


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of a fresh database without any table."""
    if database_kind == "sqlite":
        yield sqlite_url(tmp_path / "vault.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create()
    yield server.database_url(name)
    server.drop(name)


@pytest.fixture
def migrated_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of a fresh database with the newest schema."""
    if database_kind == "sqlite":
        path = tmp_path / "migrated.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield sqlite_url(path)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create(request.getfixturevalue("postgres_template"))
    yield server.database_url(name)
    server.drop(name)


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    """A `Database` with the newest schema."""
    opened = Database(migrated_url)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def home_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, certificates and configuration of a vault, to copy from."""
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
async def served(home_template: Path, tmp_path: Path, migrated_url: str) -> AsyncIterator[Serving]:
    """A running vault with an empty database."""
    async with serving(home_template, tmp_path / "home", migrated_url) as vault:
        yield vault


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """For a test that configures logging, which is one for the whole process: other tests get back what they had."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
