"""The reference networks: what they hold, that ONNX Runtime agrees with torch, that their export is reproducible."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
import torch

from models.export import COMMITTED, export_raw
from models.registry import NETWORKS, build

MODELS = Path(__file__).parent.parent / "models"

BATCH_NORMS = {"residual": 9, "mobilenet_like": 14, "repvgg_like": 13, "levit_like": 17, "tabular": 3}


@pytest.fixture(scope="module")
def raw_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("raw")
    paths = {name: folder / f"{name}.onnx" for name in NETWORKS}
    for name, path in paths.items():
        export_raw(*build(name), NETWORKS[name], path)
    return paths


@pytest.mark.parametrize("name", NETWORKS)
def test_a_raw_export_keeps_every_norm_and_equals_the_module(name: str, raw_files: dict[str, Path]) -> None:
    model = onnx.load(raw_files[name])
    onnx.checker.check_model(model, full_check=True)
    counts = Counter(node.op_type for node in model.graph.node)
    assert counts["BatchNormalization"] == BATCH_NORMS.get(name, 0)

    module, inputs = build(name)
    inputs = NETWORKS[name].inputs(3) if NETWORKS[name].has_dynamic_batch else inputs
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(raw_files[name].read_bytes(), options)
    feeds = {value.name: tensor.numpy() for value, tensor in zip(session.get_inputs(), inputs, strict=True)}
    (got,) = session.run(None, feeds)
    torch.testing.assert_close(torch.from_numpy(got), module(*inputs).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_file_holds_the_seeded_weights_and_no_path(name: str, raw_files: dict[str, Path]) -> None:
    """The same graph and weights as a fresh export; statistics differ in the last bit when torch sums in threads."""
    committed = (MODELS / f"{name}.onnx").read_bytes()
    assert len(committed) < 1_000_000
    assert str(MODELS).encode() not in committed
    old, new = onnx.load_from_string(committed), onnx.load(raw_files[name])
    assert [node.op_type for node in old.graph.node] == [node.op_type for node in new.graph.node]
    for ours, fresh in zip(old.graph.initializer, new.graph.initializer, strict=True):
        assert ours.name == fresh.name
        torch.testing.assert_close(
            torch.tensor(onnx.numpy_helper.to_array(ours)), torch.tensor(onnx.numpy_helper.to_array(fresh))
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_gives_the_same_bits_and_leaves_the_random_state_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    first, second, other = (build(name, seed)[0].state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_some_gammas_are_negative_and_statistics_are_not_the_defaults() -> None:
    for name in BATCH_NORMS:
        norms = [part for part in build(name)[0].modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
        assert any((norm.weight < 0).any() for norm in norms)
        assert all(norm.state_dict()["running_mean"].abs().max() > 1e-3 for norm in norms)
        assert all((norm.state_dict()["running_var"] - 1).abs().max() > 1e-2 for norm in norms)
