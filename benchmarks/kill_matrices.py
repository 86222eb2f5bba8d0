"""Keeps kill matrices as names and causes, without anything that is measured.

    grader validate SLUG --seed SEED --json FILE       (one file per assignment)
    python -m benchmarks.kill_matrices FILE... --out benchmarks/results/kill_matrices.json

Compare two such files after a change of the code that judges: it must not change which check
catches which known submission, and by what cause. The seed stands in the file, because some wrong
submissions fail a further check under some seeds only.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def reduce_validation(found: dict[str, Any]) -> dict[str, Any]:
    """Return what must not change of one assignment, from the JSON of `grader validate`."""
    validation = found["validation"]
    return {
        "seed": found["seed"],
        "submissions": {
            f"{one['kind']}/{one['name']}": {
                "fails": {name: cause for name, cause in sorted(one["failed"])},
                "needs_review": sorted(one["needs_review"]),
                "full_score": one["score"] == one["max_score"],
            }
            for one in validation["known_submissions"]
        },
        "checks": {
            one["check"]: {"alone": sorted(one["alone"]), "catches": sorted(one["catches"])}
            for one in validation["checks"]
        },
        "trivial": {
            f"{one['problem']}/{one['trivial']}": one["caught"] if one["applied"] else None
            for one in found["trivial"]
        },
    }


def main(arguments: Sequence[str]) -> int:
    """Write one file from those of several validations."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    found = [one for file in options.files for one in json.loads(file.read_text("utf-8"))]
    kept = {one["validation"]["assignment"]: reduce_validation(one) for one in found}
    options.out.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
