"""Takes the certificate out of a PDF of ours, for a verifier that trusts no page.

Not a PDF reader: it looks at embedded files that lie in the file as they are or deflated, which is how `page.py` and the common tools store them.
Of any other PDF it says so; then another program can take the attachment out, and the text is verified by itself.
"""

import re
import zlib
from itertools import islice

from vault.errors import DataLossError

PDF_MAGIC = b"%PDF-"
MAX_ATTACHMENT_BYTES = 16 << 20  # a certificate has some kilobytes; a stream that inflates beyond is none
_MAX_DICTIONARY_BYTES = 4096  # of one object; those that are written have some two hundred
_EMBEDDED = re.compile(rb"/Type\s*/EmbeddedFile\b")
_STREAM = re.compile(rb"\bstream\r?\n")
_FILTER = re.compile(rb"/Filter\s*(?:\[\s*)?/(\w+)")
_LENGTH = re.compile(rb"/Length\s+(\d{1,8})\b(?!\s+\d+\s+R)")
_END = re.compile(rb"\r?\n?endstream\b")


def attached(pdf: bytes) -> bytes:
    """The attachment.

    Raises:
        DataLossError: ATTACHMENT_MISSING, none or several of our kind, or stored in a way that is not read here.
    """
    marks = [mark.start() for mark in islice(_EMBEDDED.finditer(pdf), 2)]
    content = _content(pdf, marks[0]) if len(marks) == 1 else None
    if content is None:
        raise DataLossError("ATTACHMENT_MISSING", "the PDF does not hold exactly one certificate that can be read")
    return content


def _content(pdf: bytes, mark: int) -> bytes | None:
    """What follows the dictionary around a mark; None if it is no stream that can be read."""
    begin = pdf.rfind(b"obj", max(0, mark - _MAX_DICTIONARY_BYTES), mark)
    stream = _STREAM.search(pdf, mark, mark + _MAX_DICTIONARY_BYTES)
    if begin < 0 or stream is None:
        return None
    used = _FILTER.search(pdf, begin, stream.start())
    if used is None:
        length = _LENGTH.search(pdf, begin, stream.start())
        end = stream.end() + int(length[1]) if length else 0
        return pdf[stream.end() : end] if _END.match(pdf, end) else None
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(pdf[stream.end() :], MAX_ATTACHMENT_BYTES) if used[1] == b"FlateDecode" else b""
    except zlib.error:
        return None
    return content if inflater.eof else None
