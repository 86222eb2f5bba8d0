"""`grader image`: builds and checks the container image of the Docker sandbox."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from grader.sandbox.image import DEFAULT_IMAGE, ImageFacts, build_image, check_image

command = typer.Typer(
    no_args_is_help=True, help="Build and check the container image of the Docker sandbox."
)

_Tag = Annotated[str, typer.Option(metavar="TAG", help="Name of the image.")]


@command.command()
def build(
    base: Annotated[
        str, typer.Option(metavar="IMAGE", help="Image with Python 3.11 or newer and libseccomp2.")
    ],
    wheelhouse: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder of wheels: torch, triton, … and their dependencies."
        ),
    ],
    tag: _Tag = DEFAULT_IMAGE,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Do not show the output of the build.")
    ] = False,
) -> None:
    """Build the image from a base image and a folder of wheels, without a network."""
    console = Console()

    def show(line: str) -> None:
        console.print(f"[dim]{escape(line)}[/dim]", highlight=False, soft_wrap=True)

    image_id = build_image(base, wheelhouse, tag=tag, log=(lambda line: None) if quiet else show)
    console.print(f"built {tag} ({image_id})", highlight=False, soft_wrap=True)


@command.command()
def check(
    tag: _Tag = DEFAULT_IMAGE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check that the image runs unprivileged and read-only, and has the packages for grading."""
    facts = check_image(tag)
    if as_json:
        typer.echo(json.dumps(asdict(facts), indent=2))
    else:
        Console().print(_table(facts))


def _table(facts: ImageFacts) -> Table:
    found = Column("found", overflow="fold")
    table = Table("what", found, title=f"{facts.tag}: works unprivileged and read-only")
    table.add_row("image", facts.image_id)
    table.add_row("base", facts.base)
    table.add_row("size", f"{facts.size_bytes / 2**20:,.0f} MiB")
    table.add_row("interpreter", facts.python_path)
    for name, version in facts.versions:
        table.add_row(name, version)
    table.add_row("Landlock ABI", str(facts.landlock_abi) if facts.landlock_abi > 0 else "none")
    return table
