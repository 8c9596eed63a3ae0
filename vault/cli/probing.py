"""`pii-vault health` and `pii-vault doctor`: whether a vault is well, asked from outside, and what its configuration names, looked at from inside."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from vault.cli.session import SESSION, reported, say, show, vault

_MARKS: Mapping[str, str] = {"ok": "+", "warning": "!", "failed": "x"}


def health(
    service: Annotated[str, typer.Option(help="startup, liveness, readiness, or a service of the contract.")] = "readiness",
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 5.0,
) -> None:
    """Ask the standard health service; exit code 1 unless it says SERVING. For probes."""
    with reported(), vault() as client:
        serving = client.is_serving(service, timeout=timedelta(seconds=timeout))
        show({"service": service, "status": "SERVING" if serving else "NOT_SERVING"})
    if not serving:
        raise typer.Exit(1)


def doctor(
    config: Annotated[Path, typer.Option("--config", help="Configuration file.", envvar="PII_VAULT_CONFIG")] = Path("vault.yaml"),
) -> None:
    """Look at everything a configuration names, and say in plain words what is wrong. Exit code 1 if a start would fail. Changes nothing."""
    with reported():
        import asyncio  # noqa: PLC0415

        from vault import config as configuration  # noqa: PLC0415
        from vault import doctor as examination  # noqa: PLC0415

        findings = asyncio.run(examination.examine(configuration.load(config)))
        state = examination.worst(findings)
        if SESSION.json:
            show({"state": state, "findings": [asdict(finding) for finding in findings]})
        for finding in findings:
            say(f"{_MARKS[finding.state]} {finding.check}: {finding.words}")
    if state == "failed":
        raise typer.Exit(1)
