"""A trusted time for a published note: RFC 3161, asked of an authority that is nobody's of us.

The token is published beside the note as `<name>.tsr`; `openssl ts -verify -data NOTE -in TOKEN -CAfile …` checks it. Until it is there the note
holds all the same: what the token adds is that the operator cannot have signed it later.
"""

import asyncio
import urllib.request
from datetime import timedelta

from rfc3161_client import HashAlgorithm, PKIStatus, TimestampRequestBuilder, decode_timestamp_response

from vault.errors import UnavailableError

_TIMEOUT = timedelta(seconds=10)
_MAX_BYTES = 1 << 16


async def timestamp(content: bytes, *, url: str) -> bytes:
    """The authority's answer, DER, if it granted a time for exactly these bytes.

    Raises:
        UnavailableError: TIMESTAMP_UNAVAILABLE.
    """
    request = (
        TimestampRequestBuilder()
        .data(content)
        .hash_algorithm(HashAlgorithm.SHA256)
        .nonce(nonce=True)
        .cert_request(cert_request=True)
        .build()
    )
    try:
        answer = await asyncio.to_thread(_ask, url, request.as_bytes())
        response = decode_timestamp_response(answer)
        granted = response.status in {PKIStatus.GRANTED, PKIStatus.GRANTED_WITH_MODS}
        token = response.tst_info
        ours = granted and token.nonce == request.nonce and token.message_imprint.message == request.message_imprint.message
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise UnavailableError("TIMESTAMP_UNAVAILABLE", "the time-stamping authority does not answer, or refuses")
    return answer


def _ask(url: str, body: bytes) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/timestamp-query"})  # noqa: S310 - the configuration checks the scheme
    with urllib.request.urlopen(request, timeout=_TIMEOUT.total_seconds()) as answer:  # noqa: S310
        return bytes(answer.read(_MAX_BYTES))
