"""The system's Chromium, for tests of pages, and what it visits."""

import contextlib
import functools
import http.server
import os
import threading

import pytest

from lib.study import printed
from lib.study.parameters import Refused

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium():
    """Its path; without it a test is skipped, but on CI it fails."""
    try:
        return printed.browser()
    except Refused:
        if os.environ.get("CI"):
            pytest.fail("CI needs Chromium: see .ci/run")
        return pytest.skip("no Chromium: install it (apt-get install chromium), or name it in CHROMIUM")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    """The address of a folder of pages, served on this machine."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def load(page, address):
    """Open a page, or the one that it sends to, and wait until its formulas are typeset."""
    page.goto(address)
    page.wait_for_function("!document.querySelector('meta[http-equiv=Refresh]')")
    page.wait_for_load_state()
    page.evaluate("async () => { await window.MathJax?.startup?.promise; }")


def names(folder):
    """The pages of a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html") if "_static" not in path.parts)
