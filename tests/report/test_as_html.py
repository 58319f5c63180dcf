"""The HTML report in headless Chromium: it renders, sorts, filters, draws, loads nothing, and runs no names."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

import normfold
from normfold.findings.reason import Reason
from normfold.findings.verdict import Finding, Outcome
from normfold.report.formats import render
from normfold.report.report import Report
from normfold.verify.result import Comparison, Stage, Verification
from tests.conftest import ROOT
from tests.report.samples import FOLDED, HOSTILE, KEPT, PROOF, checked, hostile, sample

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="Chromium or its driver is not installed (apt-get install chromium chromium-driver)",
)
PICTURE = ROOT / "models" / "report.png"
AXE = "axe-core@4.14.1"
Screen = Callable[..., None]
LETTERS = """
const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3);
const seen = [...document.querySelectorAll('#page *')].filter((each) => each.getClientRects().length && own(each));
const scale = (each) => (each.ownerSVGElement ? each.getScreenCTM().a : 1);
return seen.map((each) => parseFloat(getComputedStyle(each).fontSize) * scale(each));
"""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,1000",
)


class Page:
    """A report in a browser, and what the browser says about it."""

    def __init__(self, driver: webdriver.Chrome, folder: Path) -> None:
        self.driver, self.folder = driver, folder

    def show(self, reports: list[Report]) -> None:
        self.load(render(reports, "html"))

    def load(self, text: str) -> None:
        file = self.folder / "report.html"
        file.write_text(text, encoding="utf-8")
        self.complaints(), self.requests()  # what earlier pages left
        self.driver.get(file.as_uri())

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        return list(self.driver.execute_script(script, selector))

    def run(self, script: str) -> object:
        found: object = self.driver.execute_script(script)
        return found

    def sort_by(self, title: str) -> None:
        next(button for button in self.all("#norms th button") if button.text.startswith(title)).click()

    def complaints(self) -> list[str]:
        """Errors and warnings on the console."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]  # selenium's own gap

    def requests(self) -> list[str]:
        """What was asked for since the last time, but the page itself and the browser's own start page."""
        log = self.driver.get_log("performance")  # type: ignore[no-untyped-call]  # selenium's own gap
        events = [json.loads(entry["message"])["message"] for entry in log]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("file:", "data:", "about:", "chrome:"))]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield Page(driver, folder)
    driver.quit()


@pytest.fixture(scope="module")
def real() -> Report:
    """A proven result with pictures."""
    return normfold.optimize(ROOT / "models" / "levit_like.onnx").report(pictures=True)


def many(count: int) -> Report:
    """A report on ``count`` norms, with a site for each."""
    folded = [
        replace(FOLDED, finding=Finding(f"bn_{index}", "BatchNormalization", f"v{index}", is_norm=True))
        if index % 10
        else replace(KEPT, finding=Finding(f"shift_{index}", "Add", f"v{index}"))
        for index in range(count)
    ]
    sites = tuple(
        Comparison(
            f"v{i}", Stage.AT_SITE, True, relative=1e-7 * (1 + i % 97), tolerance=1e-4, margin=1e-3 * (1 + i % 97)
        )
        for i in range(count)
    )
    sites = tuple(replace(site, folds=(v.finding.name,)) for site, v in zip(sites, folded, strict=True))
    return replace(sample(), verdicts=tuple(folded), verification=Verification(PROOF.verdict, sites=sites))


def test_it_renders_without_a_word_on_the_console_or_a_request(page: Page, real: Report) -> None:
    page.show([real])
    assert page.one("h1").text == real.model
    assert page.one(".lead").text.startswith("17 of 17 norms removed")
    for outcome in (Outcome.FOLDED, Outcome.KEPT):
        assert f"{len(real.of(outcome))} {outcome.value}" in page.one(".lead").text
    assert "proven equivalent" in page.one(".lead").text
    assert len(page.all("#norms tr.row")) == len(real.verdicts)
    assert page.one(".tile").text.split("\n")[:2] == ["operators", str(real.after.nodes)]
    assert len(page.all("#operators .bar-after")) == len(page.all("#operators .bar-before")) > 5
    assert real.verification is not None
    assert len(page.all("#evidence .dot")) == len(page.all("#evidence .allowed")) == len(real.verification.sites)
    assert page.complaints() == []
    assert page.requests() == []


