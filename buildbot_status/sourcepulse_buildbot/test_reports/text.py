# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Decode reports and make XML parsable: invalid characters are replaced and counted, the rest is kept.

This runs in a thread, and Python switches threads only between its own instructions, so all work is done in slices: a
single call for twenty megabytes would also stop the reactor.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from html.entities import html5
from typing import NamedTuple

#: How much is decoded, searched or replaced by one call.
SLICE = 256 * 1024
#: How much other output may precede an XML declaration.
_DECLARATION_BYTES = 64 * 1024

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: This many bytes show the byte order of a text with two bytes per character, because reports begin with ASCII.
_WIDE_TEXT_BYTES = 16
#: The first bytes of a document that has neither a byte order mark nor one byte per character.
_WIDE_BEGINNINGS = (
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})[\"']")
#: Encodings that Python knows but that no report uses; some take long to decode.
_NOT_FOR_REPORTS = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf-7"})
#: Encodings with several bytes per character, whose texts can look like UTF-8 by chance.
_SEVERAL_BYTES = re.compile(r"(?:gb|big5|shift|euc|iso2022|hz|johab|cp932|cp949|cp950|utf)")

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SPECIAL = re.compile(r"<!\[CDATA\[|<!--|&")
_REFERENCE = re.compile(
    r"&(?:#(?P<decimal>[0-9]{1,12})|#[xX](?P<hex>[0-9A-Fa-f]{1,12})|(?P<name>[A-Za-z][A-Za-z0-9]{0,40}));"
)
_OF_XML = frozenset({"amp", "lt", "gt", "quot", "apos"})
_REPLACEMENT = "\ufffd"


class Decoded(NamedTuple):
    """A text, and a sentence for each thing that had to be guessed or replaced."""

    text: str
    notes: tuple[str, ...]


def decode_xml(data: bytes) -> Decoded:
    """Return the text of an XML document, in the encoding that its bytes show, else in the declared one."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _decode(data.removeprefix(bom), encoding)
    for beginning, encoding in _WIDE_BEGINNINGS:
        if data.startswith(beginning):
            return _decode(data, encoding)
    match = _DECLARED.search(data, 0, _DECLARATION_BYTES)
    declared = match[1].decode("ascii") if match else "utf-8"
    name = _known(declared)
    if name is None:
        return _decode(data, "utf-8", f"the encoding {declared} is not known, the report is read as UTF-8")
    if name.startswith(("utf-16", "utf-32")):
        # The declaration itself was read byte by byte.
        return _decode(data, "utf-8", f"the report declares {declared}, but it is UTF-8")
    if not _SEVERAL_BYTES.match(name) and _is_utf8_beyond_ascii(data):
        return _decode(data, "utf-8", f"the report declares {declared}, but it is UTF-8")
    return _decode(data, name)


def decode_text(data: bytes) -> Decoded:
    """Return the text of a report that has no declaration: UTF-8, unless a byte order mark names another encoding."""
    for bom, name in _BOMS:
        if data.startswith(bom):
            return _decode(data.removeprefix(bom), name)
    begin = data[:_WIDE_TEXT_BYTES]
    for name, zeros, others in (("utf-16-le", begin[1::2], begin[::2]), ("utf-16-be", begin[::2], begin[1::2])):
        if zeros and not zeros.strip(b"\0") and b"\0" not in others:
            return _decode(data, name)
    return _decode(data, "utf-8")


def fit_for_xml(text: str) -> Decoded:
    """Return the text without what a parser rejects: forbidden characters, unknown entities, stray ampersands."""
    pieces: list[str] = []
    replaced = 0
    for piece in _slices(text):
        piece, count = _UNFIT.subn(_REPLACEMENT, piece)  # noqa: PLW2901 - the same slice, cleaned
        pieces.append(piece)
        replaced += count
    text = "".join(pieces)
    pieces, position = [], 0
    for begin, end, new in _references(text):
        pieces += (text[position:begin], new)
        position = end
        replaced += 1
    if pieces:
        text = "".join((*pieces, text[position:]))
    return Decoded(text, (f"{_count(replaced)} that XML forbids",) if replaced else ())


def _references(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield each reference that a parser rejects, with its replacement; those in CDATA and comments are skipped."""
    position = 0
    while position < len(text):
        # A match may cross the end of a slice, so the next slice begins a little earlier.
        special = _SPECIAL.search(text, position, position + SLICE)
        if special is None:
            position += SLICE - len("<![CDATA[")
            continue
        begin = special.start()
        if special[0] != "&":
            end = text.find("]]>" if special[0].startswith("<![") else "-->", special.end())
            position = len(text) if end < 0 else end
            continue
        reference = _REFERENCE.match(text, begin)
        position = reference.end() if reference else begin + 1
        if reference is None:
            yield begin, begin + 1, "&amp;"
        elif reference["name"] is None:
            code = int(reference["decimal"] or reference["hex"], 10 if reference["decimal"] else 16)
            if not _is_fit(code):
                yield begin, position, _REPLACEMENT
        elif reference["name"] not in _OF_XML:
            known = html5.get(f"{reference['name']};")
            yield begin, position, f"&amp;{reference['name']};" if known is None or known in "<&" else known


def _is_fit(code: int) -> bool:
    return 0 < code <= 0x10FFFF and not _UNFIT.match(chr(code))


def _known(name: str) -> str | None:
    """Return Python's name of an encoding; None if it is unknown or not one of texts."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    is_text = getattr(found, "_is_text_encoding", True)
    return found.name if is_text and found.name not in _NOT_FOR_REPORTS else None


def _decode(data: bytes, name: str, *notes: str) -> Decoded:
    try:
        return Decoded("".join(_decoded(data, name, "strict")), notes)
    except UnicodeError:
        pass
    text = "".join(_decoded(data, name, "replace"))
    bad = sum(piece.count(_REPLACEMENT) for piece in _slices(text))
    return Decoded(text, (*notes, f"{_count(bad)} that {name} does not know"))


def _decoded(data: bytes, name: str, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(name)(errors)
    for begin in range(0, len(data), SLICE):
        yield decoder.decode(data[begin : begin + SLICE])
    yield decoder.decode(b"", final=True)


def _is_utf8_beyond_ascii(data: bytes) -> bool:
    if data.isascii():
        return False
    try:
        for _ in _decoded(data, "utf-8", "strict"):
            pass
    except UnicodeError:
        return False
    return True


def _slices(text: str) -> Iterator[str]:
    for begin in range(0, len(text), SLICE):
        yield text[begin : begin + SLICE]


def _count(number: int) -> str:
    return f"replaced {number} character{'' if number == 1 else 's'}"
