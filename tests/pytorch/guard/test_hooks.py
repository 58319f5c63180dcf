"""A folded module gives the original's numbers or refuses the call: flags, optional arguments, sizes, other methods."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normfold.errors import UsageError
from normfold.findings.reason import Reason
from normfold.pytorch.fold_module import Folded, fold_module
from tests.pytorch.nets import drawn


def batch(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Paths(nn.Module):
    """A convolution and its norm, with a forward() that is given."""

    def __init__(self, way: Callable[..., Any]) -> None:
        super().__init__()
        self.conv, self.bn, self.way = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), way
        self.flag = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.way(self, *args, **kwargs)

    def features(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class Declared(nn.Module):
    """The same with a flag and an optional argument in its signature."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor, raw: bool = False) -> Tensor:
        y: Tensor = self.conv(x)
        return y if raw else self.bn(y)


def raw(self: Paths, x: Tensor, raw: bool = False) -> Any:
    y = self.conv(x)
    return y if raw else self.bn(y)


def skip(self: Paths, x: Tensor, more: Tensor | None = None) -> Any:
    y = self.conv(x)
    return self.bn(y if more is None else y + more)


def by_size(self: Paths, x: Tensor) -> Any:
    y = self.conv(x)
    return self.bn(y.abs() if x.shape[-1] > 40 else y)


def by_attribute(self: Paths, x: Tensor) -> Any:
    y = self.conv(x)
    return y.sigmoid() if self.flag else self.bn(y)


def by_configuration(self: Any, x: Tensor) -> Any:
    y = self.conv(x)
    return y.sigmoid() if self.config.names["raw"] else self.bn(y)


def by_weight(self: Paths, x: Tensor) -> Any:
    y = self.bn(self.conv(x))
    return y + self.conv.weight.sum() if self.flag else y


SWITCH = {"raw": False}


def by_global(self: Paths, x: Tensor) -> Any:
    y = self.conv(x)
    return y.sigmoid() if SWITCH["raw"] else self.bn(y)


def skipped(self: Paths, x: Tensor, bare: bool = False) -> Any:
    return self.bn(x.new_ones(1, 4, 1, 1) if bare else self.conv(x))


def repeated(self: Paths, x: Tensor, times: int = 1) -> Any:
    y = self.conv(x)
    for _ in range(times):
        y = y.flip(3)
    return self.bn(y)


def along(self: Paths, x: Tensor, axis: int = 3) -> Any:
    return self.bn(self.conv(x).flip(axis))


def written_under_a_view(self: Paths, x: Tensor) -> Any:
    y = self.conv(x)
    space = x.new_zeros(y.shape)
    view = space.view(-1)
    space.copy_(y)
    return view.sigmoid() if self.flag else self.bn(view.view_as(y))


def written_as_out(self: Paths, x: Tensor) -> Any:
    y = self.conv(x)
    space = x.new_zeros(y.shape)
    view = space.view(-1)
    torch.mul(y, 1.0, out=space)
    return view.sigmoid() if self.flag else self.bn(view.view_as(y))


def kept_aside(self: Paths, x: Tensor) -> Any:
    y = self.conv(x)
    z = self.bn(y)
    return z + y if self.flag else z


@dataclass(frozen=True)
class Row:
    """A call that the fold did not see."""

    name: str
    way: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    flag: bool = False


@dataclass
class Hidden:
    """An output of no container that torch knows."""

    value: Tensor


def in_a_dataclass(self: Paths, x: Tensor, raw: bool = False) -> Any:
    y = self.conv(x)
    return Hidden(y) if raw else self.bn(y)


REFUSED = (
    Row("a flag that **kwargs hides", raw, (batch(2, 3, 8, 8),), {"raw": True}),
    Row("an optional tensor", skip, (batch(2, 3, 8, 8), batch(2, 4, 6, 6))),
    Row("a size beyond a threshold", by_size, (batch(2, 3, 48, 48),)),
    Row("an attribute that was set later", by_attribute, (batch(2, 3, 8, 8),), flag=True),
    Row("a weight that is read outside of its module", by_weight, (batch(2, 3, 8, 8),), flag=True),
    Row("a value that the norm never had", skipped, (batch(2, 3, 8, 8),), {"bare": True}),
    Row("one more time around a loop", repeated, (batch(2, 3, 8, 8),), {"times": 2}),
    Row("an output in a dataclass", in_a_dataclass, (batch(2, 3, 8, 8),), {"raw": True}),
    Row("a view of what is written in place", written_under_a_view, (batch(2, 3, 8, 8),), flag=True),
    Row("a view of what is given as out", written_as_out, (batch(2, 3, 8, 8),), flag=True),
    Row("what the norm has read, behind the norm", kept_aside, (batch(2, 3, 8, 8),), flag=True),
    Row("another axis", along, (batch(2, 3, 8, 8),), {"axis": 1}),
)


