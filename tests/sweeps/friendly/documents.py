"""What a user reads, looks at and installs."""

from __future__ import annotations

import json
import re
import shutil

from tests.sweeps.friendly.place import ROOT, Place

README = (ROOT / "README.md").read_text(encoding="utf-8")


def the_readme_says_why_in_a_screen(place: Place) -> bool:
    """README says what, why, how much and how before its picture; its commands, Python, tables and picture are true."""
    return place.passes("tests/test_readme.py")


def there_are_three_ways_of_three_lines(place: Place) -> bool:
    """Three boxes of three lines: a file, models in git, PyTorch."""
    section = README.split("## Three ways in")[1].split("\nWhat a run prints")[0]
    return [line.count(" | ") for line in section.splitlines() if line.startswith("| ")] == [2] * 4


def questions_and_limits_are_answered(place: Place) -> bool:
    """The questions of a newcomer have answers, the limits are named, and when it brings nothing."""
    asked = ("done by onnxsim?", "is a norm kept?", "is the proof?", "quantized?", "my file change?")
    return all(question in README for question in (*asked, "\nLimits: ", "When it brings nothing: "))


def the_figures_are_of_a_benchmark(place: Place) -> bool:
    """README's table has nodes, MB, speed, proof and reasons of the peers, and the command that measures them."""
    columns = ("operators", "MB", "times as fast", "proves its result", "says why a norm stays")
    return all(column in README for column in (*columns, "`python -m tests.bench"))


def the_page_is_as_promised(place: Place) -> bool:
    """The page in Chromium: light, dark, print, 500 pixels, axe, keys, branches; README's picture is of it."""
    place.normfold("optimize", "models/transformer.onnx", "-o", "out.onnx", "--report", "page.html")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "chromium")
    shown = place.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "page.html"]).out
    drawn = ('<table id="norms"', '<span class="badge settled">as it should be</span>', "proven equivalent</span>")
    return all(each in shown for each in drawn) and place.passes("tests/report/test_as_html.py")


def packages_are_complete(place: Place) -> bool:
    """Wheel and source distribution have authors, URLs, classifiers, the license and the documents."""
    return place.passes("tests/test_packaging.py")


def the_version_has_a_changelog_and_a_tag(place: Place) -> bool:
    """The version is the newest of the changelog, and a tag of the repository."""
    version = place.normfold("-V").out.split()[-1]
    newest = re.findall(r"^## ([\d.]+), \d{4}-\d\d-\d\d$", (ROOT / ".github" / "CHANGELOG.md").read_text(), re.M)[0]
    return version == newest and f"v{version}" in place.run(["git", "-C", str(ROOT), "tag"]).out.split()


def examples_run(place: Place) -> bool:
    """The notebook is executed; Olive, Optimum and ExecuTorch run in ``python -m tests.sweeps.ecosystem``."""
    notebook = json.loads((ROOT / "tests" / "examples" / "notebook.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    end = place.script("\n".join(cells))
    return end.code == 0 and not end.err and (place.folder / "levit.html").exists()
