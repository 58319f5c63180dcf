"""Fold a network of PyTorch and export it to ExecuTorch, for a phone or a microcontroller.

    python executorch_export.py OUTPUT.pte

Needs ``pip install executorch 'normfold[torch]'``. The portable kernels of ExecuTorch run each BatchNorm that is left;
in the folded module there is none.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from executorch.exir import to_edge
from executorch.runtime import Runtime
from torch import nn

import normfold


def main() -> None:
    """Fold, export, and compare what the file gives with the original."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    example = (torch.randn(1, 3, 16, 16),)
    with torch.no_grad():
        module.train()(torch.randn(8, 3, 16, 16))  # so that the statistics are some
        expected = module.eval()(*example)
        folded = normfold.fold_module(module, example)
        program = to_edge(torch.export.export(folded.module, example)).to_executorch()
    path = Path(sys.argv[1])
    path.write_bytes(program.buffer)
    obtained = Runtime.get().load_program(path).load_method("forward").execute(example)[0]
    torch.testing.assert_close(obtained, expected, rtol=1e-4, atol=1e-4)
    print(f"{path}: {len(folded.removed)} norms removed, {path.stat().st_size} bytes, equal to the original")


if __name__ == "__main__":
    main()