@pytest.fixture(scope="module")
def folded_raw() -> Folded[nn.Module]:
    return fold_module(drawn(Paths(raw)), (batch(2, 3, 8, 8),))


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_another_way_through_forward_is_refused(row: Row) -> None:
    module, args = drawn(Paths(row.way)), (batch(2, 3, 8, 8),)
    folded = fold_module(module, args)
    assert folded.removed == ("bn",)
    with torch.no_grad():
        torch.testing.assert_close(folded.module(*args), module(*args), rtol=1e-4, atol=1e-4)
        inner = folded.module
        assert isinstance(inner, Paths)
        inner.flag = row.flag
        with pytest.raises(UsageError, match="was folded for other calls than this one"):
            folded.module(*row.args, **row.kwargs)
        inner.flag = False
        torch.testing.assert_close(folded.module(*args), module(*args), rtol=1e-4, atol=1e-4)


def dead_when_large(self: Paths, x: Tensor) -> Any:
    y = self.bn(self.conv(x))
    return y if x.shape[-1] < 12 else self.bn(y) * x[:, :1, 1:-1, 1:-1].relu()


def test_a_way_that_shows_nothing_is_not_covered() -> None:
    """Twice as large, the given values are zero behind the second norm, so that the call agrees with anything."""
    module, args = drawn(Paths(dead_when_large)), (-batch(2, 3, 8, 8).abs(),)
    folded = fold_module(module, args)
    assert folded.removed == ("bn",) and "a last size twice as large" not in folded.calls
    assert any("its values hide bn: it is not covered" in note for note in folded.notes)
    with pytest.raises(UsageError, match="was folded for other calls"):
        folded.module(batch(2, 3, 8, 16))


def conditional(self: Paths, x: Tensor, raw: bool = False) -> Any:
    y = self.conv(x)
    return torch.cond(x.sum() > 0, torch.sin, torch.cos, (y if raw else self.bn(y),))


def test_what_torch_cond_reads_is_followed() -> None:
    """It compiles its branches, and torch itself does so for one size only."""
    module, x = drawn(Paths(conditional)), batch(2, 3, 8, 8)
    folded = fold_module(module, (x,))
    assert folded.removed == ("bn",)
    with torch.no_grad():
        torch.testing.assert_close(folded.module(x), module(x), rtol=1e-4, atol=1e-4)
        with pytest.raises(UsageError, match="cond reads the output of conv"):
            folded.module(x, raw=True)


@pytest.fixture(autouse=True)
def nothing_compiled() -> None:
    """All modules here share the code of one forward(), of which torch.compile keeps eight versions."""
    torch._dynamo.reset()


def compiled_alone(module: nn.Module) -> Any:
    return torch.compile(module, backend="eager")


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_torch_compile_is_refused_on_another_way_too(row: Row) -> None:
    folded: Any = fold_module(drawn(Paths(row.way)), (batch(2, 3, 8, 8),)).module
    compiled = compiled_alone(folded)
    with torch.no_grad():
        for x in (batch(2, 3, 8, 8), batch(3, 3, 9, 9)):
            torch.testing.assert_close(compiled(x), folded(x))
        folded.flag = row.flag
        with pytest.raises(UsageError, match="was folded for other calls than this one"):
            compiled(*row.args, **row.kwargs)


def test_torch_export_is_refused_where_an_attribute_chooses_another_way() -> None:
    folded: Any = fold_module(drawn(Paths(by_attribute)), (batch(2, 3, 8, 8),)).module
    torch.export.export(folded, (batch(2, 3, 8, 8),))
    folded.flag = True
    with pytest.raises(UsageError, match="was folded for other calls than this one"):
        torch.export.export(folded, (batch(2, 3, 8, 8),))


def broken(self: Paths, x: Tensor, named: dict[str, Tensor] | None = None) -> Any:
    y = self.conv(x)
    torch._dynamo.graph_break()
    return self.bn(y) + (0 if named is None else named["x"])


