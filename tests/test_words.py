"""One word, one thing: words that the tree has given up stay away, and no type has the name of another one."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

# Words of the house that nobody outside knew, with what is said instead.
RETIRED = {
    "alike": "equal, the same",
    "anew": "again",
    "beside": "with, next to",
    "blame": "attribute to",
    "blamed": "attributed to",
    "blames": "attributes to",
    "calmer": "less noisy",
    "chaotic": "noise dominated",
    "doubted": "suspect",
    "doubtful": "suspect",
    "examine": "inspect_one",
    "excuse": "suspect",
    "gift": "compensation",
    "guilty": "failing",
    "held": "loaded, kept",
    "judged": "decided; apply_limits",
    "kin": "others of its kind",
    "likewise": "too",
    "mirrored": "sign flipped",
    "neighbourhood": "snippets",
    "nobody": "unused, no operator, no user",
    "owe": "pending",
    "restless": "noisy",
    "somebody": "a user",
    "tame": "ordinary",
    "told": "recorded, reported",
    "twin": "copy, duplicate",
    "twins": "copies, duplicates",
    "unread": "unobservable",
    "unrest": "noise",
    "unshared": "separate",
    "untold": "undecided",
    "voice": "format",
    "voices": "formats",
    "whoever": "a user who",
    "witness": "run, stage",
}
SUFFIXES = (".py", ".md", ".json", ".js", ".css", ".txt", ".onnxtxt", ".toml", ".yml")


def files() -> list[Path]:
    """Every text of the tree but this one, and the report's snapshot of a name that a user chose."""
    folders = [ROOT / name for name in ("normfold", "cli", "models", "tests", ".github")]
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES]
    return [path for path in (*found, ROOT / "README.md", ROOT / "action.yml") if path != Path(__file__)]


def words(text: str) -> set[str]:
    """The words of a text, and those that its identifiers are made of."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text)
    return {word.lower() for word in re.findall(r"[A-Za-z]+", apart)}


def types(module: ast.Module) -> Iterator[str]:
    """The names of classes, and of types that are put together from others."""
    yield from (node.name for node in ast.walk(module) if isinstance(node, ast.ClassDef) and node.name[0] != "_")
    names = [
        target.id
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    yield from (name for name in names if re.fullmatch(r"[A-Z]\w*[a-z]\w*", name))


def test_retired_words_stay_away() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for path in files():
        left = words(path.read_text(encoding="utf-8")) & RETIRED.keys()
        found[str(path.relative_to(ROOT))] |= left
    assert {path: {word: RETIRED[word] for word in left} for path, left in found.items() if left} == {}


def test_no_type_has_the_name_of_another_one() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for folder in ("normfold", "cli"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name in types(ast.parse(path.read_text(encoding="utf-8"))):
                where[name].append(str(path.relative_to(ROOT)))
    assert {name: places for name, places in where.items() if len(places) > 1} == {}


def test_the_search_for_words_can_fail() -> None:
    assert words("as_told, whoeverReads") == {"as", "told", "whoever", "reads"}
