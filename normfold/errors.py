"""The errors a caller can meet. Each message is one line: what was expected, what came, the way out."""

from __future__ import annotations


class NormfoldError(Exception):
    """The base of everything normfold raises on purpose."""


class UsageError(NormfoldError):
    """An argument is wrong: an unknown rule, an output that would overwrite the input."""


class SourceError(NormfoldError):
    """The input cannot be read, or is not a valid model."""


class WriteError(NormfoldError):
    """The result could not be written. Whatever stood at the target before is whole."""


class CrashError(NormfoldError):
    """Native code ended its process, or took too long. Nothing was written, and the caller's process goes on."""
