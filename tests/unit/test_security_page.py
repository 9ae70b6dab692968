"""The page about security names a test for each defence: all of them exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "security.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_threat_of_the_page_names_a_test_that_exists() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "`tests/" in line]
    assert len(rows) >= 70
    for row in rows:
        found = NAMED.findall(row)
        assert found, row
        for file, name in found:
            assert name in _tests_of(ROOT / file), f"{file}::{name}"


def _tests_of(file: Path) -> set[str]:
    functions = ast.FunctionDef, ast.AsyncFunctionDef
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, functions)}
