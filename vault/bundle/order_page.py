"""The pages of a court-order package, Hebrew and English: the cover, and the custodian's statement (Evidence Ordinance s.36, L24).

Rules:
- The same facts as the signed manifest, taken from the same values.
- The text of the pages is attached to each PDF, a line for a line: what the verifier reads where a person reads the page.
- Every count of the cover stands on a line `- <title> (<category>): <records>` of that text, in both languages.
- No target, no value of a record. Numbers, names and digests are isolated: without it they read backwards in Hebrew.

Not here: the closed texts (`order_words.py`), how a page is set (`page.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from vault.bundle import order_words as words
from vault.bundle.content import PackageContent, RecordTable
from vault.bundle.page import Attachment, Block, Document, Heading, Paragraph, Rows, Table, isolated, render
from vault.bundle.seal import fingerprint
from vault.catalogue.fields import Description
from vault.catalogue.words import Language

_MANIFEST = "meta/export-manifest.json"
_COMMAND = "pii-vault order verify PACKAGE --identity KEY --trust PUB"


def cover(content: PackageContent, language: Language) -> Document:
    """What a person reads first."""
    return _Pages(content, language).cover()


def statement(content: PackageContent, language: Language) -> Document:
    """The custodian's statement, to be signed by hand."""
    return _Pages(content, language).statement()


def pages(document: Document, name: str) -> bytes:
    """The PDF, with its own text attached under a name."""
    return render(replace(document, attachment=Attachment(name, text_of(document), "The text of these pages")))


def text_of(document: Document) -> str:
    """The pages as lines."""
    return "".join(f"{line}\n" for line in (document.title, *(line for block in document.blocks for line in _lines(block))))


def _lines(block: Block) -> Iterator[str]:
    match block:
        case Heading(text):
            yield from ("", text)
        case Paragraph(text):
            yield text
        case Rows(rows):
            yield from (f"{label}: {value}" for label, value in rows)
        case Table(_, _, rows):
            yield from (f"- {': '.join(row)}" for row in rows)


