"""Names in a model are untrusted text: they may hold control characters, ANSI escapes, markup, or a megabyte."""

from __future__ import annotations

LONGEST = 160


def printable(text: str, limit: int = LONGEST) -> str:
    """``text`` on one line without anything a terminal would act on; cut in the middle above ``limit`` characters."""
    if len(text) > limit:
        half = (limit - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