def test_a_call_that_cannot_be_compiled_whole_is_followed_too() -> None:
    folded = fold_module(drawn(Paths(broken)), (batch(2, 3, 8, 8),)).module
    compiled = compiled_alone(folded)
    x, named = batch(2, 3, 8, 8), {"x": batch(2, 4, 6, 6)}
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(compiled(x), folded(x))
            torch.testing.assert_close(compiled(x, named), folded(x, named))
    with pytest.raises(UsageError, match="called outside of forward"):
        compiled_alone(folded.get_submodule("conv"))(x)


class Around(nn.Module):
    """What contains the folded module."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, flags: dict[str, bool]) -> Any:
        return self.inner(x + 1, **flags) * 2


def test_what_contains_a_folded_module_is_compiled_around_it(folded_raw: Folded[nn.Module]) -> None:
    module, x = Around(folded_raw.module), batch(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(compiled_alone(module)(x, {}), module(x, {}))
        with pytest.raises(UsageError, match="was folded for other calls than this one"):
            compiled_alone(module)(x, {"raw": True})


def test_a_whole_graph_around_a_folded_module_is_followed_as_it_is_compiled(folded_raw: Folded[nn.Module]) -> None:
    module, x = Around(folded_raw.module), batch(2, 3, 8, 8)
    whole: Any = torch.compile(module, backend="eager", fullgraph=True)
    with torch.no_grad():
        for each in (x, batch(3, 3, 9, 9)):
            torch.testing.assert_close(whole(each, {}), module(each, {}))
        with pytest.raises(Exception, match="was folded for other calls than this one"):
            whole(x, {"raw": True})


def test_what_was_compiled_for_one_folded_module_is_not_used_for_another() -> None:
    """Their code and attributes are the same, and only one of them holds its norm in the convolution."""
    refusing: Any = fold_module(drawn(Paths(by_attribute)), (batch(2, 3, 8, 8),)).module
    other: Any = drawn(Paths(by_attribute))
    other.flag = True
    folded: Any = fold_module(other, (batch(2, 3, 8, 8),)).module
    with torch.no_grad():
        compiled_alone(folded)(batch(2, 3, 8, 8))
    refusing.flag = True
    with pytest.raises(UsageError, match="was folded for other calls than this one"):
        compiled_alone(refusing)(batch(2, 3, 8, 8))


def test_other_sizes_on_the_same_way_are_taken(folded_raw: Folded[nn.Module]) -> None:
    for shape in ((1, 3, 8, 8), (5, 3, 9, 13), (2, 3, 40, 5)):
        assert folded_raw.module(batch(*shape)).shape == (shape[0], 4, shape[2] - 2, shape[3] - 2)


def test_without_guard_nothing_is_refused() -> None:
    folded = fold_module(drawn(Paths(raw)), (batch(2, 3, 8, 8),), guard=False)
    folded.module(batch(2, 3, 8, 8), raw=True)
    assert not folded.module._forward_pre_hooks and "train" not in vars(folded.module)


@pytest.mark.parametrize("way", [by_configuration, by_global])
def test_a_known_call_is_followed_again_when_what_its_code_reads_has_changed(way: Callable[..., Any]) -> None:
    module: Any = drawn(Paths(way))
    args = (batch(2, 3, 8, 8),)
    names = {"raw": False}
    module.config = SimpleNamespace(names=names)
    folded = fold_module(module, args, inplace=True).module
    folded(*args)
    try:
        names["raw"] = SWITCH["raw"] = True
        with pytest.raises(UsageError, match=r"Tensor.sigmoid reads the output of conv"):
            folded(*args)
    finally:
        SWITCH["raw"] = False


class Methods(nn.Module):
    """forward() in two steps, as in timm, and a method that gives what the norm reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def before(self, x: Tensor) -> Any:
        return self.conv(x)

    def forward_features(self, x: Tensor) -> Any:
        return self.bn(self.before(x)).relu()

    def forward_head(self, x: Tensor) -> Any:
        return self.head(x.mean((2, 3)))

    def forward(self, x: Tensor) -> Any:
        return self.forward_head(self.forward_features(x))


