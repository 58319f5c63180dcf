"""The errors a caller can meet. Each message is one line: what was expected, what came, the way out."""

from __future__ import annotations

from collections.abc import Collection


class NormfoldError(Exception):
    """The base of everything normfold raises on purpose."""


class UsageError(NormfoldError):
    """An argument is wrong: an unknown rule, an output that would overwrite the input.

    ``option`` names the option that it is about, as Python does; the command line says it as one types it there.
    """

    def __init__(self, message: str = "", option: str = "") -> None:
        super().__init__(message, option)
        self.message, self.option = message, option

    def __str__(self) -> str:
        return f"{self.option}: {self.message}" if self.option else self.message


class SourceError(NormfoldError):
    """The input cannot be read, or is not a valid model."""


class WriteError(NormfoldError):
    """The result could not be written. Whatever stood at the target before is whole."""


class CrashError(NormfoldError):
    """Native code ended its process, or took too long. Nothing was written, and the caller's process goes on."""


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return ``did you mean ...?`` with the closest of ``known``, and a blank; "" where none is close."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}? " if close else ""


def known_names(name: str, known: Collection[str], kind: str) -> str:
    """Return ``the KIND are ...`` with all of ``known``, after the one that ``name`` is close to."""
    close = did_you_mean(name, known)
    return f"{close}{'The' if close else 'the'} {kind} are {', '.join(known)}"
