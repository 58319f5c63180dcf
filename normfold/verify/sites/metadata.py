"""Read and write the sites of folds in the metadata of a model.

With them a user who has the original can compare fold by fold. The stamps on the operators say what became of each;
where that can be measured is often another one's value.

The text is JSON: a list of [value, fold], or [value, fold, path of the graph] where that is not the main one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from normfold.files.untrusted import parse_metadata
from normfold.verify.result import Site


def as_text(sites: Iterable[Site]) -> str:
    """Return what stands in the metadata for ``sites``."""
    entries = ([site.value, site.fold, *filter(None, [site.graph])] for site in dict.fromkeys(sites))
    return json.dumps(list(entries), separators=(",", ":"))


def from_text(text: str) -> tuple[tuple[Site, ...], str]:
    """Return the sites that a text holds, each once, and what is wrong with it, or ""; anything may stand there."""
    try:
        entries = parse_metadata(text) if text else []
    except ValueError as error:
        return (), f"it is no JSON of normfold: {error}"
    if not isinstance(entries, list):
        return (), "it is no list"
    sites = tuple(dict.fromkeys(Site(*entry) for entry in entries if _is_site(entry)))
    wrong = sum(not _is_site(entry) for entry in entries)
    return sites, f"{wrong} of {len(entries)} entries are no [value, fold] or [value, fold, graph]" if wrong else ""


def _is_site(entry: Any) -> bool:
    return (
        isinstance(entry, list) and len(entry) in (2, 3) and all(map(_is_name, entry)) and bool(entry[0] and entry[1])
    )


def _is_name(name: Any) -> bool:
    """Half a surrogate pair can stand in JSON, but not in a model or on a terminal."""
    return isinstance(name, str) and name.encode("utf-8", "ignore").decode() == name
