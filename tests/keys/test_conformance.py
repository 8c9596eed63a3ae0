"""Every provider holds every rule, and the suite notices one that does not."""

import secrets
from collections.abc import Callable

import pytest

from vault.errors import CiphertextInvalidError, KeyUnavailableError
from vault.keys.conformance import check
from vault.keys.provider import RootKeyProvider

# By the name of the fixture.
PROVIDERS = ["local_provider", "protected_provider", "openbao_provider", "softhsm_provider", "aws_provider"]
KEY = bytes(range(32))


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_provider_holds_every_rule(name: str, request: pytest.FixtureRequest) -> None:
    provider: RootKeyProvider = request.getfixturevalue(name)

    findings = await check(provider)

    assert [finding for finding in findings if not finding.passed] == []
    assert len(findings) == 10


@pytest.fixture
def sound(local_provider: RootKeyProvider) -> RootKeyProvider:
    """Holds every rule; what a broken provider falls back on."""
    return local_provider


class Broken:
    """A provider with one fault."""

    def __init__(self, sound: RootKeyProvider) -> None:
        self.sound = sound

    async def wrap(self, material: bytes, *, context: bytes) -> bytes:
        return await self.sound.wrap(material, context=context)

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        return await self.sound.unwrap(wrapped, context=context)

    def describe(self) -> str:
        return self.sound.describe()

    async def health(self) -> None:
        await self.sound.health()


class AnyContext(Broken):
    async def wrap(self, material: bytes, *, context: bytes) -> bytes:
        return await super().wrap(material, context=context[:0])

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        return await super().unwrap(wrapped, context=context[:0])


class AnyTail(Broken):
    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        return await super().unwrap(wrapped[:62], context=context)


class NoDamage(Broken):
    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        try:
            return await super().unwrap(wrapped, context=context)
        except CiphertextInvalidError:
            raise KeyUnavailableError from None


class Unauthenticated(Broken):
    """XOR: any bit may be flipped."""

    async def wrap(self, material: bytes, *, context: bytes) -> bytes:  # noqa: ARG002 - that is its fault
        pad = secrets.token_bytes(32)
        return pad + bytes(one ^ other for one, other in zip(material, pad, strict=True))

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:  # noqa: ARG002 - that is its fault
        return bytes(one ^ other for one, other in zip(wrapped[:32], wrapped[32:], strict=True))


class InClear(Broken):
    async def wrap(self, material: bytes, *, context: bytes) -> bytes:  # noqa: ARG002 - that is its fault
        return material

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:  # noqa: ARG002 - that is its fault
        return wrapped


class Remembers(Broken):
    """One buffer for all callers."""

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        await super().unwrap(wrapped, context=context)
        return KEY


class Talkative(Broken):
    def describe(self) -> str:
        return "openbao://host/mount/key?token_file=/token"


class Silent(Broken):
    def describe(self) -> str:
        return ""


class Ill(Broken):
    async def health(self) -> None:
        raise KeyUnavailableError


class Foreign(Broken):
    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:  # noqa: ARG002 - that is its fault
        raise ValueError(wrapped)


@pytest.mark.parametrize(
    ("broken", "rules"),
    [
        (AnyContext, {"another context is refused"}),
        (AnyTail, {"what is cut off, extended or empty is refused"}),
        (
            NoDamage,
            {
                "another context is refused",
                "every flipped bit is refused",
                "what is cut off, extended or empty is refused",
                "garbage is refused",
            },
        ),
        (Talkative, {"describe is one printable line without credentials"}),
        (Silent, {"describe is one printable line without credentials"}),
        (Ill, {"health returns"}),
        (Remembers, {"what was wrapped unwraps in its context", "many may call at once"}),
    ],
)
async def test_a_fault_is_found_where_it_is(
    broken: Callable[[RootKeyProvider], RootKeyProvider], rules: set[str], sound: RootKeyProvider
) -> None:
    findings = await check(broken(sound))

    assert {finding.rule for finding in findings if not finding.passed} == rules


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Unauthenticated, "every flipped bit is refused"),
        (InClear, "wrapping twice gives different bytes"),
        (InClear, "a wrapped key does not contain the material"),
        (Foreign, "garbage is refused"),
    ],
)
async def test_a_grave_fault_is_found(broken: Callable[[RootKeyProvider], RootKeyProvider], rule: str, sound: RootKeyProvider) -> None:
    findings = await check(broken(sound))

    assert rule in {finding.rule for finding in findings if not finding.passed}


async def test_an_error_of_somebody_else_is_named_and_not_repeated(sound: RootKeyProvider) -> None:
    """Its text may hold anything: here, a wrapped key."""
    details = [finding.detail for finding in await check(Foreign(sound)) if not finding.passed]

    assert set(details) == {"raises ValueError, which is not an error of the vault"}
