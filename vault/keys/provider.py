"""What the vault asks of a key service, and nothing more. A provider is one file beside this one."""

from typing import Protocol


class RootKeyProvider(Protocol):
    """Holds the root key and never lets it out: tenant keys go in to be wrapped and come back wrapped."""

    async def wrap(self, material: bytes, *, context: bytes) -> bytes:
        """Encrypt a tenant key.

        Args:
            material: 32 bytes.
            context: authenticated with the ciphertext; the same bytes are needed to unwrap.
        Raises:
            KeyUnavailableError: the key service cannot be reached.
        """

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """Decrypt a tenant key.

        Raises:
            CiphertextInvalidError: wrapped under another root key or for another context, or damaged.
            KeyUnavailableError: the key service cannot be reached.
        """

    def describe(self) -> str:
        """Where the root key is, for people: provider and key version, nothing secret."""

    async def health(self) -> None:
        """Return if the key service can wrap and unwrap.

        Raises:
            KeyUnavailableError: it cannot.
        """
