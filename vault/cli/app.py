"""The command itself: its groups, and what is common to them."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

# gRPC's core writes lines of its own to standard error, between our JSON, and a stranger at the port can make it write many. It looks here when
# it is imported, which is why this stands in front.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from vault.cli import (
    access,
    asking,
    auditing,
    ending,
    erasing,
    evidence,
    importing,
    keys,
    operations,
    orders,
    policy,
    probing,
    proving,
    records,
    rights,
    running,
    tenants,
    verifying,
    witnessing,
)
from vault.cli.session import SESSION, reported
from vault.errors import InvalidArgumentError

app = typer.Typer(
    name="pii-vault",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with local variables would show values
    add_completion=False,
    help="Personal data, encrypted per tenant and per person, released only with a durably logged reason.",
    epilog="--json, anywhere, answers in JSON.",
)
tenants.app.add_typer(ending.app)
app.add_typer(tenants.app, name="tenant")
app.add_typer(records.subject_app, name="subject")
app.add_typer(records.record_app, name="record")
app.add_typer(erasing.app, name="erase")
app.add_typer(rights.app, name="rights")
app.add_typer(orders.app, name="order")
app.add_typer(access.app, name="access")
app.add_typer(auditing.app, name="audit")
for command in (
    *(asking.find, asking.accesses, evidence.evidence),
    *(proving.prove, proving.check),
    *(verifying.verify_database, verifying.prune, verifying.privileges),
    witnessing.witness,
):
    auditing.app.command()(command)
app.add_typer(keys.app, name="keys")
app.add_typer(operations.app, name="operations")
app.add_typer(policy.app, name="policy")
app.add_typer(running.config_app, name="config")
app.add_typer(running.development_app, name="dev")
app.command()(running.init)
app.command()(running.serve)
app.command()(running.migrate)
app.command()(probing.health)
app.command()(probing.doctor)
app.command()(records.put)
app.command()(records.find)
app.command()(records.reveal)
app.command()(records.resolve)
app.command("import")(importing.import_file)


@app.callback()
def _options(
    client: Annotated[
        Path | None,
        typer.Option("--client", "-c", envvar="PII_VAULT_CLIENT", help="Folder with address, certificates and token of the caller."),
    ] = None,
) -> None:
    SESSION.client = client


def main() -> None:
    """Run the command; refusals are told on standard error and end with exit code 1."""
    SESSION.json = "--json" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    try:
        with reported():
            if not all(_is_text(argument) for argument in arguments):
                raise InvalidArgumentError("FIELD_INVALID", "an argument is not text in the encoding of this terminal")
            app(args=arguments)
    except typer.Exit as end:  # outside a command, nobody else turns it into an exit code
        sys.exit(end.exit_code)


def _is_text(argument: str) -> bool:
    """Whether it can be sent: bytes that are no text arrive as lone surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
