"""Programs that tests need beside Python."""

import os
import shutil

import pytest


def require(program: str, why: str) -> None:
    """Skip where a developer's machine lacks a program; CI must have it."""
    if shutil.which(program) is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no {program} here: {why}")
