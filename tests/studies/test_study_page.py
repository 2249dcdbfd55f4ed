"""report.html in a real browser that reaches no network: drawn, hovered over, switched and sorted."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nnmass.studies.report.fits import study_fits
from nnmass.studies.report.page import study_page

MASSES = [3.0, 1.0, 2.0, 5.0, 4.0, 0.0]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = pd.DataFrame(
        {
            "status": "finished",
            "engine": "ensemble",
            "config": "c",
            "network": [f"network_{number}" for number in range(6)],
            "seed": 0,
            "row": [f"row{number}" for number in range(6)],
            "began": "now",
            "depth": [16, 16, 24, 24, 32, 32],
            "nn_mass": MASSES,
            "nn_density": 0.5,
            "num_params": [10, 20, 30, 40, 50, 60],
            "macs": 7,
            "test_accuracy_last": [0.3, 0.1, 0.2, 0.5, 0.4, 0.05],
        }
    )
    file = tmp_path_factory.mktemp("page") / "report.html"
    picture = file.with_name("accuracy.png")
    Image.new("RGB", (40, 20), "red").save(picture)
    file.write_text(
        study_page(
            "<b>my</b> study",
            results,
            study_fits(results),
            "depth",
            [picture],
            {"study.yaml": "name: <my> study"},
            {"torch": "2"},
            planned=8,
        )
    )
    return file


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Any]:
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        if os.environ.get("NNMASS_REQUIRE_BROWSER") == "1":
            pytest.fail("chromium or chromedriver is not there, although NNMASS_REQUIRE_BROWSER says that it must be")
        pytest.skip("needs chromium and chromedriver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(programs[0])
    offline = "--host-resolver-rules=MAP * ~NOTFOUND"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1250,2200", offline):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    try:
        driver.get(page.as_uri())
        until(
            lambda: driver.execute_script("return window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle")
        )
        yield driver
    finally:
        driver.quit()


def until(holds: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the page did not get there"
        time.sleep(0.05)


def model(browser: Any, name: str, what: str) -> Any:
    """An expression of the first model of a type."""
    found = f"[...Bokeh.documents.flatMap(d => [...d._all_models.values()])].filter(m => m.type == '{name}')"
    return browser.execute_script(f"const found = {found}; return {what}")


CUT = """
    const cut = [];
    function walk(root) {
        for (const e of root.querySelectorAll('*')) {
            if (e.classList.contains('slick-viewport') && e.clientWidth) cut.push(e.scrollWidth - e.clientWidth);
            if (e.shadowRoot) walk(e.shadowRoot);
        }
    }
    walk(document);
    return cut;
