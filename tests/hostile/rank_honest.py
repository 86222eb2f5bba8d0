"""An honest solution of the rank target, which attacks build on."""

from pathlib import Path

SOLUTION = Path(__file__).parent / "rank_target/reference/rank_target/solution.py"
RANK_HONEST = SOLUTION.read_text(encoding="utf-8")
