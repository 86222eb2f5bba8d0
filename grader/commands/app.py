"""The `grader` command: its subcommands, and its exit codes.

Exit codes of `grade`: 0 if every submission has a result (graded, provisional or needing review),
whatever the scores; 1 if one has none, because it cannot be read (rejected), or because of the
grader or the course author (ungraded). Of `check`, `validate` and `doctor`: 1 if something failed.
Of all commands: 2 for a usage error.
"""

import importlib
import sys
from collections.abc import Callable

import typer

from grader import __version__
from grader.errors import GraderError, UsageError

COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("listing", "Show the assignments."),
    "init": ("init", "Start an assignment: write its starter files."),
    "check": ("check", "Run the public cases on your work, on this machine."),
    "pack": ("pack", "Make the zip file that you hand in."),
    "grade": ("grade", "Grade one submission or a whole class."),
    "report": ("report", "Write the report pages of a graded class again."),
    "validate": (
        "validate",
        "Check an assignment against its known-right and known-wrong submissions.",
    ),
    "release": ("release", "Make the zip file that students install."),
    "new-assignment": ("new_assignment", "Write a small complete assignment to start from."),
    "doctor": ("doctor", "Test which sandboxes work on this machine."),
    "bench": ("bench", "Measure how good the grader's verdicts are (for developers)."),
    "image": ("image", "Build or check the container image of the Docker sandbox."),
}
"""Module in `grader.commands` and one line of help, by the name of the command.

Only the command that is called is imported. So a student's installation needs no grading packages,
and `grader --help` does not wait for torch.
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
        help="Grade homework in LLM systems. Submissions run in a sandbox; results and speed are "
        "judged outside it.",
    )

    @app.callback()
    def _root(
        version: bool = typer.Option(
            False, "--version", callback=_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        """Read the options that come before the command."""

    for name, (module, line) in COMMANDS.items():
        if name == called:
            _add(app, name, module)
        else:
            app.command(name, help=line)(_not_called)
    return app


def _not_called() -> None:
    """Do nothing: listed in the help, imported when it is called."""


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
    """Run the command line; print a known error with its hint and set the exit code."""
    try:
        called = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        build_app(called)()
    except GraderError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        if error.hint:
            typer.echo(f"  hint: {error.hint}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