def test_other_methods_are_followed_as_forward_is() -> None:
    module: Any = drawn(Methods())
    x = batch(2, 3, 8, 8)
    folded: Any = fold_module(module, (x,)).module
    with torch.no_grad():
        features = folded.forward_features(x)
        torch.testing.assert_close(features, module.forward_features(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(folded.forward_head(features), module(x), rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match="it returns the output of conv"):
        folded.before(x)
    assert copy.deepcopy(folded).forward_features.module is not folded
    replica = folded._replicate_for_data_parallel()
    assert replica.forward_features.module is replica


class OtherWay(nn.Module):
    """What calls the folded module with its flag."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        return self.inner(x, raw=True)


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize(
    "compiled",
    [
        lambda module, x: torch.compile(module, backend="eager")(x, raw=True),
        lambda module, x: torch.export.export(module, (x,), {"raw": True}),
        lambda module, x: torch.jit.trace(OtherWay(module), x),  # type: ignore[no-untyped-call]  # torch's
    ],
    ids=["torch.compile", "torch.export", "torch.jit.trace"],
)
def test_a_compiler_refuses_another_way_too(folded_raw: Folded[nn.Module], compiled: Callable[..., Any]) -> None:
    with torch.no_grad(), pytest.raises(UsageError, match="was folded for"):
        compiled(folded_raw.module, batch(2, 3, 8, 8))


def test_a_compiled_call_gives_what_the_module_gives(folded_raw: Folded[nn.Module]) -> None:
    with torch.no_grad():
        for x in (batch(2, 3, 8, 8), batch(3, 3, 9, 9)):
            compiled = torch.compile(folded_raw.module, backend="eager", fullgraph=True)
            torch.testing.assert_close(compiled(x), folded_raw.module(x))


def test_a_flag_of_the_signature_keeps_the_norm() -> None:
    """With raw=True the convolution's own value is returned, so no weight can hold the norm."""
    folded = fold_module(drawn(Declared()), (batch(2, 3, 8, 8),))
    assert "raw = True" in folded.calls
    ((kept,),) = (verdict.obstacles for verdict in folded.kept)
    assert kept.reason is Reason.NOT_CONFIRMED and "raw = True" in kept.detail


def test_a_part_that_is_called_alone_is_refused(folded_raw: Folded[nn.Module]) -> None:
    """The convolution has other weights than before, and the norm gives what it reads."""
    for path, x in (("conv", batch(2, 3, 8, 8)), ("bn", batch(2, 4, 8, 8))):
        with pytest.raises(UsageError, match=f"{path} is a part of a fold, and is called outside of forward"):
            folded_raw.module.get_submodule(path)(x)


def test_a_layer_that_holds_the_norm_before_it_is_refused_alone() -> None:
    """In forward() it gives what it gave."""
    folded = fold_module(drawn(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1))), (batch(2, 3, 8, 8),))
    assert folded.removed == ("1",)
    with pytest.raises(UsageError, match="2 is a part of a fold"):
        folded.module.get_submodule("2")(batch(2, 3, 8, 8))


def test_a_container_that_is_called_alone_is_followed_too() -> None:
    module = drawn(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.ReLU()))
    folded = fold_module(module, (batch(2, 3, 8, 8),)).module
    with torch.no_grad():
        x = batch(1, 3, 7, 7)
        torch.testing.assert_close(folded.get_submodule("0")(x), module.get_submodule("0")(x), rtol=1e-4, atol=1e-4)


class Repeated(nn.Module):
    """A convolution, and a block that begins with a norm and reads it twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.block = nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        out: Tensor = self.block(y) + self.block(y)
        return out


def test_a_block_whose_norm_is_gone_is_refused_alone_where_it_runs_twice_on_one_value() -> None:
    module = drawn(Repeated())
    folded = fold_module(module, (batch(2, 3, 8, 8),))
    assert folded.removed == ("block.0",)
    with torch.no_grad():
        torch.testing.assert_close(folded.module(batch(1, 3, 7, 7)), module(batch(1, 3, 7, 7)), rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match=r"block\.0 reads values without its norm"):
        folded.module.get_submodule("block")(batch(2, 4, 8, 8))


@pytest.mark.parametrize("first", [False, True], ids=["behind", "in front"])
def test_another_rank_is_refused_where_the_norm_would_be_of_another_axis(first: bool) -> None:
    """BatchNorm1d takes the second axis, Linear the last one."""
    parts = (nn.BatchNorm1d(4), nn.Linear(4, 4)) if first else (nn.Linear(4, 4), nn.BatchNorm1d(4))
    folded = fold_module(drawn(nn.Sequential(*parts)), (batch(6, 4),))
    assert folded.removed == ("0" if first else "1",)
    with pytest.raises(UsageError, match="was folded for other calls than this one"):
        folded.module(batch(2, 4, 4))


class LayerScale(nn.Module):
    """A factor for each channel, the last axis of any rank."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.tensor([0.5, -1.0, 2.0, 1.5]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


