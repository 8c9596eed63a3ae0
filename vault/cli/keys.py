"""`pii-vault keys …`: rotation through the server, and what an operator does with configuration and key files at hand."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vault.cli.running import ConfigFile
from vault.cli.session import reported, say, show, vault
from vault.errors import FailedPreconditionError, InvalidArgumentError
from vault.v1 import operations_service_pb2
from vault.v1.operations_service_pb2 import (
    DropCachedKeysRequest,
    GetKeyRotationRequest,
    ListKeyRotationsRequest,
    MoveTenantKeysRequest,
    RotateKeysRequest,
)

if TYPE_CHECKING:
    from vault.config import Settings
    from vault.operations.core import Vault

app = typer.Typer(no_args_is_help=True, help="Root, tenant, subject and signing keys: rotation, verification, recovery.")

_KINDS = [name.removeprefix("KEY_KIND_").lower() for name in operations_service_pb2.KeyKind.keys()[1:]]
KeyFile = Annotated[Path, typer.Argument(help="Root key file.", show_default=False)]
PassphraseFile = Annotated[Path | None, typer.Option(help="File with the passphrase of the root key file.")]
NotExisting = Annotated[Path, typer.Option(help="File to write; it must not exist.", show_default=False)]


@app.command()
def rotate(
    kind: Annotated[str, typer.Argument(help=f"Which key: {', '.join(_KINDS)}.", show_default=False)],
    tenant: Annotated[str, typer.Option(help="Tenant id, or system; none for root and signing.")] = "",
    subject: Annotated[str, typer.Option(help="tenants/{tenant}/subjects/{subject}, for a subject key.")] = "",
    root_key: Annotated[str, typer.Option(help="Name of the root key in the configuration; the vault's own unless told.")] = "",
) -> None:
    """Start rotating a key; the server does it in the background."""
    if kind not in _KINDS:
        raise typer.BadParameter(f"one of {', '.join(_KINDS)}", param_hint="KIND")
    request = RotateKeysRequest(
        tenant=_parent(tenant) if tenant else "",
        kind=operations_service_pb2.KeyKind.Value(f"KEY_KIND_{kind.upper()}"),
        subject=subject,
        root_key=root_key,
    )
    with reported(), vault() as client:
        show(client.call(client.operations.RotateKeys, request))


@app.command()
def rotation(name: Annotated[str, typer.Argument(help="Name of the rotation.", show_default=False)]) -> None:
    """Show how far a rotation is."""
    with reported(), vault() as client:
        show(client.call(client.operations.GetKeyRotation, GetKeyRotationRequest(name=name)))


@app.command()
def rotations(
    tenant: Annotated[str, typer.Argument(help="Tenant id, or system for the root key.", show_default=False)],
    page_token: Annotated[str, typer.Option(help="Continue a listing.")] = "",
) -> None:
    """List rotations."""
    with reported(), vault() as client:
        show(client.call(client.operations.ListKeyRotations, ListKeyRotationsRequest(parent=_parent(tenant), page_token=page_token)))


@app.command()
def move(
    tenant: Annotated[str, typer.Argument(help="Tenant id.", show_default=False)],
    root_key: Annotated[str, typer.Argument(help="Name of the root key in the configuration; the vault's own unless told.")] = "",
) -> None:
    """Wrap a tenant's keys under another root key: its own, or the vault's."""
    with reported(), vault() as client:
        show(client.call(client.operations.MoveTenantKeys, MoveTenantKeysRequest(name=_parent(tenant), root_key=root_key)))


@app.command()
def forget(tenant: Annotated[str, typer.Argument(help="Tenant id.", show_default=False)]) -> None:
    """Have every replica unwrap a tenant's keys anew on its next read: a root key that was revoked is felt at once."""
    with reported(), vault() as client:
        show(client.call(client.operations.DropCachedKeys, DropCachedKeysRequest(name=_parent(tenant))))


@app.command()
def verify(config: ConfigFile = Path("vault.yaml")) -> None:
    """Prove that every tenant key unwraps and a sample opens, and print no key and no value. Exit code 1 if not."""
    from vault.operations.verify_keys import verify_keys  # noqa: PLC0415

    async def look(opened: "Vault") -> list[dict[str, Any]]:
        return [
            {
                "tenant": found.tenant,
                "root_key": found.root_key,
                "keys": found.keys,
                "parts_opened": found.opened,
                "problems": list(found.problems),
                "worn_keys": found.worn,
            }
            async for found in verify_keys(opened)
        ]

    with reported():
        tenants = _with_vault(config, look)
        sound = not any(found["problems"] for found in tenants)
        show({"sound": sound, "tenants": tenants})
    if not sound:
        raise typer.Exit(1)


@app.command("move-subject-keys")
def move_subject_keys(config: ConfigFile = Path("vault.yaml")) -> None:
    """Move subject keys to the database of keys_url; no vault may be serving meanwhile."""
    from vault import server  # noqa: PLC0415
    from vault.operations.move_keys import move_subject_keys as moving  # noqa: PLC0415
    from vault.store.database import Database  # noqa: PLC0415

    async def work(settings: "Settings") -> int:
        if settings.keys_url is None:
            raise FailedPreconditionError("CONFIG_INVALID", "keys_url: there is no database to move subject keys to")
        # A SQLite file that is being served is refused here; of a PostgreSQL only its operator knows whether anybody serves it.
        lock = server.single_process(settings)
        source = Database(settings.database_url.get_secret_value())
        target = Database(settings.keys_url.get_secret_value(), of_keys=True)
        try:
            return await moving(source, target)
        finally:
            await source.close()
            await target.close()
            if lock is not None:
                lock.close()

    with reported():
        show({"moved": asyncio.run(work(_settings(config)))})