def test_a_latency_is_shown_where_it_was_measured(page: Page) -> None:
    page.show([sample()])
    assert "latency" not in page.one(".tiles").text
    page.show([replace(sample(), latency=(2.0, 1.5))])
    assert "latency\n1.5 ms\nfrom 2 ms, −25 %" in page.one(".tiles").text


def test_a_click_on_a_row_draws_before_and_after(page: Page, real: Report) -> None:
    page.show([real])
    index = next(i for i, v in enumerate(real.verdicts) if v.direction == "forward")
    page.all("#norms tr.row")[index].click()
    before, after = page.all(".detail figure")
    assert before.find_element(By.CSS_SELECTOR, ".box.finding").text.startswith("BatchNormalization")
    assert after.find_elements(By.CSS_SELECTOR, ".box.into")
    assert not after.find_elements(By.CSS_SELECTOR, ".box.finding, .box.gone")
    assert before.find_elements(By.CSS_SELECTOR, "path.arrow")
    page.all("#norms tr.row")[index].click()
    assert page.all(".detail") == []


def test_the_table_sorts(page: Page, real: Report) -> None:
    page.show([real])
    for expected in ("ascending", "descending"):
        page.sort_by("name")
        names = page.texts("#norms tr.row td:nth-child(2)")
        assert sorted(names, key=str.lower, reverse=expected == "descending") == names
        assert page.all("#norms th")[1].get_attribute("aria-sort") == expected
    page.sort_by("verdict")
    assert page.texts("#norms tr.row .badge") == ["kept"] * len(real.of(Outcome.KEPT)) + ["folded"] * len(
        real.of(Outcome.FOLDED)
    )
    page.sort_by("error")
    page.sort_by("error")
    margins = page.run("return data.reports[0].rows.slice().sort((a, b) => b.error?.[2] - a.error?.[2])[0].name")
    assert page.texts("#norms tr.row td:nth-child(2)")[0] == margins


def test_the_table_filters(page: Page, real: Report) -> None:
    page.show([real])
    kept = len(real.of(Outcome.KEPT))
    page.one('[data-outcome="folded"]').click()
    assert set(page.texts("#norms tr.row .badge")) == {"kept"}
    assert page.one(".shown").text == f"{kept} of {len(real.verdicts)}"
    page.one('[data-outcome="folded"]').click()
    page.one("#search").send_keys("blocks.1 batchnorm")
    names = page.texts("#norms tr.row td:nth-child(2)")
    assert names
    assert all("blocks.1" in name for name in names)
    page.one("#search").clear()
    page.one("#search").send_keys("no such norm")
    assert page.all("#norms tr.row") == []
    page.one("#search").clear()
    page.run("const s = document.querySelector('#search'); s.value = ''; s.dispatchEvent(new Event('input'))")
    page.one("#reason option:nth-child(2)").click()
    assert 0 < len(page.all("#norms tr.row")) <= kept


