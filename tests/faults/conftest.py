"""The checks of a scene fail as those of a test do."""

import pytest

pytest.register_assert_rewrite("faults.scenes", "faults.world")
