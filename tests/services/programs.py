"""Programs that tests need and the project does not install."""

import os
import shutil

import pytest


def require(*programs: str) -> None:
    """Skip the test where a program is missing; in CI, which installs them, fail."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    reason = f"not installed: {', '.join(missing)}"
    if os.environ.get("CI"):  # noqa: TID251 -- whether this is CI is the environment's to say
        pytest.fail(reason)
    pytest.skip(reason)
