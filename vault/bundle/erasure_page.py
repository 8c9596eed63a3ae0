"""The pages of an erasure certificate (policy §6.5), Hebrew or English: made of the signed note and nothing else.

Rules:
- Every member of the certificate is shown: what this version does not know, or finds in another shape, stands in a plain table at the end.
- The note itself is attached, so that the PDF carries its own proof; the pages prove nothing.
- No identifier in clear: one that is not masked is refused.

Not here: whether the signature holds (`vault/audit/certificate.py`), and the closed texts (`erasure_words.py`).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from vault.bundle import erasure_words as words
from vault.bundle.page import Attachment, Block, Document, Heading, Paragraph, Rows, Table, isolated, render
from vault.catalogue.fields import Description
from vault.catalogue.model import Catalogue
from vault.catalogue.words import Language
from vault.errors import DataLossError
from vault.scan import find_contact

ATTACHMENT = "erasure-certificate.note"
_MASK = "•"
_REQUEST = (
    "certificate_no", "supplement", "supplements", "issuer", "operator", "erasure", "identifier", "subject",
    "requester_kind", "request_time", "finish_time", "next_time", "approvers", "policy_version",
)  # fmt: skip
_ELSEWHERE = ("caches_verified_time", "backups_expire_time", "suppression", "not_reachable")
_COUNTS = ("found", "erased", "tokenised", "restricted", "forwarded")
_EPOCH = datetime.fromtimestamp(0, UTC)


def render_certificate(note: str, language: Language, catalogue: Catalogue) -> bytes:
    """The pages of a certificate, with the certificate attached.

    Args:
        note: the signed note; its signature is not looked at here.
        language: of headings and closed texts; values stand as they are signed.
        catalogue: gives the categories their titles.
    Returns:
        The PDF; the same bytes for the same note, language and catalogue.
    Raises:
        DataLossError: CERTIFICATE_INVALID, the note's body is no JSON object; IDENTIFIER_NOT_MASKED.
    """
    try:
        said: object = json.loads(note.rpartition("\n\n")[0])
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise DataLossError("CERTIFICATE_INVALID", "the note is not an erasure certificate")
    return render(certificate_document(said, note, language, catalogue))


def language_of(pdf: bytes, note: str, catalogue: Catalogue) -> Language | None:
    """The language in which a PDF is what this version makes of a note, byte for byte; None if it is not.

    None is no proof of tampering: another version sets its pages otherwise.
    """
    return next((language for language in Language if render_certificate(note, language, catalogue) == pdf), None)


def certificate_document(said: Mapping[str, object], note: str, language: Language, catalogue: Catalogue) -> Document:
    """What a certificate says as blocks, in the order in which a person asks.

    Raises:
        DataLossError: IDENTIFIER_NOT_MASKED.
    """
    identifier = str(said.get("identifier") or "")
    if identifier and (_MASK not in identifier or find_contact(identifier) == "phone"):
        raise DataLossError("IDENTIFIER_NOT_MASKED", "the certificate names an identifier in clear")
    number = str(said.get("certificate_no") or said.get("erasure") or "")
    page = _Page(said, language, catalogue)
    return Document(
        title=page.label("title"),
        language=language,
        created=_instant(said.get("finish_time")) or _EPOCH,
        footer=f"{page.label('title')} {isolated(number)}",
        blocks=[*page.blocks(), *page.proof(note)],
        attachment=Attachment(ATTACHMENT, note, "The signed certificate that these pages are a rendering of"),
    )


class _Members:
    """Members of one JSON object; taking one removes it, and what is left at the end is shown as it stands."""

    def __init__(self, members: Mapping[str, object]) -> None:
        self._left = dict(members)
        self._parts: dict[str, _Members] = {}

    def text(self, name: str) -> str:
        """A text or a number; empty if there is none."""
        value = self._left.get(name)
        return str(self._left.pop(name)) if isinstance(value, str) or _is_number(value) else ""

    def count(self, name: str) -> int | None:
        """A number; None if there is none."""
        return int(self.text(name)) if _is_number(self._left.get(name)) else None

    def texts(self, name: str) -> list[str]:
        """One text or several."""
        value = self._left.get(name)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return [str(item) for item in self._pop(name)]
        return [text] if (text := self.text(name)) else []

    def objects(self, name: str) -> "list[_Members]":
        """Each object of a list."""
        value = self._left.get(name)
        if isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
            return [self._part(f"{name}[{place}]", item) for place, item in enumerate(self._pop(name))]
        return []

    def inner(self, name: str) -> "_Members | None":
        """The object of that name; None if there is none."""
        return self._part(name, self._left.pop(name)) if isinstance(self._left.get(name), Mapping) else None

    def rest(self) -> Iterator[tuple[str, str]]:
        """Path and JSON of what nobody took."""
        for name, value in self._left.items():
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        for place, part in self._parts.items():
            yield from ((f"{place}.{name}", value) for name, value in part.rest())

    def _pop(self, name: str) -> list[object]:
        value = self._left.pop(name)
        return list(value) if isinstance(value, list) else []

    def _part(self, place: str, members: object) -> "_Members":
        self._parts[place] = _Members(members if isinstance(members, Mapping) else {})
        return self._parts[place]


class _Page:
    """One rendering."""

    def __init__(self, said: Mapping[str, object], language: Language, catalogue: Catalogue) -> None:
        self._said = _Members(said)
        self._language = language
        self._catalogue = catalogue

    def label(self, name: str) -> str:
        return self._of(words.LABELS[name])

    def blocks(self) -> Iterator[Block]:
        """Everything that the certificate says."""
        state = self._said.text("state")
        yield Paragraph(self._word(words.STATES, state))
        self._said.text("format")  # the attachment's own mark; people need none
        yield from self._section("request", list(self._rows(_REQUEST)))
        yield from self._outcomes()
        yield from self._methods()
        yield from self._section("reach", list(self._rows(_ELSEWHERE)))
        yield from self._notifications()
        if audit := self._said.inner("audit"):
            yield from self._section("audit", [(self.label(name), isolated(audit.text(name))) for name in ("log", "index", "size", "root")])
        yield from self._section("further", [(isolated(path), isolated(value)) for path, value in self._said.rest()])

    def proof(self, note: str) -> Iterator[Block]:
        """What is signed, by whom, and how to check it."""
        rendering, command, scope = (self._of(text) for text in words.PROOF)
        signers = [line.removeprefix("— ").split(" ")[0] for line in note.rpartition("\n\n")[2].splitlines()]
        yield Heading(self.label("proof"))
        yield Paragraph(f"{rendering} {isolated(ATTACHMENT)}.")
        yield Paragraph(f"{command} {isolated('pii-vault erase verify FILE.pdf --key KEY')}")
        yield Paragraph(scope)
        yield Rows(
            [
                (self.label("signatures"), ", ".join(isolated(name) for name in signers)),
                (self.label("sha256"), isolated(hashlib.sha256(note.encode()).hexdigest())),
            ]
        )

    def _rows(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Label and value of each member that is there and not empty."""
        closed = {"requester_kind": words.REQUESTERS, "suppression": words.SUPPRESSION, "not_reachable": words.NOT_REACHABLE}
        for name in names:
            if texts := [text for text in self._said.texts(name) if text]:
                yield self.label(name), ", ".join(self._word(closed.get(name, {}), _readable(text)) for text in texts)

    def _outcomes(self) -> Iterator[Block]:
        """Counts by category; then what is kept and why, and what was passed on to whom."""
        outcomes, kept, passed_on = [], [], []
        total: dict[str, int | None] = dict.fromkeys(_COUNTS)
        for outcome in self._said.objects("outcomes"):
            category = self._category(outcome.text("category"))
            counts = {name: outcome.count(name) for name in _COUNTS}
            counts["restricted"] = counts["restricted"] or 0  # no restriction listed is none
            for restriction in outcome.objects("restricted"):
                count = restriction.count("count")
                counts["restricted"] = _sum(counts["restricted"], count)
                kept.append([category, self._word(words.BASES, restriction.text("basis")), _shown(count), self._end(restriction)])
            if controller := outcome.text("controller"):
                passed_on.append([category, _shown(counts["forwarded"]), isolated(controller)])
            outcomes.append([category, *(_shown(counts[name]) for name in _COUNTS)])
            total = {name: _sum(total[name], counts[name]) for name in _COUNTS}
        if outcomes:
            outcomes.append([self.label("total"), *(_shown(count) for count in total.values())])
        yield from self._table("outcomes", (8, 3, 3, 4, 3, 4), ("category", *_COUNTS), outcomes)
        yield from self._table("kept", (8, 9, 3, 7), ("category", "basis", "count", "end"), kept)
        yield from self._table("passed_on", (8, 3, 12), ("category", "count", "controller"), passed_on)

    def _methods(self) -> Iterator[Block]:
        rows = [[self._word(words.METHODS, name), isolated("")] for name in self._said.texts("methods")]
        for method in self._said.objects("methods"):
            keys = ", ".join(isolated(key) for key in method.texts("key_ids"))
            rows.append([self._word(words.METHODS, method.text("method")), keys or isolated("")])
        yield from self._table("methods", (3, 2), ("method", "key_ids"), rows)

    def _notifications(self) -> Iterator[Block]:
        rows = [
            [isolated(one.text("recipient")), self._word(words.NOTIFICATION_STATES, one.text("state")), _shown(one.count("count"))]
            for one in self._said.objects("notifications")
        ]
        yield from self._table("notifications", (10, 6, 3), ("recipient", "state", "count"), rows)

    def _section(self, heading: str, rows: Sequence[tuple[str, str]]) -> Iterator[Block]:
        if rows:
            yield Heading(self.label(heading))
            yield Rows(rows)

    def _table(self, heading: str, widths: Sequence[int], head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Block]:
        if rows:
            yield Heading(self.label(heading))
            yield Table(widths, [self.label(name) for name in head], rows)

    def _end(self, restriction: _Members) -> str:
        """When a restriction ends, or is looked at again."""
        ends = [(name, restriction.text(name)) for name in ("until", "review")]
        return ", ".join(f"{self.label(name)} {isolated(_readable(text))}" for name, text in ends if text) or isolated("")

    def _category(self, name: str) -> str:
        category = self._catalogue.categories.get(name)
        return f"{self._of(category.title)} ({isolated(name)})" if category else isolated(name)

    def _word(self, table: Mapping[str, Description], value: str) -> str:
        known = table.get(value.upper().replace("-", "_"))
        return self._of(known) if known else isolated(value)

    def _of(self, text: Description) -> str:
        return text.he if self._language is Language.HE else text.en


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _sum(one: int | None, other: int | None) -> int | None:
    """The sum of the counts that are there."""
    return other if one is None else one + (other or 0)


def _shown(count: int | None) -> str:
    return isolated("" if count is None else str(count))


def _instant(text: object) -> datetime | None:
    """The instant of an RFC 3339 text; None if it is none."""
    try:
        instant = datetime.fromisoformat(str(text))
        return instant.astimezone(UTC) if instant.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _readable(text: str) -> str:
    """An instant to the second, as people write it; anything else as it is."""
    instant = _instant(text)
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC") if instant else text