"""


def test_it_is_drawn_without_a_network(browser: Any, page: Path) -> None:
    picture = page.with_name("screenshot.png")
    browser.save_screenshot(str(picture))
    with Image.open(picture) as screenshot:
        pixels = np.asarray(screenshot.convert("RGB")).reshape(-1, 3)
    colours = {tuple(colour) for colour in np.unique(pixels, axis=0)}
    assert len(colours) > 200
    assert (255, 0, 0) in colours  # the figure that came along
    log = browser.get_log("browser")
    assert [line for line in log if line["level"] == "SEVERE"] == []
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in asked if name.startswith("http")] == []
    assert browser.title == browser.find_element("tag name", "h1").text == "<b>my</b> study"
    text = browser.find_element("tag name", "body").text
    assert "6 trainings of 6 networks" in text
    assert "2 of the study's 8 rows are missing here" in text
    assert "Of fewer than eight networks (n), R² has no interval" in text
    assert "name: <my> study" in browser.find_element("tag name", "pre").text


@pytest.mark.parametrize("width", [1280, 1600])
def test_it_fits_into_a_window(width: int, browser: Any) -> None:
    before = browser.get_window_size()
    browser.set_window_size(width, before["height"])
    try:
        beyond = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        until(lambda: browser.execute_script(beyond) <= 0)
        widest = (
            "return Math.max(...[...document.querySelectorAll('body *')].map(e => e.getBoundingClientRect().right))"
        )
        assert browser.execute_script(widest) <= width
        assert browser.execute_script(CUT) == [0, 0]  # no column of the two tables
    finally:
        browser.set_window_size(before["width"], before["height"])


def test_networks_of_mass_0_stand_in_a_strip_of_the_logarithmic_axis(browser: Any) -> None:
    """And in none of an axis that has a place for 0."""
    shown = "found[0].data_source.data['log10 NN-Mass']"
    at = list(model(browser, "GlyphRenderer", shown))
    right = model(browser, "BoxAnnotation", "found.find(b => b.fill_alpha == 0.12).right")
    assert at[MASSES.index(0.0)] < right < min(value for value, mass in zip(at, MASSES, strict=True) if mass > 0)
    assert at[0] == pytest.approx(np.log10(3))
    visible = "found.find(b => b.fill_alpha == 0.12).visible"
    assert model(browser, "BoxAnnotation", visible)
    for abscissa, strip in (("NN-Mass", False), ("log10 parameters", False), ("log10 NN-Mass", True)):
        model(browser, "Select", f"found.find(m => m.title == 'abscissa').value = '{abscissa}'")
        until(lambda strip=strip: model(browser, "BoxAnnotation", visible) == strip)


def test_pointing_at_a_network_says_what_it_is(browser: Any) -> None:
    from selenium.webdriver import ActionChains

    place = """
        function find(v) {
            if (v.model.type == 'Figure') return v;
            for (const child of v.child_views || []) { const f = find(child); if (f) return f; }
            return null;
        }
        const figure = [...Bokeh.index].map(find).find(f => f);
        const box = figure.el.getBoundingClientRect(), frame = figure.frame.bbox;
        const x = figure.frame.x_scale.compute(Math.log10(5)), y = figure.frame.y_scale.compute(0.5);
        return [box.left + x, box.top + y];
    """
    x, y = browser.execute_script(place)
    action = ActionChains(browser)
    action.w3c_actions.pointer_action.move_to_location(int(x), int(y))
    action.perform()
    deep = """
        function text(root) {
            let all = root.textContent || '';
            for (const e of root.querySelectorAll('*')) if (e.shadowRoot) all += text(e.shadowRoot);
            return all;
        }
        return text(document.body);
    """
    until(lambda: "network_3" in browser.execute_script(deep) and "5.00" in browser.execute_script(deep))


def test_the_axes_can_be_chosen(browser: Any) -> None:
    model(browser, "Select", "found.find(m => m.title == 'abscissa').value = 'log10 parameters'")
    until(lambda: model(browser, "LinearAxis", "found.some(a => a.axis_label == 'log10 parameters')"))
    assert model(browser, "Scatter", "found[0].x.field") == "log10 parameters"


def test_a_click_sorts_the_table(browser: Any) -> None:
    header = """
        function find(root) {
            for (const e of root.querySelectorAll('*')) {
                if (e.classList.contains('slick-header-column') && e.textContent.trim() == 'nn mass') return e;
                if (e.shadowRoot) { const f = find(e.shadowRoot); if (f) return f; }
            }
            return null;
        }
        return find(document);
    """
    cells = """
        function all(root, found) {
            for (const e of root.querySelectorAll('*')) {
                if (e.classList.contains('slick-row')) found.push([e.offsetTop, e.textContent]);
                if (e.shadowRoot) all(e.shadowRoot, found);
            }
            return found;
        }
        return all(document, []).filter(r => r[1].includes('network_')).sort((a, b) => a[0] - b[0]).map(r => r[1]);
    """
    assert "network_0" in browser.execute_script(cells)[0]
    browser.execute_script(header).click()
    until(lambda: "network_5" in browser.execute_script(cells)[0])  # of mass 0
    order = [MASSES[int(row.split("network_")[1][0])] for row in browser.execute_script(cells)]
    assert order == sorted(MASSES)
