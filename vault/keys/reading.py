"""What providers read: the parameters of their URIs, and files that hold a secret.

A URI names secrets by the files they are in, never by value: URIs end up in configuration files, logs and lists of processes.
"""

import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from vault.errors import FailedPreconditionError, KeyUnavailableError

# Ours are a few hundred bytes; whoever names a device or a log by mistake gets an answer, not a full memory.
_MAX_BYTES = 64 << 10
_FOR_OTHERS = 0o077


def split(uri: str, *, form: str) -> SplitResult:
    """The parts of a URI that has no fragment and no credentials.

    Args:
        uri: as it was configured.
        form: what it should look like, for the message.
    Raises:
        FailedPreconditionError: KEYS_URI_UNKNOWN.
    """
    try:
        parts = urlsplit(uri)
        # Reading the port is what checks it.
        sound = not parts.fragment and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise FailedPreconditionError("KEYS_URI_UNKNOWN", f"the root key is named by a URI of the form {form}")
    return parts


def parameters(query: str, *, known: Collection[str]) -> Mapping[str, str]:
    """The parameters of a URI's query, percent-decoded; a `+` is a plus.

    Raises:
        FailedPreconditionError: KEYS_URI_UNKNOWN, one is unknown, empty or there twice.
    """
    found: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        if name not in known:
            raise FailedPreconditionError(
                "KEYS_URI_UNKNOWN", f"the URI of this root key may have the parameters {', '.join(sorted(known))}"
            )
        if not value or name in found:
            raise FailedPreconditionError("KEYS_URI_UNKNOWN", f"parameter '{name}' of the root key's URI is empty or there twice")
        found[name] = unquote(value)
    return found


def read_secret(path: Path, what: str, *, for_owner_only: bool = True) -> bytes:
    """A secret from its file, without the line end behind it. Read anew each time, so that a replaced file is picked up.

    Args:
        path: the file.
        what: the secret's name in messages.
        for_owner_only: refuse a file that others may read or write.
    Raises:
        KeyUnavailableError: KEYS_UNAVAILABLE, it cannot be read, is open to others or empty.
    """
    try:
        with path.open("rb") as file:
            # Of the opened file: its name may be another file's a moment later.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError):
        raise KeyUnavailableError(f"the file with {what} cannot be read") from None
    if for_owner_only and mode & _FOR_OTHERS:
        raise KeyUnavailableError(f"the file with {what} may be read by others, make it mode 0600")
    if len(content) > _MAX_BYTES:
        raise KeyUnavailableError(f"the file with {what} is too large")
    secret = content.removesuffix(b"\n").removesuffix(b"\r")
    if not secret:
        raise KeyUnavailableError(f"the file with {what} is empty")
    return secret
