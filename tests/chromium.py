"""The system's Chromium, for tests of pages."""

import os

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