def test_hover_names_the_site_and_a_click_leads_to_its_row(page: Page, real: Report) -> None:
    page.show([real])
    dot = page.all("#evidence .dot")[2]
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", dot)
    ActionChains(page.driver).move_to_element(dot).perform()
    assert real.verification is not None
    site = real.verification.sites[2]
    assert site.value in page.one(".tooltip").text
    assert "allowed" in page.one(".tooltip").text
    ActionChains(page.driver).click(dot).perform()
    assert page.one("tr.row.open td:nth-child(2)").text in site.folds


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program of axe-core from npm, which checks a page for those who cannot see or cannot use a mouse."""
    folder, npm = tmp_path_factory.mktemp("axe"), shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, which brings axe-core")
    done = subprocess.run([npm, "pack", AXE], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot bring {AXE}: {done.stderr[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


@pytest.fixture
def screen(page: Page) -> Iterator[Screen]:
    """Set width, colours and medium of the browser, and set them back at the end."""

    def set_to(width: int, scheme: str = "light", media: str = "") -> None:
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})

    yield set_to
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 500])
def test_axe_finds_nothing(page: Page, real: Report, axe: str, screen: Screen, scheme: str, width: int) -> None:
    screen(width, scheme)
    program = f"{axe}; const done = arguments[0]; axe.run(document).then((found) => done(found.violations), done)"
    for reports in ([real], [sample(), checked()]):
        page.show(reports)
        page.run("document.querySelectorAll('#norms .open-row')[1].click()")
        found = page.driver.execute_async_script(program)
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []


def test_at_500_pixels_norms_are_cards_and_letters_stay_readable(page: Page, real: Report, screen: Screen) -> None:
    screen(500)
    page.show([real])
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert page.run("return getComputedStyle(document.querySelector('#norms tr.row')).display") == "block"
    sizes = page.run(LETTERS)
    assert isinstance(sizes, list) and len(sizes) > 100
    assert min(sizes) >= 10.9, "in pixels"


def test_a_print_on_a4_has_every_row_with_its_reason(page: Page, screen: Screen) -> None:
    report = many(450)
    page.show([report])
    screen(794, media="print")  # A4 at 96 dots an inch
    page.run("dispatchEvent(new Event('beforeprint'))")
    rows = page.run(
        """return [...document.querySelectorAll('#norms tr.row')].map((row) => [row.querySelector('.reason').innerText,
           row.getBoundingClientRect().right <= innerWidth, row.querySelector('.reason').scrollWidth
           <= row.querySelector('.reason').clientWidth + 1])"""
    )
    assert isinstance(rows, list) and len(rows) == len(report.verdicts)
    assert all(all(row) for row in rows)
    assert page.run("return getComputedStyle(document.querySelector('.filters')).display") == "none"


@pytest.mark.parametrize(("width", "media"), [(1280, ""), (700, ""), (500, ""), (794, "print")])
def test_no_word_reaches_into_the_next_column(page: Page, screen: Screen, width: int, media: str) -> None:
    report = normfold.inspect(ROOT / "models" / "transformer.onnx").report()
    assert report.settled_by_reason, "the widest word"
    page.show([report])
    screen(width, media=media)
    wide = """const end = (element) => element.getBoundingClientRect().right;
        const cells = [...document.querySelectorAll('#norms tr.row td')];
        return cells.filter((cell) => [...cell.children].some((e) => end(e) > end(cell))).map((c) => c.innerText)"""
    assert page.run(wide) == []
    assert not page.one("#norms td:nth-child(6)").is_displayed(), "nothing was measured"


def test_a_print_keeps_each_chart_with_its_heading(page: Page, real: Report, screen: Screen) -> None:
    page.show([real])
    screen(794, media="print")
    for chart in ("operators", "evidence"):
        assert page.run(f"return getComputedStyle(document.getElementById('{chart}')).breakInside") == "avoid"


def test_a_table_is_one_tab_stop_and_the_arrows_move_in_it(page: Page, real: Report) -> None:
    for reports, table in (([real], "#norms"), ([sample(), checked()], ".models")):
        page.show(reports)
        stops = f"{table} tbody button:not([tabindex='-1']), {table} tbody [tabindex='0']"
        assert len(page.all(stops)) == 1
        first, second = page.all(f"{table} .open-row")[:2]
        page.driver.execute_script("arguments[0].focus()", first)
        ActionChains(page.driver).send_keys(Keys.ARROW_DOWN).perform()
        assert page.driver.switch_to.active_element == second
        assert len(page.all(stops)) == 1


def test_the_picture_of_the_readme_is_that_of_this_page(
    page: Page, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UPDATE_SNAPSHOTS=1 takes it again: the program, the style, or what becomes of the model have changed."""
    monkeypatch.chdir(ROOT)
    text = render(normfold.optimize("models/levit_like.onnx").report(pictures=True), "html")
    shown = json.loads(text.split('id="data">')[1].split("</script>")[0])["reports"][0]
    code = re.findall(r"<(style|script)>(.*?)</", text, re.S)
    digest = hashlib.sha256(json.dumps([code, shown["headline"], shown["operators"]]).encode()).hexdigest()
    if os.environ.get("UPDATE_SNAPSHOTS"):
        screen(1200)
        page.load(text)
        PICTURE.write_bytes(with_comment(page.driver.get_screenshot_as_png(), digest))
    assert digest.encode() in PICTURE.read_bytes()


def with_comment(picture: bytes, text: str) -> bytes:
    """Put ``text`` into a PNG, as a chunk of text right behind the header."""
    chunk = b"tEXtComment\0" + text.encode()
    end = 8 + 25  # the signature, and the header with its length, name and checksum
    whole = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return picture[:end] + whole + picture[end:]


