"""Writes `crypto_1.json`: what format 1 of `vault.crypto` makes of known keys, addresses and values. Run once, when the format was fixed.

    python -m tests.vectors.make_crypto_1 > tests/vectors/crypto_1.json

The nonces are random, so another run writes another file. Do not run it to make a test pass: what was stored under format 1 must open for ever,
and the committed file stands for what was stored. A new format gets a file of its own.
"""

import json
import sys

from vault import crypto
from vault.crypto import DataKey, Place

TENANT, SUBJECT, RECORD = "acme", "aaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbb"
FIELDS = {"phone": b"+972501234567", "first_name": "נועה".encode(), "body": bytes(range(256)), "note": b""}
IDENTIFIERS = [
    ("acme", "phone", "+972501234567"),
    ("globex", "phone", "+972501234567"),
    ("acme", "virtual-number", "+972501234567"),
    ("acme", "company-name", "כהן ובניו"),
]


def key(version: int, first: int) -> DataKey:
    """A key that is easy to write down: consecutive bytes."""
    return DataKey(version, bytes(range(first, first + 32)))


def vectors() -> dict[str, object]:
    """One of everything that `vault.crypto` makes."""
    subject_key, tenant_key, text_key, root = key(3, 0), key(2, 32), key(258, 64), bytes(range(96, 128))
    place, reason = Place(TENANT, SUBJECT, RECORD), "הלקוח ביקש לבדוק תקלה".encode()
    return {
        "place": {"tenant": TENANT, "subject": SUBJECT, "record": RECORD},
        "subject_key": written(subject_key),
        "tenant_key": written(tenant_key),
        "text_key": written(text_key),
        "part": {
            "fields": {name: value.hex() for name, value in FIELDS.items()},
            "sealed": crypto.seal_fields(FIELDS, under=subject_key, at=place).hex(),
        },
        "part_without_fields": {"fields": {}, "sealed": crypto.seal_fields({}, under=subject_key, at=place).hex()},
        "wrapped": crypto.wrap_subject_key(subject_key, under=tenant_key, tenant=TENANT, subject=SUBJECT).hex(),
        "text": {
            "purpose": "audit-text",
            "place": "0af7651916cd43dd8448eb211c80319c",
            "plain": reason.hex(),
            "sealed": crypto.seal_text(
                reason, under=text_key, purpose="audit-text", tenant=TENANT, place="0af7651916cd43dd8448eb211c80319c"
            ).hex(),
        },
        "index_root": root.hex(),
        "index": [
            {
                "tenant": tenant,
                "kind": kind,
                "value": value,
                "key": (index_key := crypto.derive_index_key(root, tenant=tenant, kind=kind)).hex(),
                "token": crypto.index_token(index_key, value).hex(),
            }
            for tenant, kind, value in IDENTIFIERS
        ],
        "digest": {"key": root.hex(), "content": bytes(range(256)).hex(), "digest": crypto.keyed_digest(root, bytes(range(256))).hex()},
    }


def written(value: DataKey) -> dict[str, object]:
    """A key in full: these guard nothing."""
    return {"version": value.version, "material": value.material.hex()}


if __name__ == "__main__":
    json.dump(vectors(), sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")
