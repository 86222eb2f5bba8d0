"""The `grader` command: its subcommands, and how errors end it.

Exit codes: 0 everything graded, provisional or held, whatever the scores; 1 some submission ended
UNGRADED through our fault or an author's (or a check failed: `check`, `validate`, `doctor`);
2 usage error.
"""

import importlib
import sys
from collections.abc import Callable

import typer

from grader import __version__
from grader.errors import GraderError, UsageError

COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("listing", "Show the assignments."),
    "init": ("init", "Begin an assignment: write the starter here."),
    "check": ("check", "Run the public cases on your work, here."),
    "pack": ("pack", "Make the zip to hand in."),
    "grade": ("grade", "Grade one submission or a class."),
    "report": ("report", "Write the pages of a graded folder again."),
    "validate": ("validate", "Prove that assignments grade what they say."),
    "release": ("release", "Make the bundle that students install."),
    "new-assignment": ("new_assignment", "Begin a new assignment and its reference."),
    "doctor": ("doctor", "Try which walls and limits this machine gives."),
    "bench": ("bench", "Measure the grader itself."),
    "image": ("image", "Build or check the container image."),
}
"""Name → module in `grader.commands` and one line of help.

Only the command that is called is imported: a student's installation has what it can run, and
`grader --help` does not wait for torch.
"""

GRADING_EXTRAS = frozenset(
    {"docker", "landlock", "nbconvert", "nh3", "pyseccomp", "requests", "sqlalchemy"}
)
AUTHOR_EXTRAS = frozenset({"hatchling", "jupytext"})


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def build_app(called: str) -> typer.Typer:
    """Return the command-line application.

    Args:
        called: name of the subcommand that will run; the others are listed and not imported.
    """
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Grade LLM-systems assignments, judged from outside the submission.",
    )

    @app.callback()
    def _root(
        version: bool = typer.Option(
            False, "--version", callback=_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        """Hold the options that every command shares."""

    for name, (module, line) in COMMANDS.items():
        if name == called:
            _add(app, name, module)
        else:
            app.command(name, help=line)(_not_called)
    return app


def _not_called() -> None:
    """Stand for a command that another call of the program would import."""


def _add(app: typer.Typer, name: str, module: str) -> None:
    try:
        command = importlib.import_module(f"grader.commands.{module}").command
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        extra = "grade" if missing in GRADING_EXTRAS else "author"
        if missing not in GRADING_EXTRAS | AUTHOR_EXTRAS:
            raise
        command = _not_installed(name, missing, extra)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


def _not_installed(name: str, missing: str, extra: str) -> Callable[[], None]:
    def command() -> None:
        raise UsageError(
            f"`grader {name}` needs the package {missing!r}",
            hint=f'pip install "llm-systems-grader[{extra}]"',
        )

    command.__doc__ = f"Not installed: needs the extra `{extra}`."
    return command


def main() -> None:
    """Run the command line; a known error ends it with its message, its hint and its exit code."""
    try:
        called = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        build_app(called)()
    except GraderError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        if error.hint:
            typer.echo(f"  hint: {error.hint}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
