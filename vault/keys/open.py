"""From a URI to a provider: its scheme is the name of an entry point, so that a provider may come from another distribution.

An entry point of the group `pii_vault.key_providers` names a function `open_uri(uri: str) -> RootKeyProvider`.
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import cast
from urllib.parse import urlsplit

from vault.errors import FailedPreconditionError
from vault.keys.provider import RootKeyProvider

GROUP = "pii_vault.key_providers"
# Which extra brings a module that a provider of ours imports.
_EXTRAS = {"hvac": "openbao", "requests": "openbao", "pkcs11": "pkcs11", "boto3": "aws", "botocore": "aws"}


def open_provider(uri: str) -> RootKeyProvider:
    """The provider that a URI names, e.g. `local:/path/to/root.key`.

    Raises:
        FailedPreconditionError: KEYS_URI_UNKNOWN; KEYS_PROVIDER_MISSING, an extra is not installed; whatever the provider finds wrong.
        KeyUnavailableError: KEYS_UNAVAILABLE.
    """
    try:
        scheme = urlsplit(uri).scheme
    except ValueError:
        scheme = ""
    found = entry_points(group=GROUP)
    named = {point.value: point for point in found if point.name == scheme}
    if not named:
        known = ", ".join(sorted({point.name for point in found}))
        raise FailedPreconditionError("KEYS_URI_UNKNOWN", f"the root key is named by a URI whose scheme is one of: {known}")
    if len(named) > 1:
        # Whichever were taken, an installed package could put itself in the place of another one's provider.
        raise FailedPreconditionError("KEYS_URI_UNKNOWN", f"more than one installed package provides root keys of scheme '{scheme}'")
    [point] = named.values()
    try:
        open_uri = cast("Callable[[str], RootKeyProvider]", point.load())
    except ImportError as error:
        raise FailedPreconditionError("KEYS_PROVIDER_MISSING", _missing(scheme, error.name or "")) from None
    except AttributeError:
        raise FailedPreconditionError("KEYS_PROVIDER_MISSING", f"the provider for root keys of scheme '{scheme}' is incomplete") from None
    return open_uri(uri)


def _missing(scheme: str, module: str) -> str:
    extra = _EXTRAS.get(module.partition(".")[0])
    if extra is None:
        return f"the provider for root keys of scheme '{scheme}' cannot be loaded: module '{module}' is missing or broken"
    return f"root keys of scheme '{scheme}' need an extra that is not installed: pii-vault[{extra}]"
