"""From a URI to a provider."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from vault.errors import FailedPreconditionError
from vault.keys.local import LocalRootKey
from vault.keys.provider import RootKeyProvider


def open_provider(uri: str) -> RootKeyProvider:
    """The provider that a URI names: `local:/path/to/root.key`.

    Raises:
        FailedPreconditionError: KEYS_URI_UNKNOWN, ROOT_KEY_INVALID.
        KeyUnavailableError: KEYS_UNAVAILABLE.
    """
    parts = urlsplit(uri)
    if parts.scheme != "local" or parts.netloc or not parts.path:
        raise FailedPreconditionError("KEYS_URI_UNKNOWN", "the root key is named by a URI of the form local:/path")
    return LocalRootKey(Path(unquote(parts.path)))
