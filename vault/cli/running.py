"""Setting a vault up and running it: init, serve, migrate, config check, and the stand-in for the identity provider.

What only a server needs is imported inside the commands: whoever installed the command alone is told what is missing.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from vault.cli.session import reported, say, show

config_app = typer.Typer(no_args_is_help=True, help="Look at the configuration.")
development_app = typer.Typer(no_args_is_help=True, help="For development only: what an identity provider does in production.")

Home = Annotated[Path, typer.Argument(help="Folder of the vault.", show_default=False)]
ConfigFile = Annotated[Path, typer.Option("--config", help="Configuration file.", envvar="PII_VAULT_CONFIG")]
_SQLITE = "sqlite+aiosqlite:///vault.db"


def init(
    home: Home,
    tenant: Annotated[list[str] | None, typer.Option("--tenant", help="Tenant whose services get certificates; repeatable.")] = None,
    listen: Annotated[str, typer.Option(help="Address to serve at.")] = "localhost:8443",
    database_url: Annotated[str, typer.Option(help="SQLite file or PostgreSQL database.", envvar="VAULT_DATABASE_URL")] = _SQLITE,
) -> None:
    """Make the home of a development vault: keys, authority, certificates, configuration, database."""
    with reported():
        from vault.cli import development  # noqa: PLC0415

        development.create(home, tenants=tenant or ["acme", "globex"], listen=listen, database_url=database_url)
        _migrate(home / "vault.yaml")
        show({"home": str(home), "config": str(home / "vault.yaml"), "clients": sorted(path.name for path in (home / "clients").iterdir())})
        say(f"next: pii-vault serve --config {home / 'vault.yaml'}")


def serve(config: ConfigFile = Path("vault.yaml")) -> None:
    """Serve until stopped."""
    with reported():
        from vault import config as configuration  # noqa: PLC0415
        from vault import server  # noqa: PLC0415

        server.run(configuration.load(config), reread=lambda: configuration.load(config))


def migrate(config: ConfigFile = Path("vault.yaml")) -> None:
    """Bring the database to the schema of this version."""
    with reported():
        _migrate(config)
        show({"migrated": True})


@config_app.command("check")
def check(config: Annotated[Path, typer.Argument(help="Configuration file.")] = Path("vault.yaml")) -> None:
    """Validate a configuration file and print what is in force, without secrets."""
    with reported():
        from vault import config as configuration  # noqa: PLC0415

        show(configuration.redacted(configuration.load(config)))


@development_app.command("sign-in")
def sign_in(
    home: Home,
    employee: Annotated[str, typer.Argument(help="Employee id.", show_default=False)],
    role: Annotated[list[str], typer.Option("--role", help="Role of the catalogue; repeatable.", show_default=False)],
    tenant: Annotated[list[str] | None, typer.Option("--tenant", help="Tenant the person may touch; all unless told.")] = None,
) -> None:
    """Issue an access token with a second factor to a person, in a client folder of their own."""
    with reported():
        from vault.cli import development  # noqa: PLC0415

        folder = development.sign_in(home, development.check_employee(employee), roles=role, tenants=tenant or ["*"])
        show({"client": str(folder)})


def _migrate(config: Path) -> None:
    from vault import config as configuration  # noqa: PLC0415
    from vault.store import schema  # noqa: PLC0415
    from vault.store.database import Database  # noqa: PLC0415

    async def upgrade(url: str, *, of_keys: bool) -> None:
        database = Database(url, of_keys=of_keys)
        try:
            await schema.migrate(database)
        finally:
            await database.close()

    settings = configuration.load(config)
    asyncio.run(upgrade(settings.database_url.get_secret_value(), of_keys=False))
    if settings.keys_url is not None:
        asyncio.run(upgrade(settings.keys_url.get_secret_value(), of_keys=True))
