"""The page in headless Chromium: sorting, filtering, playing, and narrow screens.

No driver is needed: each test adds a script to the page that clicks, types and writes its observations into the page;
`--dump-dom` prints them, and the browser's log shows console errors.
"""

import html
import json
import re
import shutil
import subprocess

import pytest

from reported import make_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium: not installed (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root, datasets = tmp_path_factory.mktemp("page"), ("one", "two")
    texts = ["names", "motion", "shuffled"]
    return make_report(root, ["mean_pool", "moted"], texts, 2, ["base_to_novel"], datasets=datasets)


def browse(page, folder, act, width=1000):
    """What `act`, JavaScript that returns something, gives in the page; AssertionError if the console has an error.

    The page stands in a frame of the given width, for a window cannot be as narrow as a phone.
    """
    tell = f"<script>(async () => {{ {act} }})().then((seen) => parent.postMessage(JSON.stringify(seen), '*'))</script>"
    (folder / "inner.html").write_text(page.replace("</body>", f"{tell}</body>"))
    listen = "onmessage = (m) => { document.querySelector('pre').textContent = m.data }"
    frame = f'<iframe src="inner.html" style="width:{width}px;height:800px;border:0"></iframe>'
    (folder / "outer.html").write_text(f"<!doctype html><pre></pre><script>{listen}</script>{frame}")
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=8000"]
    profile, address = f"--user-data-dir={folder / 'profile'}", (folder / "outer.html").as_uri()
    done = subprocess.run(
        [CHROMIUM, *switches, profile, "--dump-dom", address], capture_output=True, text=True, timeout=120
    )
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not messages, messages
    seen = re.search(r"<pre>(.*?)</pre>", done.stdout, re.S)
    assert seen is not None, done.stderr[-2000:]
    return json.loads(html.unescape(seen[1]))


def test_a_console_error_is_detected(report, tmp_path):
    with pytest.raises(AssertionError, match="no such thing"):
        browse(report.html, tmp_path, "console.error('no such thing'); return 1;")


def test_a_click_on_a_heading_sorts_largest_first_then_smallest(report, tmp_path):
    act = """
        const table = document.querySelector("#results table");
        const numbers = () => [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[1].querySelector("b").textContent));
        const head = (column) => table.tHead.rows[0].cells[column];
        const seen = [];
        for (const column of [0, 1, 1]) {
            head(column).querySelector("button").click();
            seen.push({ numbers: numbers(), sorted: head(column).getAttribute("aria-sort") });
        }
        return { seen, names: [...table.tBodies[0].rows].length };
    """
    page = browse(report.html, tmp_path, act)
    by_name, down, up = page["seen"]
    assert by_name["sorted"] == "ascending"
    assert down == {"numbers": sorted(down["numbers"], reverse=True), "sorted": "descending"}
    assert up == {"numbers": sorted(up["numbers"]), "sorted": "ascending"}
    assert len(set(up["numbers"])) > 1


def test_words_filter_rows_and_a_minus_excludes_them(report, tmp_path):
    act = """
        const field = document.querySelector(".tools input");
        const table = document.querySelector("#results table");
        const seen = {};
        for (const words of ["", "moted", "moted -shuffled", "MOTION", "nothing"]) {
            field.value = words;
            field.dispatchEvent(new Event("input", { bubbles: true }));
            seen[words] = [...table.tBodies[0].rows].filter((row) => row.offsetParent).map((row) => row.cells[0].textContent);
        }
        return { seen, said: document.querySelector(".tools output").textContent };
    """
    page = browse(report.html, tmp_path, act)
    seen = {words: sorted(rows) for words, rows in page["seen"].items()}
    assert len(seen[""]) == 6
    assert seen["moted"] == [f"moted (reconstruction){texts}" for texts in ("motion", "names", "shuffled")]
    assert seen["moted -shuffled"] == ["moted (reconstruction)motion", "moted (reconstruction)names"]
    assert seen["MOTION"] == ["mean_poolmotion", "moted (reconstruction)motion"]
    assert seen["nothing"] == []
    assert page["said"].startswith("0 of ")


def test_frames_play_in_order_and_stop(report, tmp_path):
    act = """
        const pair = document.querySelector(".pair");
        const frames = [...pair.querySelector(".strip").querySelectorAll("img")];
        const now = () => frames.findIndex((frame) => frame.src === pair.querySelector(".movie").src);
        const wait = (ms) => new Promise((done) => setTimeout(done, ms));
        const seen = [];
        for (let t = 0; t < 12; t++) { seen.push(now()); await wait(250); }
        pair.querySelector(".play").click();
        const stopped = now();
        await wait(1000);
        return { seen, stopped, still: now(), count: frames.length, says: pair.querySelector(".play").textContent };
    """
    page = browse(report.html, tmp_path, act)
    moves = [(a, b) for a, b in zip(page["seen"], page["seen"][1:], strict=False) if a != b]
    assert len(moves) >= page["count"] - 1
    assert all(b == a + 1 or (a, b) == (page["count"] - 1, 0) for a, b in moves)
    assert (page["still"], page["says"]) == (page["stopped"], "Play")


@pytest.mark.parametrize("width", [360, 1000])
def test_nothing_overflows_a_narrow_screen(report, tmp_path, width):
    act = """
        document.querySelectorAll("details").forEach((details) => (details.open = true));
        const small = [...document.querySelectorAll("p, td, th, li, small, figcaption")];
        return {
            width: document.documentElement.clientWidth,
            needed: document.documentElement.scrollWidth,
            smallest: Math.min(...small.map((one) => parseFloat(getComputedStyle(one).fontSize))),
        };
    """
    page = browse(report.html, tmp_path, act, width)
    assert page["needed"] <= page["width"] <= width
    assert page["smallest"] >= 12


def test_tables_that_are_wider_than_the_screen_say_that_they_scroll(report, tmp_path):
    act = """
        const wait = (ms) => new Promise((done) => setTimeout(done, ms));
        await wait(300);
        const wide = [...document.querySelectorAll(".wide")].filter((one) => one.clientWidth);
        const hint = (one) => !one.previousElementSibling.hidden;
        const right = wide.every((one) => hint(one) === one.scrollWidth > one.clientWidth + 1);
        const first = wide.find(hint);
        if (first) { first.scrollLeft = 50; first.dispatchEvent(new Event("scroll")); }
        return { right, hints: wide.filter(hint).length, after: first ? hint(first) : null };
    """
    narrow = browse(report.html, tmp_path, act, 360)
    assert narrow["right"]
    assert narrow["hints"] > 2
    assert narrow["after"] is False  # the reader has scrolled
    assert browse(report.html, tmp_path, act, 1000)["right"]