@app.command("new-root-key")
def new_root_key(file: KeyFile, passphrase_file: PassphraseFile = None) -> None:
    """Make a root key file."""
    from vault.keys import local  # noqa: PLC0415

    with reported():
        local.create(file, passphrase=_passphrase(passphrase_file))
        show({"written": str(file)})


@app.command("add-root-key-version")
def add_root_key_version(
    root_key: Annotated[str, typer.Argument(help="Root key file, or pkcs11: URI of a token.", show_default=False)],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Add a version to a root key; a running vault wraps under it at once, `rotate root` wraps the rest anew."""
    with reported():
        if root_key.startswith("pkcs11:"):
            from vault.keys import pkcs11  # noqa: PLC0415

            version = pkcs11.create_root_key(root_key)
        else:
            from vault.keys import local  # noqa: PLC0415

            version = local.add_version(Path(root_key), passphrase=_passphrase(passphrase_file))
        show({"version": version})


@app.command("new-signing-key")
def new_signing_key(config: ConfigFile = Path("vault.yaml")) -> None:
    """Put a new signing key in place of the one in use, which is kept beside it as .old until `rotate signing` was done."""
    with reported():
        _replace_signing_key(_settings(config).signing_key)
        say("next: pii-vault keys rotate signing, then destroy the .old file")
        show({"replaced": True})


@app.command("split")
def split(
    file: KeyFile,
    recovery: Annotated[Path, typer.Option(help="Recovery file to write: the root key file, sealed.", show_default=False)],
    shares_folder: Annotated[Path, typer.Option(help="Empty folder to write the shares to, one file each.", show_default=False)],
    threshold: Annotated[int, typer.Option(help="Shares that recover.")] = 3,
    shares: Annotated[int, typer.Option(help="Shares to make.")] = 5,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a recovery copy of a root key file, sealed under a key that is split among several people (SLIP-39 words)."""
    from vault.keys import recovery as recovering  # noqa: PLC0415

    with reported():
        if shares_folder.exists() and any(shares_folder.iterdir()):
            raise InvalidArgumentError("FIELD_INVALID", "the folder of the shares is not empty", field="shares_folder")
        sealed, mnemonics = recovering.split(file, threshold, shares, passphrase=_passphrase(passphrase_file))
        # First, so that a recovery file that is there already leaves no shares behind that open nothing.
        _write_new(recovery, sealed)
        shares_folder.mkdir(mode=0o700, exist_ok=True)
        for number, mnemonic in enumerate(mnemonics, start=1):
            _write_new(shares_folder / f"share-{number}.txt", mnemonic.encode() + b"\n")
        say("next: copy each share to paper for another person, then destroy the files of the shares")
        show({"written": str(recovery), "shares": len(mnemonics), "threshold": threshold})


@app.command("recover")
def recover(
    recovery: Annotated[Path, typer.Argument(help="Recovery file.", exists=True, dir_okay=False)],
    share: Annotated[list[Path], typer.Option("--share", help="File with one share; repeatable.", exists=True, dir_okay=False)],
    output: NotExisting,
) -> None:
    """Restore a root key file from its recovery copy and enough shares."""
    from vault.keys import recovery as recovering  # noqa: PLC0415

    with reported():
        mnemonics = [path.read_text(encoding="utf-8").strip() for path in share]
        _write_new(output, recovering.restore(recovery.read_bytes(), mnemonics))
        show({"written": str(output)})


@app.command("check-provider")
def check_provider(uri: Annotated[str, typer.Argument(help="URI of a root key, as in keys_uri.", show_default=False)]) -> None:
    """Run the conformance suite against a root key: what every provider must do. Exit code 1 if it does not."""
    from vault.keys import conformance  # noqa: PLC0415
    from vault.keys.open import open_provider  # noqa: PLC0415

    with reported():
        findings = asyncio.run(conformance.check(open_provider(uri)))
        sound = all(finding.passed for finding in findings)
        show({"sound": sound, "rules": [{"rule": f.rule, "passed": f.passed, "detail": f.detail} for f in findings]})
    if not sound:
        raise typer.Exit(1)


def _with_vault(config: Path, work: "Callable[[Vault], Coroutine[Any, Any, list[dict[str, Any]]]]") -> list[dict[str, Any]]:
    from vault import server  # noqa: PLC0415

    async def run() -> list[dict[str, Any]]:
        opened, _ = await server.open_vault(_settings(config))
        try:
            return await work(opened)
        finally:
            await server.close_vault(opened)

    return asyncio.run(run())


def _settings(config: Path) -> "Settings":
    from vault import config as configuration  # noqa: PLC0415

    return configuration.load(config)


def _passphrase(file: Path | None) -> bytes | None:
    from vault.keys import local  # noqa: PLC0415

    return None if file is None else local.read_passphrase(file)


def _replace_signing_key(path: Path) -> None:
    """First the copy of the old key, then the new one in its place: at any moment the one in use is there, and can hand over."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        _write_new(path.with_name(path.name + ".old"), path.read_bytes())
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        _write_new(fresh, pem)
        fresh.replace(path)
    except OSError:
        raise FailedPreconditionError("CONFIG_INVALID", "signing_key cannot be replaced") from None


def _write_new(path: Path, content: bytes) -> None:
    from vault.keys import local  # noqa: PLC0415

    try:
        local.write_new(path, content)
    except FileExistsError:
        raise FailedPreconditionError("FILE_EXISTS", "the file to write exists; it was not touched") from None


def _parent(tenant: str) -> str:
    return tenant if tenant == "system" else f"tenants/{tenant}"
