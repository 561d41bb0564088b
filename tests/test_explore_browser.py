"""The explorer in a real browser: JupyterLab and Notebook 7 on this machine, headless Chromium.

Each test opens a notebook with one cell, runs it, moves a slider and looks. Screenshots go to the
folder that EXPLORER_SHOTS names, if it is set; figures/explore.png is one of them.
"""

import contextlib
import dataclasses
import json
import os
import re
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import toymodel as tm

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
#: A fresh profile, no network, no first-run pages: what else hangs a headless browser.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--no-proxy-server"),
)
SERVERS = {"lab": ("jupyterlab", "lab/tree"), "notebook": ("notebook", "notebooks")}
CELL = "import toymodel as tm\n\nexplorer = tm.explore()\nexplorer"
PICTURES = "Array.from(document.querySelectorAll('.tm-pictures img')).map(image => image.src)"
#: All five are there, and others: a page that lays itself out anew has none for a moment.
ALL_CHANGED = (
    f"before => {{ const now = {PICTURES};"
    " return now.length === 5 && now.every((source, at) => source !== before[at]); }"
)
MESSAGE = "document.querySelector('.tm-message')?.innerText ?? ''"  # none before the first change
DRAWN = f"({MESSAGE}).includes('drawn in')"
STARTING, PATIENCE = 180_000, 60_000  # ms, on a busy machine


@dataclasses.dataclass
class Opened:
    """A notebook in a browser, and what its console said."""

    page: object
    said: list[str]
    name: str

    def shot(self, title):
        """The explorer without the page around it."""
        if folder := os.environ.get("EXPLORER_SHOTS"):
            path = Path(folder) / f"{title}_{self.name}.png"
            self.page.locator(".tm-explorer").screenshot(path=path)

    def slider(self, label):
        row = self.page.locator(".tm-explorer .widget-hslider:visible", has_text=label)
        return row.locator(".noUi-handle").first

    def message(self):
        return self.page.evaluate(MESSAGE)

    def changed(self, action):
        """Do something, wait until every picture has changed, and say how long that took (ms)."""
        self.page.locator(".tm-pictures img").nth(4).wait_for(timeout=PATIENCE)
        before, begun = self.page.evaluate(PICTURES), time.perf_counter()
        action()
        self.page.wait_for_function(ALL_CHANGED, arg=before, timeout=PATIENCE)
        return 1000 * (time.perf_counter() - begun)

    def after(self, action):
        """The same for what makes another run: it is over when the explorer says so."""
        took = self.changed(action)
        self.page.wait_for_function(DRAWN, timeout=PATIENCE)
        return took

    def settle(self, seconds=2.0):
        """Wait until nothing has changed for a while; the code of the run shown."""
        code, last, since = self.page.locator(".tm-code pre"), None, time.monotonic()
        while last is None or time.monotonic() - since < seconds:
            now = (code.inner_text(), self.message())
            last, since = (now, time.monotonic()) if now != last else (last, since)
            time.sleep(0.1)
        return last[0].strip()

    def choose(self, label, option):
        title = self.page.locator("label", has_text=label)
        row = self.page.locator(".tm-explorer .widget-dropdown", has=title)
        row.locator("select").select_option(label=option)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def settings_of(module, folder):
    """An environment in which Jupyter finds nobody's settings, and asks for no news."""
    if module == "jupyterlab":
        quiet = folder / "settings" / "@jupyterlab" / "apputils-extension"
        quiet.mkdir(parents=True)
        news = {"fetchNews": "false", "checkForUpdates": False}
        (quiet / "notification.jupyterlab-settings").write_text(json.dumps(news))
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    own = {name: str(folder / place) for name, place in places.items()}
    optimised = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return {**optimised, **own, "HOME": str(folder)}


