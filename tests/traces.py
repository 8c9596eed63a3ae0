"""Spans as people read them: a tree of names, when each began and how long it took."""

from collections.abc import Iterator, Sequence

from opentelemetry.sdk.trace import ReadableSpan

# What is worth a place in the line; the rest is the same in every span of a kind.
_TOLD = ("rpc.response.status_code", "pii_vault.calls", "pii_vault.log", "pii_vault.index", "error.type")


def drawn(spans: Sequence[ReadableSpan]) -> str:
    """The spans of one trace as text, in milliseconds since the first began."""
    first = min(span.start_time or 0 for span in spans)
    return "\n".join(_line(span, depth, first) for span, depth in _tree(spans))


def shape(text: str) -> list[str]:
    """Indents and names of a drawn trace, without times; neighbours that are alike count once."""
    lines = [line[20:].split("  ·")[0].rstrip() for line in text.strip().splitlines()]
    return [line for place, line in enumerate(lines) if place == 0 or line != lines[place - 1]]


def _tree(spans: Sequence[ReadableSpan]) -> Iterator[tuple[ReadableSpan, int]]:
    ids = {span.context.span_id for span in spans if span.context}
    roots = [span for span in spans if span.parent is None or span.parent.span_id not in ids]
    for root in sorted(roots, key=_began):
        yield from _below(root, spans, 0)


def _below(span: ReadableSpan, spans: Sequence[ReadableSpan], depth: int) -> Iterator[tuple[ReadableSpan, int]]:
    yield span, depth
    children = [one for one in spans if one.parent and span.context and one.parent.span_id == span.context.span_id]
    for child in sorted(children, key=_began):
        yield from _below(child, spans, depth + 1)


def _began(span: ReadableSpan) -> int:
    return span.start_time or 0


def _line(span: ReadableSpan, depth: int, first: int) -> str:
    start, end = span.start_time or 0, span.end_time or 0
    attributes = span.attributes or {}
    told = " ".join(f"{key.rpartition('.')[2]}=" + str(attributes[key]) for key in _TOLD if key in attributes)
    words = f"{'  ' * depth}{span.name}" + (f"  · {told}" if told else "")
    return f"{(start - first) / 1e6:8.1f} {(end - start) / 1e6:8.1f}   {words}"