@pytest.mark.parametrize("shape", [(6, 4), (2, 6, 4)])
def test_another_rank_is_taken_where_the_fold_is_right_for_it(shape: tuple[int, ...]) -> None:
    module = nn.Sequential(nn.Linear(4, 4), LayerScale()).eval()
    folded = fold_module(module, (batch(*shape),))
    assert folded.removed == ("1",) and {"one more axis", "one axis less"} <= {*folded.calls}
    with torch.no_grad():
        for other in ((6, 4), (2, 5, 4)):
            torch.testing.assert_close(folded.module(batch(*other)), module(batch(*other)), rtol=1e-4, atol=1e-4)


def crowded(self: Paths, x: Tensor) -> Any:
    y = self.conv(x).flip(3)
    if self.flag:
        self.flag = False
        with ThreadPoolExecutor(1) as threads:
            return self.bn(y), threads.submit(self, x[:1]).result()
    return self.bn(y)


def test_a_call_of_another_thread_is_none_of_the_call_that_is_followed() -> None:
    module = drawn(Paths(crowded))
    folded = fold_module(module, (batch(2, 3, 8, 8),)).module
    module.flag = folded.flag = True  # type: ignore[assignment]  # of Paths
    with torch.no_grad():
        torch.testing.assert_close(folded(batch(3, 3, 9, 9)), module(batch(3, 3, 9, 9)), rtol=1e-4, atol=1e-4)


def test_training_is_warned_of_and_refused(folded_raw: Folded[nn.Module]) -> None:
    module = copy.deepcopy(folded_raw.module)
    with pytest.warns(UserWarning, match="folded for inference"):
        module.train()
    with pytest.raises(UsageError, match="call eval"):
        module(batch(2, 3, 8, 8))
    module.eval()
    module(batch(2, 3, 8, 8))


def pickled(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


@pytest.mark.parametrize("again", [copy.deepcopy, pickled], ids=["deepcopy", "pickle"])
def test_the_guard_goes_with_a_copy(again: Callable[[nn.Module], nn.Module]) -> None:
    folded = again(
        fold_module(drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))), (batch(2, 3, 8, 8),)).module
    )
    folded(batch(1, 3, 9, 9))
    with pytest.raises(UsageError, match="outside of forward"):
        folded.get_submodule("0")(batch(2, 3, 8, 8))


