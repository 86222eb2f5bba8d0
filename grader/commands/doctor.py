"""`grader doctor`: tests which sandboxes work on this machine, and whether their limits hold."""

import importlib.util
import json
import platform
import shutil
import sys
import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from grader.assignment.table import Limits
from grader.errors import GraderError
from grader.sandbox.backends import BACKENDS, missing_bwrap, missing_docker, missing_nvcc
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from grader.sandbox.pool import SandboxPool
from grader.worker.selftest import PROBE_LIMITS, Finding, try_limits


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxReport:
    """What one sandbox can do on this machine.

    Attributes:
        usable: whether submissions can be graded in it; if not, `why_not` says the reason.
        layers: what separates a submission from the judge.
        findings: results of testing its limits.
    """

    name: str
    usable: bool
    why_not: str
    layers: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def command(
    image: Annotated[
        str, typer.Option(help="Container image for the Docker sandbox.")
    ] = DEFAULT_IMAGE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Test which sandboxes work on this machine; exit code 1 if none of them does."""
    reports = [examine(name, image) for name in BACKENDS]
    facts = machine_facts()
    if as_json:
        typer.echo(json.dumps({"machine": facts, "sandboxes": [asdict(r) for r in reports]}))
    else:
        _print(facts, reports)
    if not any(report.usable and report.name != "none" for report in reports):
        raise typer.Exit(1)


def machine_facts() -> dict[str, str]:
    """Return what this machine has, and what that means for grading."""
    found = {
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "gpu": "found" if Path("/dev/nvidiactl").exists() else "none (CUDA targets stay ungraded)",
        "bubblewrap": shutil.which("bwrap") or "not installed",
        "chromium": shutil.which("chromium")
        or "not installed (only the tests of report pages need it)",
        "cgroups": _cgroup_version(),
        "CUDA C++": missing_nvcc() or "compiles (outside of containers)",
    }
    for package in ("torch", "triton", "landlock", "pyseccomp", "docker"):
        installed = importlib.util.find_spec(package) is not None
        found[package] = "installed" if installed else "not installed"
    return found


def examine(name: str, image: str) -> SandboxReport:
    """Start one sandbox and test its limits."""
    why_not = {"docker": lambda: missing_docker(image), "bwrap": missing_bwrap}
    missing = why_not[name]() if name in why_not else ""
    if missing:
        return SandboxReport(name=name, usable=False, why_not=missing)
    try:
        pool = SandboxPool(
            name, Limits(), isolation=Isolation.WARM, jobs=1, device="cpu", image=image
        )
        with (
            closing(pool) as sandboxes,
            tempfile.NamedTemporaryFile() as secret,
            sandboxes.borrow() as sandbox,
            sandbox.under(PROBE_LIMITS) as probe,
        ):
            findings = try_limits(probe, Path(secret.name))
            layers = probe.layers
    except GraderError as error:
        return SandboxReport(name=name, usable=False, why_not=f"{error} {error.hint}".strip())
    broken = [finding.name for finding in findings if not finding.holds]
    return SandboxReport(
        name=name,
        usable=not broken or name == "none",
        why_not=f"These limits do not hold: {', '.join(broken)}" if broken else "",
        layers=layers,
        findings=findings,
    )


def _cgroup_version() -> str:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "version 2"
    return "version 1" if Path("/sys/fs/cgroup/memory").is_dir() else "none"


def _print(facts: dict[str, str], reports: list[SandboxReport]) -> None:
    console = Console()
    table = Table("what", "found", title="this machine")
    for what, found in facts.items():
        table.add_row(what, found)
    console.print(table)
    for report in reports:
        state = "usable" if report.usable else "not usable"
        console.print(f"\n[bold]{report.name}[/]: {state}. {report.why_not}")
        for layer in report.layers:
            console.print(f"  layer: {layer}", markup=False)
        for finding in report.findings:
            mark = "holds" if finding.holds else "DOES NOT HOLD"
            console.print(f"  {finding.name}: {mark} ({finding.detail})", markup=False)
