"""A small plan for the tests of the reports; the records that belong to it are in `samples`."""

from grader.assignment.plan import Plan, PlannedCheck, PlannedProblem
from grader.assignment.table import Evidence, Limits

PROBLEMS: dict[str, tuple[str, tuple[str, ...], dict[str, tuple[str, float, Evidence]]]] = {
    "KVCache": (
        "A cache that grows",
        ("KVCache",),
        {
            "append": ("Appending in chunks equals appending at once", 6.0, Evidence.OUTSIDE),
            "rollback": ("A failed write leaves the cache as it was", 4.0, Evidence.OUTSIDE),
        },
    ),
    "decode_attention": (
        "Grouped-query attention for one new token",
        ("decode_attention", "ragged_mask"),
        {
            "gqa": ("Groups of query heads share their key head", 8.0, Evidence.OUTSIDE),
            "softmax": ("The softmax is your own", 2.0, Evidence.DENIED),
        },
    ),
    "SlotCache": (
        "Slots that are used again",
        ("SlotCache",),
        {
            "reuse": ("A released slot shows no stale keys", 5.0, Evidence.OUTSIDE),
            "bandwidth": ("Decoding keeps up with the reference", 5.0, Evidence.BOUNDED),
        },
    ),
}


def make_plan() -> Plan:
    """Return a plan of three problems with two checks each."""
    problems = tuple(
        PlannedProblem(
            name=name,
            title=title,
            exports=exports,
            checks=tuple(
                PlannedCheck(
                    name=check,
                    title=check_title,
                    description="Chunks of 3, 2 and 5, then one of 10.\n\n    Both must agree.",
                    points=points,
                    tolerance={"float32": 1e-5},
                    evidence=evidence,
                    public=1,
                    hidden=3,
                )
                for check, (check_title, points, evidence) in checks.items()
            ),
        )
        for name, (title, exports, checks) in PROBLEMS.items()
    )
    return Plan(
        assignment="kv_cache",
        title="KV cache",
        device="cpu",
        seed="seed-of-this-run",
        limits=Limits(),
        problems=problems,
        assignment_sha256="a" * 64,
        reference_sha256="b" * 64,
    )
