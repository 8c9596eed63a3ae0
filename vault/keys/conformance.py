"""What every root-key provider has to do, as checks that run against a real one. Needs no test framework.

    findings = await check(open_provider(uri))
    assert all(finding.passed for finding in findings), findings

Rules:
- Each rule is checked, whatever the ones before found, and answers with one `Finding`.
- It takes some hundred calls to the key service, and leaves nothing behind there.
- Material is random and made for the check; nothing of it, nor of a wrapped key, is in a finding.

Not here: what a provider does when its key service is down, sealed or slow. That takes a hand on the key service.
"""

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vault.errors import CiphertextInvalidError, KeyUnavailableError, VaultError
from vault.keys.provider import RootKeyProvider

_CONTEXT = b"conformance/data/1"
_CONTEXTS = (_CONTEXT, "הקשר".encode(), bytes(range(256)))
_OTHER_CONTEXTS = (b"", b"conformance/data/2", b"conformance/index/1", b"other/data/1", _CONTEXT + b" ", _CONTEXT[:-1], _CONTEXT.upper())
_KEY_BYTES = 32
_AT_ONCE = 16
# A wrapped key of our own providers is about 100 bytes; of a longer one evenly spread bits are tried.
_MAX_BITS = 800
_MAX_LENGTHS = 64
# A bit that names a key or its version may make a wrapped key one of a key that the service does not have. That can only be a small part of it.
_ELSEWHERE_PART = 8
_MAX_DESCRIPTION = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one rule.

    Attributes:
        rule: what a provider has to do.
        passed: whether this one does.
        detail: what it did instead; empty if it passed.
    """

    rule: str
    passed: bool
    detail: str = ""


class _BrokenError(Exception):
    """A rule does not hold; says what was seen."""


async def check(provider: RootKeyProvider) -> list[Finding]:
    """A finding for every rule."""
    return [await _finding(rule, holds, provider) for rule, holds in _RULES.items()]


async def _finding(rule: str, holds: Callable[[RootKeyProvider], Awaitable[None]], provider: RootKeyProvider) -> Finding:
    try:
        await holds(provider)
    except _BrokenError as broken:
        return Finding(rule, passed=False, detail=str(broken))
    except VaultError as error:
        return Finding(rule, passed=False, detail=str(error))
    except Exception as error:  # noqa: BLE001 - a provider is somebody else's code, and an error that is not the vault's is a finding
        # Its name only: who knows what its text holds.
        return Finding(rule, passed=False, detail=f"raises {type(error).__name__}, which is not an error of the vault")
    return Finding(rule, passed=True)


async def _round_trip(provider: RootKeyProvider) -> None:
    for context in _CONTEXTS:
        material = secrets.token_bytes(_KEY_BYTES)
        unwrapped = await provider.unwrap(await provider.wrap(material, context=context), context=context)
        if unwrapped != material:
            raise _BrokenError("another key came back")


async def _other_context(provider: RootKeyProvider) -> None:
    wrapped = await provider.wrap(secrets.token_bytes(_KEY_BYTES), context=_CONTEXT)
    for number, context in enumerate(_OTHER_CONTEXTS):
        await _refused(provider, wrapped, context, f"other context {number}")


async def _flipped_bits(provider: RootKeyProvider) -> None:
    wrapped = await provider.wrap(secrets.token_bytes(_KEY_BYTES), context=_CONTEXT)
    bits = len(wrapped) * 8
    # Odd, so that it is not the same bit of each byte.
    step = bits // _MAX_BITS | 1
    tried = elsewhere = 0
    for bit in range(0, bits, step):
        damaged = bytearray(wrapped)
        damaged[bit // 8] ^= 1 << bit % 8
        tried += 1
        try:
            await _refused(provider, bytes(damaged), _CONTEXT, f"bit {bit} of {bits}")
        except KeyUnavailableError:
            elsewhere += 1
    if elsewhere * _ELSEWHERE_PART > tried:
        raise _BrokenError(f"{elsewhere} of {tried} flipped bits pass for an unavailable key, not for damage")


async def _other_lengths(provider: RootKeyProvider) -> None:
    wrapped = await provider.wrap(secrets.token_bytes(_KEY_BYTES), context=_CONTEXT)
    lengths = range(0, len(wrapped), len(wrapped) // _MAX_LENGTHS + 1)
    for length in {*lengths, 1, len(wrapped) - 1}:
        await _refused(provider, wrapped[:length], _CONTEXT, f"{length} of {len(wrapped)} bytes")
    for name, damaged in {
        "a byte behind it": wrapped + b"\0",
        "a line end behind it": wrapped + b"\n",
        "a byte before it": b"\0" + wrapped,
        "itself behind it": wrapped + wrapped,
    }.items():
        await _refused(provider, damaged, _CONTEXT, f"a wrapped key with {name}")


async def _garbage(provider: RootKeyProvider) -> None:
    length = len(await provider.wrap(secrets.token_bytes(_KEY_BYTES), context=_CONTEXT))
    for name, garbage in {"zeros": bytes(length), "random bytes": secrets.token_bytes(length), "text": b"x" * length}.items():
        await _refused(provider, garbage, _CONTEXT, name)


async def _fresh(provider: RootKeyProvider) -> None:
    material = secrets.token_bytes(_KEY_BYTES)
    if await provider.wrap(material, context=_CONTEXT) == await provider.wrap(material, context=_CONTEXT):
        raise _BrokenError("the same bytes came twice")


async def _hidden(provider: RootKeyProvider) -> None:
    material = secrets.token_bytes(_KEY_BYTES)
    wrapped = await provider.wrap(material, context=_CONTEXT)
    if any(form in wrapped for form in (material, base64.b64encode(material)[:-2], material.hex().encode())):
        raise _BrokenError("the material is in it")


async def _at_once(provider: RootKeyProvider) -> None:
    async def one(number: int) -> bool:
        material, context = secrets.token_bytes(_KEY_BYTES), b"%s/%d" % (_CONTEXT, number)
        return await provider.unwrap(await provider.wrap(material, context=context), context=context) == material

    if not all(await asyncio.gather(*map(one, range(_AT_ONCE)))):
        raise _BrokenError("one caller got another's key")


async def _described(provider: RootKeyProvider) -> None:
    text = provider.describe()
    if not text.strip() or not text.isprintable() or len(text) > _MAX_DESCRIPTION:
        raise _BrokenError("it is empty, not one line, or long")
    if "?" in text or "@" in text:
        raise _BrokenError("it has the credentials or the parameters of a URI in it")


async def _healthy(provider: RootKeyProvider) -> None:
    await provider.health()


async def _refused(provider: RootKeyProvider, wrapped: bytes, context: bytes, what: str) -> None:
    """Return if a wrapped key is refused as damaged.

    Raises:
        KeyUnavailableError: it is refused otherwise.
    """
    try:
        await provider.unwrap(wrapped, context=context)
    except CiphertextInvalidError:
        return
    raise _BrokenError(f"{what} was unwrapped")


_RULES: dict[str, Callable[[RootKeyProvider], Awaitable[None]]] = {
    "health returns": _healthy,
    "describe is one printable line without credentials": _described,
    "what was wrapped unwraps in its context": _round_trip,
    "another context is refused": _other_context,
    "every flipped bit is refused": _flipped_bits,
    "what is cut off, extended or empty is refused": _other_lengths,
    "garbage is refused": _garbage,
    "wrapping twice gives different bytes": _fresh,
    "a wrapped key does not contain the material": _hidden,
    "many may call at once": _at_once,
}
