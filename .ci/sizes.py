"""Fails where a file or a function has grown past the size at which it wants to be split along its meaning."""

import ast
import sys
from pathlib import Path

FILE_LINES = 400
FUNCTION_LINES = 60


def faults(path: Path) -> list[str]:
    """What is too large in one file."""
    source = path.read_text()
    lines = len(source.splitlines())
    found = [f"{path}: {lines} lines (at most {FILE_LINES})"] if lines > FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > FUNCTION_LINES:
                found.append(f"{path}:{node.lineno}: {node.name} has {size} lines (at most {FUNCTION_LINES})")
    return found


def main() -> int:
    root = Path(__file__).parent.parent
    paths = sorted(path for room in ("perdure", "bench", "examples") for path in (root / room).rglob("*.py"))
    found = [fault for path in paths for fault in faults(path)]
    print("\n".join(found) or f"{len(paths)} files, none too large")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
