"""Programs that are not ours, from Debian packages: tests want them, the vault does not."""

import os
import shutil

import pytest


def installed(*names: str) -> None:
    """These programs are wanted: missing on a developer's machine skips, missing where everything is installed fails."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"not installed: {missing}")
    if missing:
        pytest.skip(f"not installed: {missing}")
