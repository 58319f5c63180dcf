"""Weights that the exporter has moved: gates in another order, two biases in one, go back to where they came from."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from normfold.pytorch.fold_module import fold_module
from normfold.pytorch.write_back.provenance import Provenance
from tests.pytorch.nets import drawn


class NormFirst(nn.Module):
    """A norm of the features, and a recurrent layer that reads them."""

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.bn, self.rnn = nn.BatchNorm1d(3), rnn

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rnn(self.bn(x.transpose(1, 2)).transpose(1, 2))[0]
        return out


@pytest.mark.parametrize(
    "rnn",
    [
        nn.LSTM(3, 5, batch_first=True),
        nn.GRU(3, 4, batch_first=True, bidirectional=True),
        nn.LSTM(3, 4, num_layers=2, batch_first=True),
    ],
    ids=["LSTM", "GRU, both ways", "LSTM, two layers"],
)
def test_a_norm_goes_into_a_recurrent_layer(rnn: nn.RNNBase) -> None:
    module, x = drawn(NormFirst(rnn)), torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    folded = fold_module(module, (x,))
    assert folded.removed == ("bn",) and not folded.added
    with torch.no_grad():
        for each in (x, x[:1, :4]):
            torch.testing.assert_close(folded.module(each), module(each), rtol=1e-4, atol=1e-5)


MOVED = """
< ir_version: 8, opset_import: ["" : 18] >
agraph (float[2, 4] x) => (float[2, 2] y)
< float[4, 2] w = {0, 0, 0, 0, 0, 0, 0, 0}, float[3] v = {0, 0, 0},
  int64[1] zero = {0}, int64[1] two = {2}, int64[1] four = {4}, int64[1] one = {1} >
{
    upper = Slice(w, zero, two, zero)
    lower = Slice(w, two, four, zero)
    swapped = Concat<axis = 0>(lower, upper)
    joined = Concat<axis = 0>(upper, upper)
    added = Add(w, w)
    y = MatMul(x, swapped)
}
"""


def test_numbers_are_followed_to_their_places() -> None:
    found = Provenance(ir.from_onnx_text(MOVED), {"w", "v"})
    array = np.arange(8.0).reshape(4, 2)
    parts = found.parts_of("swapped", array)
    assert parts is not None and parts.keys() == {"w"}
    np.testing.assert_array_equal(parts["w"].reshape(4, 2), array[[2, 3, 0, 1]])
    assert found.parts_of("joined", array) is None, "it has half of the numbers, twice"
    assert found.parts_of("upper", array[:2]) is None, "it has half of them"
    assert found.parts_of("w", array[:2]) is None, "another size"
    assert "added" not in found.moved and found.leaves["added"] == {"w"}
