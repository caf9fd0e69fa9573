"""The system's Chromium, for tests of pages, and what it visits."""

import collections
import contextlib
import functools
import http.server
import itertools
import os
import shutil
import threading

import pytest

from lib.models.data import ROOT
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

AT_ONCE = "* { transition: none !important; animation: none !important; }"
"""a style of pages whose looks are asked for"""


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


def in_turn(names, begin):
    """Each name with its page, opened and soon closed; two are on their way meanwhile, as opening is mostly waiting."""
    todo = iter(names)
    begun = collections.deque((name, begin(name)) for name in itertools.islice(todo, 2))
    while begun:
        name, page = begun.popleft()
        begun.extend((following, begin(following)) for following in itertools.islice(todo, 1))
        page.wait_for_load_state("networkidle")
        page.bring_to_front()  # others are drawn once a second at most
        yield name, page
        page.close()


def watch(page, trouble, local=("file:", "data:", "blob:")):
    """Add to trouble what goes wrong on a page, and what it asks of others."""
    page.on("request", lambda request: None if request.url.startswith(local) else trouble.append(request.url))
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))


def static_page(folder, part, style):
    """A file with a part of a page and a style sheet of the book, and nothing else."""
    shutil.copytree(ROOT / "book" / "_static", folder / "_static", ignore=lambda *_: ["mathjax"])
    (folder / "notebooks").mkdir()
    page = folder / "notebooks" / "page.html"
    page.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>x</title>'
        f'<link rel="stylesheet" href="../_static/{style}"><script src="../_static/shared.js"></script>{part}'
    )
    return page


def names(folder):
    """The pages of a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html") if "_static" not in path.parts)
