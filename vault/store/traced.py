"""Spans of statements: what the database was asked, with placeholders, never with what was bound to them (I2, L41).

A statement is told only within work that is traced. Its text is the one that is prepared: values are bound apart from it, and it is written by this
package alone. A statement that fails leaves the class of its error; texts of databases quote rows.
"""

import re
from functools import lru_cache
from typing import Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from sqlalchemy import event
from sqlalchemy.engine import Engine

from vault.telemetry import is_traced

_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+([a-z_]+)")
# A statement of a batch is some hundred characters; a list of ten thousand placeholders is not worth telling.
_TEXT = 1000
_SPAN = "_vault_span"


def trace_statements(engine: Engine, tracer: Tracer, *, system: str) -> None:
    """Have every statement of an engine leave a span.

    Args:
        engine: the engine.
        tracer: where spans are told.
        system: `sqlite` or `postgresql`.
    """

    def before(_connection: object, _cursor: object, statement: str, _parameters: object, context: Any, _many: bool) -> None:
        if context is not None and is_traced():
            operation, name = _summary(statement)
            span = tracer.start_span(name, kind=SpanKind.CLIENT)
            span.set_attributes({"db.system.name": system, "db.operation.name": operation, "db.query.text": statement[:_TEXT]})
            setattr(context, _SPAN, span)

    def after(_connection: object, _cursor: object, _statement: str, _parameters: object, context: Any, _many: bool) -> None:
        span: Span | None = getattr(context, _SPAN, None)
        if span is not None:
            span.end()

    def failed(context: Any) -> None:
        span: Span | None = getattr(context.execution_context, _SPAN, None)
        if span is not None:
            span.set_attribute("error.type", type(context.original_exception).__name__)
            span.set_status(Status(StatusCode.ERROR))
            span.end()

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", failed)


@lru_cache(maxsize=1024)
def _summary(statement: str) -> tuple[str, str]:
    """Verb, and verb with table: the name of the span."""
    verb = statement.lstrip().split(maxsplit=1)[0].upper() if statement.strip() else "EMPTY"
    table = _TABLE.search(statement)
    return verb, f"{verb} {table[1]}" if table else verb
