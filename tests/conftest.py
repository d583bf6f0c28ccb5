"""What all tests share: the test bed's fixtures (see testbed/fixtures.py), and properties that no clock can fail."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["testbed.plugin", "testbed.fixtures"]

# Properties are about answers, not about time: a busy machine fails none of them. All else is as it was asked for.
settings.register_profile("tests", settings.default, deadline=None)
settings.load_profile("tests")
