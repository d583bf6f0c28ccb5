"""What all tests share: the test bed's fixtures (see testbed/fixtures.py)."""

from __future__ import annotations

pytest_plugins = ["testbed.plugin", "testbed.fixtures"]