class _Pages:
    """One package in one language."""

    def __init__(self, content: PackageContent, language: Language) -> None:
        self._content = content
        self._language = language
        self._tables = {table.category: table for table in content.tables}

    def cover(self) -> Document:
        return self._document("cover", [*self._package(), *self._order(), *self._counts(), *self._receiver(), *self._log(), *self._how()])

    def statement(self) -> Document:
        said = [Paragraph(self._of(text)) for text in words.STATEMENT]
        return self._document("statement", [*self._package(), *said, *self._keeping(), *self._log(), *self._to_sign()])

    def _document(self, title: str, blocks: Sequence[Block]) -> Document:
        return Document(
            title=self._label(title),
            language=self._language,
            created=self._content.created,
            footer=f"{self._label(title)} {isolated(self._root())}",
            blocks=blocks,
        )

    def _package(self) -> Iterator[Block]:
        content = self._content
        yield Rows(
            [
                (self._label("export"), isolated(self._root())),
                (self._label("operator"), isolated(content.operator)),
                (self._label("snapshot"), _utc(content.created)),
            ]
        )

    def _order(self) -> Iterator[Block]:
        order, scope = self._content.order, self._content.scope
        yield Heading(self._label("order"))
        yield Rows(
            [
                (self._label("instrument"), self._word(words.INSTRUMENTS, order.instrument_type)),
                (self._label("court"), isolated(order.court_name)),
                (self._label("case"), isolated(order.case_no)),
                (self._label("judge"), isolated(order.judge_name)),
                (self._label("body"), isolated(order.requesting_body)),
                (self._label("issued"), _utc(order.issued_at)),
                (self._label("valid"), _utc(order.valid_until)),
                (self._label("document"), isolated(order.document_sha256)),
            ]
        )
        yield Heading(self._label("scope"))
        yield Rows(
            [
                (self._label("from"), _utc(scope.time_from)),
                (self._label("to"), _utc(scope.time_to)),
                (self._label("category"), ", ".join(self._category(name) for name in scope.categories)),
                (self._label("targets"), isolated(str(scope.target_count))),
                (self._label("digest"), isolated(scope.digest)),
            ]
        )

    def _counts(self) -> Iterator[Block]:
        content = self._content
        yield Heading(self._label("records"))
        rows = [[self._category(table.category), isolated(str(table.count))] for table in content.tables]
        total = isolated(str(sum(table.count for table in content.tables)))
        yield Table((5, 1), (self._label("category"), self._label("count")), [*rows, [self._label("total"), total]])
        yield Heading(self._label("withheld"))
        if not content.withheld:
            yield Paragraph(self._label("none"))
            return
        kept = [[self._category(item.category), self._reason(item.reason), isolated(str(item.count))] for item in content.withheld]
        yield Table((4, 7, 2), (self._label("category"), self._label("reason"), self._label("count")), kept)

    def _receiver(self) -> Iterator[Block]:
        recipient = self._content.recipient
        yield Heading(self._label("recipient"))
        yield Rows(
            [
                (self._label("recipient"), ", ".join(isolated(part) for part in (recipient.body, recipient.person) if part)),
                (self._label("recipient_key"), isolated(fingerprint(recipient.age_recipient))),
                (self._label("key_verified"), isolated(recipient.verified_by)),
            ]
        )

    def _log(self) -> Iterator[Block]:
        head = self._content.audit_head
        yield Heading(self._label("log"))
        yield Rows(
            [
                (self._label("log"), isolated(head.log)),
                (self._label("log_size"), isolated(str(head.size))),
                (self._label("log_root"), isolated(head.root)),
            ]
        )

    def _how(self) -> Iterator[Block]:
        key, tools, file = (self._of(text) for text in words.VERIFY)
        yield Heading(self._label("verify"))
        yield Paragraph(f"{key} {isolated(_COMMAND)}")
        yield Paragraph(tools)
        yield Paragraph(f"{file} {isolated(_MANIFEST)}")

    def _keeping(self) -> Iterator[Block]:
        yield Heading(self._label("keeping"))
        names = ("category", "count", "first", "last", "within")
        yield Table((6, 3, 6, 6, 5), [self._label(name) for name in names], [self._kept(table) for table in self._content.tables])

    def _kept(self, table: RecordTable) -> list[str]:
        kept = table.keeping
        ends = [_utc(moment) if moment else isolated("") for moment in (kept.first, kept.last)]
        return [self._category(table.category), isolated(str(table.count)), *ends, isolated(f"{kept.within_a_day} / {kept.timed}")]

    def _to_sign(self) -> Iterator[Block]:
        yield Heading(self._label("signature"))
        # Filled in by hand, on paper.
        yield Rows([(self._label(name), isolated("_" * 40)) for name in ("name", "identity", "signed")])

    def _root(self) -> str:
        return f"EXP-{self._content.export_id}"

    def _category(self, name: str) -> str:
        table = self._tables.get(name)
        title = "" if table is None else table.title_he if self._language is Language.HE else table.title_en
        return f"{isolated(title)} ({isolated(name)})" if title else f"({isolated(name)})"

    def _reason(self, reason: str) -> str:
        return f"{self._word(words.REASONS, reason)} ({isolated(reason)})" if reason in words.REASONS else isolated(reason)

    def _word(self, table: Mapping[str, Description], value: str) -> str:
        return self._of(table[value]) if value in table else isolated(value)

    def _label(self, name: str) -> str:
        return self._of(words.LABELS[name])

    def _of(self, text: Description) -> str:
        return text.he if self._language is Language.HE else text.en


def _utc(instant: datetime) -> str:
    return isolated(instant.strftime("%Y-%m-%d %H:%M:%S UTC"))
