"""The one error type of the vault, and its leaves.

Rules:
- Every error carries a stable, machine-readable `reason` (`ErrorInfo.reason` on the wire); callers branch on it.
- The class says which kind of failure it is; `rpc/status.py` turns the kind into a gRPC code, once, at the edge.
- No message, reason or metadata ever contains a personal value: field names, limits and opaque ids only.
- Foreign exceptions stop at the module that called the library: `raise CiphertextInvalid(...) from None`.

Imports nothing of the project.
"""

from datetime import timedelta


class VaultError(Exception):
    """Base of everything the vault refuses or fails with.

    Args:
        reason: stable upper-snake-case word, at most 63 characters (AIP-193).
        message: lower case, no final period, names the thing and the rule, never the value.
        field: path of the offending request field, e.g. `justification.reason`; becomes a `BadRequest` detail.
        retry_after: how long a caller should wait; becomes a `RetryInfo` detail.
        metadata: further opaque facts for machines, e.g. `limit="1000"`.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str | None = None,
        retry_after: timedelta | None = None,
        **metadata: str,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.metadata = metadata
        # Log and index of the entry that recorded this refusal, once one did: nothing is recorded twice.
        self.receipt: tuple[str, int] | None = None

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class UnauthenticatedError(VaultError):
    """Who calls is not established."""


class PermissionDeniedError(VaultError):
    """Who calls is known and may not do this."""


class InvalidArgumentError(VaultError):
    """The request is wrong whatever the state of the vault."""


class NotFoundError(VaultError):
    """No such resource in this tenant; another tenant's resource answers the same (I11)."""


class FailedPreconditionError(VaultError):
    """The caller must change some state first."""


class AbortedError(VaultError):
    """A read-modify-write met a newer state: read again, then retry."""


class AlreadyExistsError(VaultError):
    """The resource to be created is there already."""


class ResourceExhaustedError(VaultError):
    """A documented limit, budget or rate is used up."""


class UnavailableError(VaultError):
    """A dependency cannot be reached; the same call may succeed later."""


class DataLossError(VaultError):
    """Stored data failed authentication."""


class CiphertextInvalidError(DataLossError):
    """A ciphertext does not open in the place it was found (I3). Never garbage, never a hint at the content."""

    def __init__(self, message: str = "ciphertext failed authentication", **metadata: str) -> None:
        super().__init__("CIPHERTEXT_INVALID", message, field=None, retry_after=None, **metadata)


class KeyUnavailableError(UnavailableError):
    """The key service cannot be reached and no cached key is left."""

    def __init__(self, message: str = "key service unreachable", **metadata: str) -> None:
        super().__init__("KEYS_UNAVAILABLE", message, retry_after=timedelta(seconds=1), **metadata)