def test_without_javascript_the_tables_can_be_read(page: Page, real: Report) -> None:
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.show([real])
        text = page.driver.execute_cdp_cmd("DOM.getDocument", {"depth": 1})["root"]["nodeId"]
        body = page.driver.execute_cdp_cmd("DOM.querySelector", {"nodeId": text, "selector": "noscript table"})
        assert body["nodeId"] > 0
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    static = render(real, "html").split("<noscript>")[1].split("</noscript>")[0]
    assert static.count("<tr>") == len(real.verdicts) + len(real.kept_by_reason) + len(real.settled_by_reason) + 2
    assert "17 of 17 norms removed" in static


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_light_or_dark_as_the_system_is_and_as_asked(page: Page, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    page.show([sample()])

    def is_dark() -> bool:
        colour = str(page.run("return getComputedStyle(document.body).backgroundColor"))
        return sum(int(part) for part in colour.strip("rgb()").split(",")) < 3 * 128

    assert is_dark() is (scheme == "dark")
    page.one("#theme").click()
    assert is_dark() is (scheme != "dark")


def test_five_thousand_norms(page: Page) -> None:
    page.show([many(5000)])
    assert page.one(".shown").text == "5,000 of 5,000"
    assert page.run("return document.querySelectorAll('#evidence .dot').length") == 5000
    assert page.run("return document.querySelectorAll('#norms tr.row').length") == 200
    page.run("window.scrollTo(0, document.body.scrollHeight)")
    more = "return document.querySelectorAll('#norms tr.row').length > 200"
    WebDriverWait(page.driver, 20).until(lambda _: page.run(more))
    page.one("#search").send_keys("bn_4999")
    assert page.texts("#norms tr.row td:nth-child(2)") == ["bn_4999"]
    page.run("const s = document.querySelector('#search'); s.value = ''; s.dispatchEvent(new Event('input'))")
    page.sort_by("#")
    assert page.texts("#norms tr.row td:nth-child(2)")[0] == "bn_4999"
    page.run("reveal(17)")
    assert page.texts("tr.row.open td:nth-child(2)") == ["bn_17"]
    assert page.complaints() == []


def test_many_models_and_what_fails(page: Page) -> None:
    page.show([sample(), checked()])
    assert page.texts("[data-model] .open-row") == ["nets/model.onnx", "nets/other.onnx"]
    assert page.all(".errors") == []
    page.one('[data-model="1"]').click()
    assert page.one("h1").text == "nets/other.onnx"
    assert "NF001" in page.one(".errors").text
    assert "NF002" in page.one(".errors").text
    assert page.one(".errors").text.count(f"Remedy: {Reason.FOLDABLE_LEFT.remedy}") == 1
    counts = [int(text) for text in page.texts('[data-model="1"] td.number')]
    assert counts[0] == sum(counts[1:])  # norms that are one operator already were counted, and never gone
    page.show([])
    assert page.one("h1").text == "No models"
    assert page.complaints() == []


def test_names_are_shown_and_do_nothing(page: Page) -> None:
    for name in HOSTILE.values():
        page.show([hostile(name), hostile(name)])
        page.all("#norms tr.row")[0].click()
        assert page.complaints() == []
        assert "owned" not in page.driver.title or name in page.driver.title
        assert page.run("return document.querySelectorAll('script').length") == 2
        assert page.run("return document.querySelectorAll('img, iframe, object, #page a, #page style').length") == 0
    page.show([hostile(HOSTILE["markup"])])
    assert page.one("h1").text == HOSTILE["markup"] + ".onnx"
    assert page.requests() == []


def test_the_guards_can_fail(page: Page) -> None:
    """A page that loads something is noticed, and the policy of a report stops a program that came in."""
    page.load('<!DOCTYPE html><title>x</title><img src="http://127.0.0.1:9/picture.png">')
    assert page.requests() == ["http://127.0.0.1:9/picture.png"]
    assert page.complaints()
    page.load(render(sample(), "html").replace("</body>", "<script>document.title = 'owned'</script></body>"))
    assert "owned" not in page.driver.title
    assert "Content Security Policy" in page.complaints()[0]