def notebook_with(cell):
    """A notebook of one code cell, as JSON."""
    code = {"cell_type": "code", "execution_count": None, "id": "first", "metadata": {}}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps(
        {
            "cells": [{**code, "outputs": [], "source": cell}],
            "metadata": {"kernelspec": kernel},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


@contextlib.contextmanager
def serving(module, folder):
    """A Jupyter server on a free port of this machine: its address and token."""
    work, port, token = folder / "work", free_port(), secrets.token_hex(16)
    work.mkdir()
    (work / "explore.ipynb").write_text(notebook_with(CELL))
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": work,
        "IdentityProvider.token": token,
    }
    command = [sys.executable, "-m", module, "--no-browser", "--allow-root"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command, env=settings_of(module, folder), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/api/status?token={token}", server)
            yield address, token
        finally:
            server.terminate()
            server.wait(timeout=30)


def wait_for(url, server, seconds=60):
    for _ in range(5 * seconds):
        assert server.poll() is None, "the server has ended"
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(url):
            return
        time.sleep(0.2)
    raise AssertionError("the server does not answer")


def run_first_cell(page, said):
    """Press Shift and Enter until the cell has begun: a page that still loads swallows keys.

    What the console said before is not about the explorer, and is forgotten.
    """
    cell = page.locator(".jp-CodeCell").first
    cell.wait_for(timeout=STARTING)
    said.clear()
    for _ in range(20):
        cell.locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        for _ in range(20):
            time.sleep(0.1)
            if cell.locator(".jp-InputPrompt").first.inner_text().strip() != "[ ]:":
                return
    raise AssertionError("the cell does not begin")


@pytest.fixture(scope="module", params=SERVERS)
def opened(request, tmp_path_factory):
    """The explorer, begun in JupyterLab and in Notebook 7."""
    from playwright.sync_api import sync_playwright

    module, where = SERVERS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    with serving(module, folder) as (address, token), sync_playwright() as driver:
        browser = driver.chromium.launch_persistent_context(
            str(folder / "profile"),
            executable_path=CHROMIUM,
            args=FLAGS,
            viewport={"width": 1240, "height": 1180},
            device_scale_factor=1.5,
            permissions=["clipboard-read", "clipboard-write"],
        )
        page, said = browser.pages[0], []
        page.on("console", lambda told: said.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{address}/{where}/explore.ipynb?token={token}")
        run_first_cell(page, said)
        page.locator(".tm-pictures img").first.wait_for(timeout=STARTING)
        if request.param == "lab":
            page.keyboard.press("Control+b")  # the list of files makes room
        yield Opened(page, said, request.param)
        assert said == []
        browser.close()


def test_it_shows_five_pictures_and_three_numbers(opened):
    assert opened.page.locator(".tm-pictures img").count() == 5
    assert opened.page.locator(".tm-card").count() == 3
    opened.page.wait_for_function(
        "Array.from(document.querySelectorAll('.tm-pictures img')).every(i => i.naturalWidth > 500)"
    )
    opened.shot("explore")


def test_a_screen_reader_finds_every_picture_and_number(opened):
    images = opened.page.get_by_role("img", name=re.compile("step 2000"))
    assert images.count() == 5
    for title in ("learning rate", "beta", "steps", "seed"):
        box = opened.page.get_by_label(f"{title}, exactly", exact=True).locator("visible=true")
        assert box.evaluate("box => box.tagName") == "INPUT"  # of one box alone
        width = box.evaluate("box => box.labels[0].getBoundingClientRect().width")
        assert width <= 1, "the label is not for the eye"


def test_a_moved_slider_changes_every_picture(opened):
    handle = opened.slider("beta")
    handle.focus()
    code = opened.page.locator(".tm-code pre")
    before = code.inner_text()
    keys = ["PageUp", "PageDown"] * 3 + ["PageUp"]  # Notebook 7 keeps arrow keys to itself
    times = [opened.after(lambda key=key: opened.page.keyboard.press(key)) for key in keys]
    print(f"{opened.name}: {statistics.median(times):.0f} ms from key to picture (median of 7)")
    assert code.inner_text() != before
    assert "beta=0.06" in code.inner_text()
    opened.shot("moved")


def test_a_dragged_slider_follows(opened):
    handle = opened.slider("learning rate")
    place = handle.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    mouse = opened.page.mouse

    def drag():
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + 40, y, steps=12)
        mouse.up()

    opened.after(drag)
    assert "learning_rate=0.0003," not in opened.settle()


def test_the_copied_code_makes_the_run(opened):
    shown = opened.settle()
    opened.page.locator(".tm-code button").click()
    copied = opened.page.evaluate("navigator.clipboard.readText()")
    short = copied.replace("steps=2000", "steps=20")
    space = {}
    exec(short, space)
    assert isinstance(space["run"], tm.Trajectory)
    assert copied.strip() == shown
    assert np.isfinite(space["run"].log_probs).all()


def test_the_step_shown_moves_the_pictures(opened):
    handle = opened.slider("step shown")
    handle.focus()
    opened.changed(lambda: opened.page.keyboard.press("Home"))
    opened.page.locator(".widget-label", has_text="0 of 2,000").first.wait_for()
    opened.changed(lambda: opened.page.keyboard.press("End"))


def test_a_bad_combination_is_told_and_mended(opened):
    opened.choose("policy", "autoregressive")
    opened.page.locator(".tm-bad", has_text="To mend it").wait_for(timeout=PATIENCE)
    assert "Traceback" not in opened.page.locator("body").inner_text()
    opened.shot("refused")
    opened.after(lambda: opened.choose("policy", "tabular"))
    assert opened.page.locator(".tm-bad").count() == 0


def test_a_finding_is_shown(opened):
    opened.after(lambda: opened.choose("show me", "Flex-DPO the wrong way: a cliff"))
    assert "across beta_chosen" in opened.page.locator(".tm-look").inner_text()
    opened.shot("finding")
    opened.after(lambda: opened.choose("show me", "Token sequences with free logits: no fall"))
    opened.shot("tokens")
