"""Archives and JSON of strangers: limits before anything is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import normfold
from normfold.errors import UsageError
from normfold.files import untrusted
from tests.sweeps.hostile.cases import model as model_of
from tests.sweeps.hostile.cases import norm, parameters, save


def test_archives_are_not_unpacked_beyond_their_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the entries state is enough to refuse; a file that is stored as it is passes whatever its size."""
    monkeypatch.setattr(untrusted, "MOST_UNPACKED", 2**16)
    path = tmp_path / "m.zip"
    for kind, refused in ((zipfile.ZIP_DEFLATED, True), (zipfile.ZIP_STORED, False)):
        with zipfile.ZipFile(path, "w", kind) as archive:
            archive.writestr("x.npy", bytes(2**20))
        with zipfile.ZipFile(path) as archive:
            if refused:
                with pytest.raises(ValueError, match="without compression"):
                    untrusted.check_archive(archive)
            else:
                untrusted.check_archive(archive)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "{", "\ud800"])
def test_json_that_nests_too_deeply_is_as_none(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"deeply|line 1"):
        untrusted.parse_json(text)
    path = tmp_path / "m.json"
    path.write_text("[1, 2]", encoding="utf-8")
    assert untrusted.read_json(path) == [1, 2]
    monkeypatch.setattr(untrusted, "MOST_TEXT", 3)
    with pytest.raises(ValueError, match="6 bytes"):
        untrusted.read_json(path)


def test_a_bomb_of_inputs_is_a_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "MOST_UNPACKED", 2**16)
    model = save(model_of(norm("x"), parameters()), tmp_path)
    np.savez_compressed(tmp_path / "inputs.npz", x=np.zeros((2**20, 4), np.float32))
    with pytest.raises(UsageError, match="unpack to"):
        normfold.optimize(model, inputs=[tmp_path / "inputs.npz"])
