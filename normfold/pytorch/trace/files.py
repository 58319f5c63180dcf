"""Files that torch wrote, read without running what is in them: weights, torch.export archives, TorchScript archives.

A pickle can run any code while it is loaded. State dicts are read by torch's restricted unpickler
(``weights_only=True``) or as safetensors. A torch.export archive (``.pt2``) holds pickles, expressions that sympy
evaluates and names of functions to call; each is looked at before torch sees the file, and whatever is not plainly
harmless is refused.
``trust_pickle=True`` is the user's word that the file is their own. Sources: torch.load, torch.export.load.
"""

from __future__ import annotations

import ast
import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from normfold.errors import SourceError
from normfold.files.untrusted import check_archive, parse_json

WAY_OUT = "if the file is your own or you trust its author, pass --trust-pickle (trust_pickle=True)"


def load_weights(path: str | Path, *, trust_pickle: bool = False) -> dict[str, torch.Tensor]:
    """Read a state dict from ``.safetensors`` or a ``.pt``/``.pth`` file, on the CPU.

    A checkpoint that keeps its weights under ``state_dict``, ``model`` or ``model_state_dict`` is unwrapped.
    SourceError when the file cannot be read, is a pickle that needs more than tensors, or holds no state dict.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    loaded = _unpickle(_content(path), str(path), trust_pickle)
    if isinstance(loaded, torch.nn.Module):
        return loaded.state_dict()
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise SourceError(
            f"{path}: expected a state dict of tensors, got {type(loaded).__name__}; save module.state_dict()"
        )
    return {str(key): value for key, value in loaded.items()}


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise SourceError(f"{path}: safetensors is not installed; pip install 'normfold[torch]'") from error
    try:
        weights: dict[str, torch.Tensor] = load(_content(path))
        return weights
    except SafetensorError as error:
        raise SourceError(f"{path}: expected a safetensors file: {error}") from error


def load_model(path: str | Path, *, trust_pickle: bool = False) -> torch.export.ExportedProgram | torch.nn.Module:
    """Read a torch.export or TorchScript archive, or a pickled module. SourceError for weights alone."""
    path = Path(path)
    kind = "weights" if path.suffix == ".safetensors" else kind_of(path)
    if kind == "exported":
        return load_exported(path, trust_pickle=trust_pickle)
    if kind == "script":
        return load_script(path, trust_pickle=trust_pickle)
    if kind == "pickle" and trust_pickle:
        loaded = _unpickle(_content(path), str(path), trust_pickle)
        if isinstance(loaded, torch.nn.Module):
            return loaded.eval()
    if not kind:
        raise SourceError(f"{path}: expected an archive of torch.export.save or torch.jit.save, got something else")
    raise SourceError(
        f"{path}: holds weights (or a pickled object) without the network; pass what builds it: "
        f"normfold export package.module:factory --weights {path.name} --input 1x3x224x224"
    )


def load_exported(path: str | Path, *, trust_pickle: bool = False) -> torch.export.ExportedProgram:
    """Read the program of a torch.export archive (``.pt2``). SourceError when it is none, or could run code."""
    content = _content(Path(path))
    if not trust_pickle:
        refuse_code(content, str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecations, nothing about the file
            program = torch.export.load(io.BytesIO(content))
    except Exception as error:  # a broken archive raises whatever its first broken part meets
        raise SourceError(
            f"{path}: expected an archive of torch.export.save, torch cannot load it: {_line(error)}"
        ) from error
    if not trust_pickle:
        program._guards_code = []  # checks of the inputs, in Python that torch would compile
    return program


def load_script(path: str | Path, *, trust_pickle: bool = False) -> torch.jit.ScriptModule:
    """Read the module of a TorchScript archive, on the CPU, in eval mode. SourceError when its code touches files."""
    content = _content(Path(path))
    if not trust_pickle:
        for name, code in _scripts(content):
            found = _TOUCHES_FILES.search(code)
            if found:
                raise SourceError(f"{path}: {name} calls {found.group().decode()}..., which can write files; {WAY_OUT}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit announces its own deprecation
            module: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]  # it has no types
                io.BytesIO(content), map_location="cpu"
            )
            return module.eval()
    except RuntimeError as error:
        raise SourceError(f"{path}: expected a TorchScript archive, torch cannot load it: {_line(error)}") from error


def kind_of(path: str | Path) -> str:
    """Tell what a torch file is, without loading it: ``exported``, ``script``, ``pickle`` or "" for none of them."""
    content = _content(Path(path))
    if content[:2] == b"\x80\x02" or content[:1] == b"\x80":
        return "pickle"  # the format before torch 1.6
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return ""
    if any(re.search(r"(^|/)(models/.*\.json|serialized_exported_program\.json)$", name) for name in names):
        return "exported"
    if any(re.search(r"(^|/)constants\.pkl$", name) for name in names):
        return "script"
    return "pickle" if any(re.search(r"(^|/)data\.pkl$", name) for name in names) else ""


def _content(path: Path) -> bytes:
    """Return the bytes of a file. SourceError where it cannot be read, and for an archive that unpacks to too much."""
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_archive(archive)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    except zipfile.BadZipFile:
        return content
    except ValueError as error:
        raise SourceError(f"{path}: expected an archive of torch.save, got {error}") from error
    return content


def _unpickle(content: bytes, name: str, trust_pickle: bool) -> Any:
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{name}: a pickle that needs more than tensors, and so may run any code; {WAY_OUT}"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, ModuleNotFoundError) as error:
        raise SourceError(
            f"{name}: expected a state dict of torch.save, torch cannot load it: {_line(error)}"
        ) from error


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


# -- torch.export archives ----------------------------------------------------------------------------------------

_PICKLES = re.compile(r"\.pt$|(^|/)serialized_(state_dict|constants|example_inputs)\.(pt|json)$")
_OBJECTS = re.compile(r"/constants/(custom_obj|opaque_obj)|/aotinductor/|\.(so|pyd|dll|dylib|pkl)$")
_TARGETS = re.compile(
    r"torch\.ops\.(aten|prim|prims|torchvision|quantized_decomposed)\.\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|associative_scan|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|torch\.sym_\w+|math\.\w+"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|getitem|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|lshift|rshift)"
)
_FILE_OPERATORS = re.compile(r"from_file|save|load")
_IMPORTS = re.compile(r"default_factory|__enum__")
_CALLABLE = frozenset((
    "Symbol", "Integer", "Float", "Rational", "Eq", "Ne", "Ge", "Gt", "Le", "Lt", "And", "Or", "Not", "Max", "Min",
    "Add", "Mul", "Pow", "Mod", "floor", "ceiling", "Abs", "Piecewise", "FloorDiv", "ModularIndexing", "Where",
    "PythonMod", "CleanDiv", "CeilToInt", "FloorToInt", "CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow",
    "FloatTrueDiv", "IntTrueDiv", "IsNonOverlappingAndDenseIndicator", "TruncToFloat", "TruncToInt", "RoundToInt",
    "RoundDecimal", "ToFloat", "Identity",
))  # fmt: skip
_HARMLESS_NODES = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.keyword, ast.BinOp, ast.UnaryOp, ast.BoolOp,
    ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.Tuple,
)  # fmt: skip


def refuse_code(content: bytes, name: str) -> None:
    """SourceError when loading this torch.export archive could run code: pickles, objects, expressions, functions."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                if _OBJECTS.search(member):
                    raise SourceError(f"{name}: {member} holds compiled code or a pickled object; {WAY_OUT}")
                if _PICKLES.search(member):
                    _refuse_pickle(archive.read(member), f"{name}: {member}")
                elif member.endswith(".json"):
                    _refuse_json(archive.read(member), f"{name}: {member}")
    except (zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise SourceError(f"{name}: expected an archive of torch.export.save: {_line(error)}") from error


def _refuse_pickle(content: bytes, name: str) -> None:
    """Torch falls back to the unrestricted unpickler where the restricted one fails, so it must not fail."""
    if content:
        _unpickle(content, name, trust_pickle=False)


def _refuse_json(content: bytes, name: str) -> None:
    for key, value in _strings(parse_json(content)):
        if key == "expr_str" and not is_harmless_expression(value):
            raise SourceError(f"{name}: the expression {value[:80]!r} could run code; {WAY_OUT}")
        if key in ("target", "as_operator") and (not _TARGETS.fullmatch(value) or _FILE_OPERATORS.search(value)):
            raise SourceError(
                f"{name}: it calls {value[:80]!r}, which is no operator that is known to be harmless; {WAY_OUT}"
            )
        if key == "name" and not re.fullmatch(r"[\w.]*", value):
            raise SourceError(f"{name}: {value[:80]!r} is no name, and torch writes names into code; {WAY_OUT}")
        if key in ("in_spec", "out_spec") and _IMPORTS.search(value):
            raise SourceError(f"{name}: its argument structure imports modules; {WAY_OUT}")
        if key == "use_pickle" and value != "False":
            raise SourceError(f"{name}: it holds pickled tensors, which may run any code; {WAY_OUT}")


def _strings(tree: Any) -> Iterator[tuple[str, str]]:
    """Every (key, string) of a JSON tree."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if isinstance(value, str) or key == "use_pickle":
                yield key, str(value)
            else:
                yield from _strings(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _strings(value)


def is_harmless_expression(text: str) -> bool:
    """Whether an expression has only numbers, symbols, arithmetic and the functions that torch itself writes."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        return False
    return all(map(_is_harmless_node, ast.walk(tree)))


def _is_harmless_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _CALLABLE
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, str) or re.fullmatch(r"[A-Za-z]\w*", node.value) is not None
    return isinstance(node, _HARMLESS_NODES)


# -- TorchScript archives -----------------------------------------------------------------------------------------

_TOUCHES_FILES = re.compile(rb"\b(from_file|aten\.save|torch\.save|torch\.load|ops\.image\.\w+)\b")


def _scripts(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the members of an archive that hold TorchScript source."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                if member.endswith(".py"):
                    yield member, archive.read(member)
    except zipfile.BadZipFile:
        return
