"""What a user meets in Python and in continuous integration."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from tests.sweeps.friendly.place import Place

# -- Python -------------------------------------------------------------------------------------------------------


def python_as_people_write_it(place: Place) -> bool:
    """``inputs=`` takes a mapping, several, or paths; results verify, print in a line and show in a notebook."""
    end = place.script(
        """
        import numpy as np, normfold
        path = "models/residual.onnx"
        x = {"image": np.random.rand(1, 3, 32, 32).astype("float32")}
        np.savez("x.npz", **x)
        result = normfold.optimize(path, inputs=x)
        for form in ([x, x], "x.npz", ["x.npz"]):
            assert normfold.verify(path, result, inputs=form)
        assert len(repr(result)) < 200 and "\\n" not in repr(result)
        assert result._repr_html_().startswith("<p>")
        assert result.save_report("x.html").exists()
        assert not {"optimize", "check", "diff", "bench", "testing"} - set(dir(normfold))
        assert normfold.optimize(path, skip="batchnorm").folds == ()
        assert not normfold.diff(path, path) and len(normfold.check("models")) == 3
        assert normfold.bench(path, rounds=2).timings
        meta = {entry.key: entry.value for entry in result.model.metadata_props}
        assert len(meta["normfold.original"]) == 64 and meta["normfold.version"] == normfold.__version__
        try:
            normfold.testing.assert_equivalent(path, "models/transformer.onnx")
        except AssertionError as error:
            assert "expected the inputs" in str(error)
        try:
            normfold.optimize(path, skp="batchnorm")
        except TypeError as error:
            assert "did you mean skip?" in str(error)
        """
    )
    return (end.code, end.out, end.err) == (0, "", "")


def progress_everywhere(place: Place) -> bool:
    """``on_stage`` is called by every function that takes long."""
    end = place.script(
        """
        import normfold
        path, seen = "models/residual.onnx", []
        result = normfold.optimize(path, on_stage=seen.append)
        calls = [
            lambda: normfold.inspect(path, on_stage=seen.append),
            lambda: normfold.verify(path, result, on_stage=seen.append),
            lambda: normfold.check("models", on_stage=seen.append),
            lambda: normfold.diff(path, path, on_stage=seen.append),
            lambda: normfold.bench(path, rounds=1, on_stage=seen.append),
            lambda: normfold.optimize_many([path], "many", on_stage=seen.append),
        ]
        for call in calls:
            before = len(seen)
            call()
            assert len(seen) > before, call
        """
    )
    return (end.code, end.err) == (0, "")


def inputs_of_every_library(place: Place) -> bool:
    """Arrays are whatever numpy makes one of; results can be hashed, pickled, and saved after the script moved on."""
    end = place.script(
        """
        import array, os, pickle, normfold
        path = "models/residual.onnx"
        result = normfold.optimize(path)
        class OfSomeLibrary:
            def __init__(self, dtype): self.dtype = dtype
            def __array__(self, dtype=None, copy=None): return __import__("numpy").ones((1, 3, 32, 32), self.dtype)
        nested = [[[[0.5] * 32] * 32] * 3]
        for image in (nested, OfSomeLibrary("float32"), OfSomeLibrary("float64")):
            assert normfold.verify(path, result, inputs={"image": image}), image
        assert {result: 1}[result] and repr(pickle.loads(pickle.dumps(result))) == repr(result)
        os.mkdir("elsewhere"); os.chdir("elsewhere")
        result.save("saved.onnx"); result.save_report("saved.html")
        assert normfold.verify("../" + path, "saved.onnx")
        """
    )
    return (end.code, end.out, end.err) == (0, "", "")


def a_strict_script_is_silent(place: Place) -> bool:
    """With every warning an error, in threads, in an event loop and with closed streams nothing else is printed."""
    end = place.script(
        """
        import warnings; warnings.simplefilter("error")
        import asyncio, sys, normfold
        from concurrent.futures import ThreadPoolExecutor
        path = "models/residual.onnx"
        async def both():
            return await asyncio.gather(*[asyncio.to_thread(normfold.optimize, path, seed=seed) for seed in (1, 2)])
        results = asyncio.run(both())
        with ThreadPoolExecutor(2) as executor:
            assert len(set(executor.map(repr, [*results, normfold.inspect(path)]))) == 2
        sys.stdout = sys.stdin = None
        assert normfold.verify(path, results[0])
        """
    )
    return (end.code, end.out, end.err) == (0, "", "")


def callbacks_raise_as_they_are(place: Place) -> bool:
    """What a callback raises comes back as it is, and nothing was written."""
    end = place.script(
        """
        import pathlib, normfold
        def stop(stage): raise LookupError(stage)
        for call in (normfold.optimize, normfold.inspect):
            try:
                call("models/residual.onnx", on_stage=stop)
            except LookupError:
                continue
            raise AssertionError(call)
        """
    )
    return (end.code, end.out, end.err) == (0, "", "")


def names_are_listed(place: Place) -> bool:
    """``help`` lists the public functions with every option."""
    end = place.script("import normfold; help(normfold); help(normfold.optimize)")
    return end.code == 0 and "optimize_many(" in end.out and "max_growth" in end.out


# -- continuous integration ---------------------------------------------------------------------------------------


def a_lock_takes_a_new_optimal_model(place: Place) -> bool:
    """A lock does not turn a new, optimal model red, and annotations are no more than ten of a kind."""
    place.normfold("check", "models", "--update-lock", "--lock", "models/normfold.lock")
    place.normfold("optimize", "models/residual.onnx", "-o", "models/new.onnx")
    passed = place.normfold("check", "models", "--lock", "models/normfold.lock")
    loud = place.normfold("check", "models", "--report", "-", "--format", "github", "-q").out.splitlines()
    (place.folder / "models" / "new.onnx").unlink()
    return passed.code == 0 and sum(line.startswith("::error") for line in loud) == 11  # ten, and how many more


def an_original_that_is_missing_is_said(place: Place) -> bool:
    """Remedies do not contradict the message: a git LFS pointer, a missing original."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (place.folder / "lfs.onnx").write_text(pointer)
    lfs = place.normfold("inspect", "lfs.onnx")
    missing = place.normfold("check", "models/residual.onnx", "--verify-against", "models/nosuch.onnx")
    return (
        lfs.code == 3
        and "git lfs pull" in lfs.err
        and missing.code in (2, 3)
        and "nosuch.onnx" in (missing.out + missing.err)
    )


def the_action_works(place: Place) -> bool:
    """The Action: its environment, pinned actions, outputs, annotations, paths with blanks, a workflow in README."""
    return place.passes("tests/test_action.py")


def reports_are_valid(place: Place) -> bool:
    """JUnit is valid by its XSD, SARIF by its schema, with results for what fails only."""
    place.normfold("optimize", "models/residual.onnx", "-o", "models/done.onnx")
    end = place.normfold("check", "models", "--report", "x.sarif", "--report", "x.xml", "-q")
    (place.folder / "models" / "done.onnx").unlink()
    (run,) = json.loads((place.folder / "x.sarif").read_text())["runs"]
    files = {each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for each in run["results"]}
    is_said = run["tool"]["driver"]["informationUri"].startswith("https://") and "models/done.onnx" not in files
    cases = list(ElementTree.parse(place.folder / "x.xml").iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None]
    return end.code == 1 and is_said and 0 < len(failed) < len(cases) and place.passes("tests/report/test_formats.py")


def versions_are_run_by_a_command(place: Place) -> bool:
    """One command runs the suite on the lowest and the newest versions (it is only asked for its help here)."""
    return "oldest" in place.module("tests.sweeps.versions", "--help").out