class TwoNames(nn.Module):
    """A convolution under two names, and a way that uses it without its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.block, self.flags = nn.Sequential(self.stem, self.bn), {"raw": False}

    def forward(self, x: Tensor) -> Any:
        return self.stem(x) if self.flags["raw"] else self.block(x)


def test_a_module_under_two_names_is_one_step() -> None:
    module = drawn(TwoNames())
    folded: Any = fold_module(module, (batch(2, 3, 8, 8),)).module
    torch.testing.assert_close(folded.block(batch(1, 3, 7, 7)), module(batch(1, 3, 7, 7)), rtol=1e-4, atol=1e-4)
    folded.flags["raw"] = True
    with pytest.raises(UsageError, match="it returns the output of stem"):
        folded(batch(2, 3, 8, 8))


def stack() -> nn.Sequential:
    """Two convolutions with norms, one of them in a part of its own, and a head without any."""
    inner = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), inner, nn.Flatten(), nn.Linear(64, 5))


REPLACED: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "a convolution": (0, lambda: nn.Conv2d(3, 4, 3)),
    "a norm that is gone": (1, lambda: nn.BatchNorm2d(4).eval()),
    "what contains them": (3, lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).eval()),
    "by a module without such a part": (3, lambda: nn.Conv2d(4, 4, 3)),
}


@pytest.mark.parametrize("name", REPLACED)
def test_a_part_that_is_replaced_after_the_fold_is_refused(name: str) -> None:
    place, make = REPLACED[name]
    x = batch(2, 3, 8, 8)
    folded: Any = fold_module(drawn(stack()), (x,)).module
    folded(x)
    folded[place] = make()
    with pytest.raises(UsageError, match="was replaced"):
        folded(x)


def no_forward(x: Tensor) -> Tensor:
    return x


PUT: dict[str, Callable[[Any], object]] = {
    "a weight": lambda conv: setattr(conv, "weight", nn.Parameter(batch(4, 3, 3, 3))),
    "no bias": lambda conv: setattr(conv, "bias", None),
    "a forward()": lambda conv: setattr(conv, "forward", no_forward),
    "a hook that computes": lambda conv: conv.register_forward_hook(lambda part, args, output: output * 2),
    "a hook that reads": lambda conv: conv.register_forward_hook(lambda part, args, output: output.mean() and None),
}


@pytest.mark.filterwarnings("ignore:hooks on 0")
@pytest.mark.parametrize("name", PUT)
def test_what_is_put_on_a_changed_part_after_the_fold_is_refused(name: str) -> None:
    x = batch(2, 3, 8, 8)
    folded: Any = fold_module(drawn(stack()), (x,)).module
    folded(x)
    PUT[name](folded[0])
    with pytest.raises(UsageError, match=r"0 of Sequential was replaced|reads the output of 0"):
        folded(x)


def test_weights_for_a_changed_part_alone_are_refused() -> None:
    folded: Any = fold_module(drawn(stack()), (batch(2, 3, 8, 8),)).module
    with pytest.raises(UsageError, match="Conv2d holds a folded norm"):
        folded[0].load_state_dict({"weight": batch(4, 3, 3, 3), "bias": batch(4)})
    folded[5].load_state_dict(drawn(nn.Linear(64, 5)).state_dict())


def test_a_hook_that_only_keeps_a_changed_value_is_warned_of() -> None:
    x, seen = batch(2, 3, 8, 8), []
    folded: Any = fold_module(drawn(stack()), (x,)).module
    folded[0].register_forward_hook(lambda part, args, output: seen.append(output))
    folded[1].register_forward_hook(lambda part, args, output: seen.append(output.mean()))
    with pytest.warns(UserWarning, match="hooks on 0 of Sequential see other values than before the fold"):
        folded(x)
    assert len(seen) == 2


class Halved(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


MADE_OF_ITS_OWN: dict[str, Callable[[Any], object]] = {
    "pruned": lambda folded: torch.nn.utils.prune.l1_unstructured(folded[0], "weight", 0.5),  # type: ignore[no-untyped-call]  # torch's
    "parametrized": lambda folded: torch.nn.utils.parametrize.register_parametrization(folded[0], "weight", Halved()),
    "assigned": lambda folded: folded.load_state_dict(
        {key: value.clone() for key, value in folded.state_dict().items()}, assign=True
    ),
    "traced again": lambda folded: torch.export.export(folded, (batch(2, 3, 8, 8),)),
}


@pytest.mark.parametrize("name", MADE_OF_ITS_OWN)
def test_what_is_made_of_the_folded_weights_is_taken(name: str) -> None:
    x = batch(2, 3, 8, 8)
    folded: Any = fold_module(drawn(stack()), (x,)).module
    folded(x)
    MADE_OF_ITS_OWN[name](folded)
    folded(x)


def test_a_folded_module_may_be_called_with_other_tensors_for_its_weights() -> None:
    x = batch(2, 3, 8, 8)
    folded: Any = fold_module(drawn(stack()), (x,)).module
    given = {key: value.detach().clone() for key, value in folded.named_parameters()}
    assert torch.equal(torch.func.functional_call(folded, given, (x,)), folded(x))


def test_a_part_that_no_fold_has_changed_may_be_replaced_or_compiled() -> None:
    x = batch(2, 3, 8, 8)
    original: Any = drawn(stack())
    folded: Any = fold_module(original, (x,)).module
    folded(x)
    folded[5] = original[5] = drawn(nn.Linear(64, 7))
    folded[0] = torch.compile(folded[0], backend="eager")
    assert torch.allclose(folded(x), original(x), atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # torch announces that this way of quantizing moves to another package
def test_a_changed_part_may_be_quantized() -> None:
    x, original = batch(8, 16), drawn(nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4)))
    folded = fold_module(original, (x,)).module
    quantize: Any = torch.ao.quantization.quantize_dynamic  # which has no types
    quantized = quantize(folded, {nn.Linear})
    assert torch.allclose(quantized(x), original(x), atol=0.1)


@pytest.mark.filterwarnings("ignore")  # the same
def test_observers_may_read_changed_values() -> None:
    x, tools = batch(2, 3, 8, 8), torch.ao.quantization
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    original = drawn(nn.Sequential(tools.QuantStub(), layers, tools.DeQuantStub()))
    folded: Any = fold_module(original, (x,)).module
    folded.qconfig = tools.get_default_qconfig("fbgemm")  # type: ignore[no-untyped-call]  # torch's
    prepared = tools.prepare(folded)  # type: ignore[no-untyped-call]  # the same
    prepared(x)
    quantized = tools.convert(prepared)  # type: ignore[no-untyped-call]  # the same
    assert torch.allclose(quantized(x), original(x), atol=0.1)
