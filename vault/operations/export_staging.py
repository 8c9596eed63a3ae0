"""What was read for a package until the package is sealed: pieces of its files, sealed under a key of this export alone, and how far it is.

The key rests sealed under the tenant's legal key, in another table than the pieces. It is gone before they are, so that what a disk or a backup still
has of them opens nowhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from vault import crypto
from vault.bundle.content import Keeping
from vault.crypto import DataKey
from vault.names import ExportName
from vault.operations.export_rows import Opened, stored_within_a_day
from vault.operations.keyring import TenantKeys
from vault.store import exports as export_store
from vault.store.database import Connection
from vault.store.exports import SnapshotRow

_KEY, _PIECE = "export-staging-key", "export-piece"


@dataclass(frozen=True, slots=True)
class Counts:
    """What was read of one category.

    Attributes:
        exported: records in the package.
        withheld: records that are not, by reason.
        keeping: when they happened and were stored.
    """

    exported: int = 0
    withheld: Mapping[str, int] = field(default_factory=dict)
    keeping: Keeping = field(default_factory=Keeping)

    def with_page(self, opened: Opened) -> "Counts":
        """And of one page more."""
        withheld = {reason: self.withheld.get(reason, 0) + opened.withheld.get(reason, 0) for reason in {*self.withheld, *opened.withheld}}
        happened = [moment for moment, _ in opened.timed]
        kept = self.keeping
        return Counts(
            self.exported + len(opened.rows),
            withheld,
            Keeping(
                first=min((moment for moment in (kept.first, *happened) if moment), default=None),
                last=max((moment for moment in (kept.last, *happened) if moment), default=None),
                within_a_day=kept.within_a_day + stored_within_a_day(opened.timed),
                timed=kept.timed + len(opened.timed),
            ),
        )


NOTHING = Counts()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the snapshot was read; opaque ids and counts.

    Attributes:
        after: the last record that was read.
        sequence: number of the next piece of every file.
        counts: what was read, by category.
    """

    after: tuple[str, datetime, str] | None = None
    sequence: int = 0
    counts: Mapping[str, Counts] = field(default_factory=dict)

    def advanced(self, last: SnapshotRow, opened: Opened) -> "Progress":
        """After one page more."""
        counts = {**self.counts, last.category: self.of_category(last.category).with_page(opened)}
        return replace(self, after=(last.category, last.sort_time, last.record_id), sequence=self.sequence + 1, counts=counts)

    def of_category(self, category: str) -> Counts:
        """What was read of a category; nothing, perhaps."""
        return self.counts.get(category, NOTHING)

    def stored(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "after": [self.after[0], self.after[1].isoformat(), self.after[2]] if self.after else None,
            "sequence": self.sequence,
            "counts": {
                category: [
                    *(counts.exported, dict(counts.withheld)),
                    *(_text(counts.keeping.first), _text(counts.keeping.last), counts.keeping.within_a_day, counts.keeping.timed),
                ]
                for category, counts in self.counts.items()
            },
        }

    @staticmethod
    def of(stored: Mapping[str, Any]) -> "Progress":
        """From JSON."""
        after = stored["after"]
        return Progress(
            (after[0], datetime.fromisoformat(after[1]), after[2]) if after else None,
            stored["sequence"],
            {
                category: Counts(exported, withheld, Keeping(_moment(first), _moment(last), within_a_day, timed))
                for category, (exported, withheld, first, last, within_a_day, timed) in stored["counts"].items()
            },
        )


def seal_staging_key(keys: TenantKeys, export_id: str, material: bytes) -> bytes:
    """The key of an export's pieces as it is stored."""
    return crypto.seal_text(material, under=keys.newest("legal"), purpose=_KEY, tenant=keys.tenant, place=export_id)


def open_staging_key(keys: TenantKeys, export_id: str, sealed: bytes) -> DataKey:
    """The key of an export's pieces.

    Raises:
        CiphertextInvalidError: damaged, or another export's.
    """
    under = keys.version("legal", crypto.text_key_version(sealed))
    return DataKey(1, crypto.open_text(sealed, under=under, purpose=_KEY, tenant=keys.tenant, place=export_id))


async def stage(connection: Connection, export: ExportName, path: str, sequence: int, data: bytes, *, under: DataKey) -> None:
    """Keep a piece of a file."""
    sealed = crypto.seal_text(data, under=under, purpose=_PIECE, tenant=export.tenant, place=_place(export, path, sequence))
    await export_store.insert_piece(connection, export.tenant, export.export, path, sequence, sealed)


def open_piece(export: ExportName, path: str, sequence: int, sealed: bytes, *, under: DataKey) -> bytes:
    """A piece of a file.

    Raises:
        CiphertextInvalidError: damaged, or of another place.
    """
    return crypto.open_text(sealed, under=under, purpose=_PIECE, tenant=export.tenant, place=_place(export, path, sequence))


def _place(export: ExportName, path: str, sequence: int) -> str:
    return f"{export.export}/{path}/{sequence}"


def _text(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
