"""Copies the shared model and text to the assignments that train it.

Takes: `tiny_gpt.py` and `text.py` beside it. Gives: both in `reference/<slug>/`, and the model
between two markers in `assignments/<slug>/harness.py`, for every harness that has the markers:
only that one file enters the box. Does not cover: the imports of a harness, which stand at its top.

    python assignments/shared/build.py

writes all copies anew; a test compares.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BEGIN = "# --- assignments/shared/tiny_gpt.py: begin (copied by assignments/shared/build.py) ---\n"
END = "# --- assignments/shared/tiny_gpt.py: end ---\n"
FIRST = "OPERATIONS: "
"""The first words of the model's file behind its docstring and imports."""


def copies() -> dict[Path, str]:
    """Return the text that every file with a copy should have.

    Raises:
        ValueError: a harness has one marker and not the other.
    """
    model = (HERE / "tiny_gpt.py").read_text(encoding="utf-8")
    text = (HERE / "text.py").read_text(encoding="utf-8")
    found: dict[Path, str] = {}
    for harness in sorted(ROOT.glob("assignments/*/harness.py")):
        source = harness.read_text(encoding="utf-8")
        if BEGIN not in source:
            continue
        if END not in source:
            raise ValueError(f"{harness}: found the marker of the beginning, expected {END!r} too")
        before, rest = source.split(BEGIN)
        after = rest.split(END)[1]
        body = model[model.index(FIRST) :]
        found[harness] = f"{before}{BEGIN}{body}\n\n{END}{after}"
        reference = ROOT / "reference" / harness.parent.name
        found[reference / "tiny_gpt.py"] = model
        found[reference / "text.py"] = text
    return found


def main() -> None:
    """Write every copy that differs and say which."""
    for path, text in copies().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8", newline="\n")
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
