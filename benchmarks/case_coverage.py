"""Keeps what the cases of each assignment cover: factors, pairs, promises and mutants.

    grader validate --json VALIDATION
    grader validate --mutate --json MUTATION
    python -m benchmarks.case_coverage VALIDATION MUTATION

Takes: what these two commands write. Gives: `benchmarks/results/case_coverage.json`, from which
`docs/generate.py` makes a page. Does not cover: which submission fails what (`kill_matrices`).
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.machine import describe_machine

OUT = Path(__file__).parent / "results" / "case_coverage.json"
OPEN = ("survived", "no case runs it")


def reduce_validation(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts of one assignment, from the JSON of `grader validate`."""
    validation, coverage = found["validation"], found["coverage"]
    counted = [counted for one in coverage for counted in one["counted"]]
    promised = found["ledger"]["rows"]
    return {
        "seed": found["seed"],
        "checks": len(validation["checks"]),
        "known": dict(Counter(one["kind"] for one in validation["known_submissions"])),
        "problems": len({one["problem"] for one in coverage}),
        "factors": sum(len(one["levels"]) for one in coverage),
        "rows": sum(one["rows"] for one in coverage),
        "pairs": _covered(counted, strength=2),
        "triples": _covered(counted, strength=3),
        "sentences": sum(one["sentences"] for one in promised),
        "promises": {
            "asked": sum(one["asked"] for one in promised),
            "not_graded": sum(one["not_graded"] for one in promised),
        },
        "complaints": len(validation["complaints"]),
    }


def _covered(counted: Sequence[Mapping[str, Any]], *, strength: int) -> dict[str, int]:
    """Return how many combinations of so many factors are allowed, and how many were shown."""
    ours = [one for one in counted if one["strength"] == strength]
    return {name: sum(one[name] for one in ours) for name in ("allowed", "covered")}


def reduce_mutation(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts of one assignment, from the JSON of `grader validate --mutate`."""
    fates = Counter(one["fate"] for one in found["outcomes"])
    return {
        "seed": found["seed"],
        "made": found["made"],
        "played": sum(fates.values()) - fates["not Python"],
        "killed": fates["killed"],
        "equivalent": fates["equivalent"],
        "open": sum(fates[one] for one in OPEN),
        "wall_s": round(found["wall_s"]),
    }


def main(arguments: Sequence[str]) -> int:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("validation", type=Path)
    parser.add_argument("mutation", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    validations = json.loads(options.validation.read_text(encoding="utf-8"))
    mutations = json.loads(options.mutation.read_text(encoding="utf-8"))
    mutants = {one["assignment"]: reduce_mutation(one) for one in mutations}
    kept = {
        one["validation"]["assignment"]: reduce_validation(one)
        | {"mutants": mutants.get(one["validation"]["assignment"])}
        for one in validations
    }
    result = {"machine": describe_machine(), "assignments": kept}
    options.out.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
