"""Recognize the models that torch has to open without importing torch, and import the modules that need it."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from normfold.errors import SourceError

TorchObject = Any
"""An nn.Module, torch.export.ExportedProgram or torch.onnx.ONNXProgram; Any, because torch is not imported here."""

SUFFIXES = frozenset({".pt2", ".pt", ".pth", ".ckpt", ".safetensors"})


def is_for_torch(model: object) -> bool:
    """Return whether ``model`` is a file of torch (by suffix), an nn.Module, ExportedProgram or ONNXProgram."""
    if isinstance(model, (str, os.PathLike)):
        return Path(model).suffix.lower() in SUFFIXES
    if "torch" not in sys.modules or isinstance(model, bytes):
        return False
    return bool(torch_room("trace.exporters").is_torch_model(model))


def torch_room(name: str) -> Any:
    """Import a module of ``normfold.pytorch``. Raises SourceError, naming the extra, if torch is not installed."""
    try:
        return import_module(f"normfold.pytorch.{name}")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "onnxscript"):
            raise
        raise SourceError(f"PyTorch models need {error.name}; pip install 'normfold[torch]'") from error
