"""Run the examples with the real packages of others, each in an environment of its own, and build the image.

    python -m tests.sweeps.ecosystem [olive] [optimum] [executorch] [docker] [--python PYTHON]

``--python`` names an environment that has the packages and normfold already. The command ends with 1 where one fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.sweeps.versions import ROOT, new_environment

PACKAGES = {
    "olive": ["olive-ai", "requests"],  # which olive-ai 0.13 imports and does not ask for
    "optimum": ["optimum-onnx", "transformers<4.58"],
    "executorch": ["executorch", "onnxscript", "safetensors"],
}
BERT = """
from transformers import BertConfig, BertModel
sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=100)
BertModel(BertConfig(**sizes)).save_pretrained("bert")
"""


def olive(python: str, folder: Path) -> None:
    """Run the pass on a model of this repository."""
    example, model = ROOT / "tests" / "examples" / "olive_pass.py", ROOT / "models" / "residual.onnx"
    said = _output([python, str(example), str(model), "out"], folder)
    assert "9 of 9 norms removed" in said, said


def optimum(python: str, folder: Path) -> None:
    """Export a small network with random weights, so that nothing is downloaded."""
    _output([python, "-c", BERT], folder)
    example = ROOT / "tests" / "examples" / "optimum_export.py"
    said = _output([python, str(example), "bert", "out", "feature-extraction"], folder)
    assert "<Result of out/model.onnx" in said, said


def executorch(python: str, folder: Path) -> None:
    """Export a folded module, and run the file."""
    example = ROOT / "tests" / "examples" / "executorch_export.py"
    said = _output([python, str(example), "net.pte"], folder)
    assert "net.pte: 2 norms removed" in said and "equal to the original" in said, said


EXAMPLES = {"olive": olive, "optimum": optimum, "executorch": executorch}


def docker(folder: Path) -> None:
    """Build the image and optimize a model in it."""
    _output(["docker", "build", "--quiet", "--tag", "normfold-sweep", str(ROOT)], folder)
    models = f"{ROOT / 'models'}:/models:ro"
    said = _output(["docker", "run", "--rm", "--volume", models, "normfold-sweep", "inspect", "residual.onnx"], folder)
    assert "9 of 9 norms can be removed" in said, said


def _output(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Run what the command line names, all where it names nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*EXAMPLES, "docker", []], metavar="NAME")
    parser.add_argument("--python")
    chosen = parser.parse_args()
    failed = False
    for name in chosen.names or (*EXAMPLES, "docker"):
        with tempfile.TemporaryDirectory(prefix="normfold-ecosystem-") as folder:
            try:
                if name == "docker":
                    docker(Path(folder))
                else:
                    python = chosen.python or new_environment(sys.executable, PACKAGES[name], Path(folder) / "env")
                    EXAMPLES[name](str(python), Path(folder))
                said = "ok"
            except (subprocess.CalledProcessError, AssertionError, OSError) as error:
                failed = True
                said = f"NOT OK: {error} {getattr(error, 'stderr', '')[-500:]}"
        print(f"{name}: {said}", flush=True)  # noqa: T201  # a sweep's result is what it prints
    sys.exit(failed)


if __name__ == "__main__":
    main()
