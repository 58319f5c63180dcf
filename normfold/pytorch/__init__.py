"""From and to PyTorch; the only room that imports torch. Needs the extra ``normfold[torch]``.

Start reading at ``fold_module.py`` or ``export.py``.
"""

from __future__ import annotations

from importlib.util import find_spec

for _name in ("torch", "onnxscript"):  # torch's exporter needs the second one
    if find_spec(_name) is None:
        raise ModuleNotFoundError(f"normfold.pytorch needs {_name}; pip install 'normfold[torch]'", name=_name)
