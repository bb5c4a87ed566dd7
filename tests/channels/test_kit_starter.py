"""The channel that `turnkeeper channels new` writes passes the tests that come with it."""

from __future__ import annotations

import pytest

from turnkeeper.starter_tests import TestStarterChannel

__all__ = ["TestStarterChannel"]

pytestmark = pytest.mark.slow
