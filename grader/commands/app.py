"""The `grader` command: its subcommands, and its exit codes.

Exit codes of `grade`: 0 if every submission has a result (graded, provisional or needing review),
whatever the scores; 1 if one has none, because it cannot be read (rejected), or because of the
grader or the course author (ungraded). Of `check`, `validate` and `doctor`: 1 if something failed.
Of all commands: 2 for a usage error.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable

import typer

from grader import __version__
from grader.errors import GraderError, UsageError, missing_extra

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init", "Install an assignment, and write its starter files."),
    "check": ("check", "Run the public cases on your work, on this machine."),
    "pack": ("pack", "Make the zip file that you hand in."),
    "list": ("listing", "Show the assignments, with their versions."),
    "remove": ("remove", "Remove an installed assignment."),
    "grade": ("grade", "Grade one submission or a whole class."),
    "report": ("report", "Write the report pages of a graded class again."),
    "validate": (
        "validate",
        "Check an assignment against its known-right and known-wrong submissions.",
    ),
    "release": ("release", "Make what students get: an assignment's bundle, and the wheel."),
    "new-assignment": ("new_assignment", "Write a small complete assignment to start from."),
    "doctor": ("doctor", "Test which sandboxes work on this machine."),
    "bench": ("bench", "Measure how good the grader's verdicts are (for developers)."),
    "image": ("image", "Build or check the container image of the Docker sandbox."),
}
"""Module in `grader.commands` and one line of help, by the name of the command.

Only the command that is called is imported. So a student's installation needs no grading packages,
and `grader --help` does not wait for torch.
"""

FOR_STUDENTS = ("init", "check", "pack", "list", "remove")
FOR_AUTHORS = ("validate", "release", "new-assignment")
GRADING_EXTRAS = frozenset(
    """docker filelock jinja2 landlock markupsafe nbconvert nbformat nh3 pygments pyseccomp requests
    scipy sqlalchemy triton yaml""".split()
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
    light = importlib.util.find_spec("docker") is None
    staff = "Course staff: `grader grade` says what else to install." if light else None
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Grade homework in LLM systems. Submissions run in a sandbox; results and speed are "
        "judged outside it.",
        epilog=staff,
    )

    @app.callback()
    def _root(
        version: bool = typer.Option(
            False, "--version", callback=_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        """Read the options that come before the command."""

    for name, (module, line) in COMMANDS.items():
        mine = name in FOR_STUDENTS
        if name == called:
            _add(app, name, module)
        else:
            panel = "For students" if mine else "For course staff"
            listed = app.command(name, help=line, rich_help_panel=panel, hidden=light and not mine)
            listed(_not_called)
    return app


def _not_called() -> None:
    """Do nothing: listed in the help, imported when it is called."""


def _add(app: typer.Typer, name: str, module: str) -> None:
    try:
        if name not in FOR_STUDENTS and importlib.util.find_spec("docker") is None:
            raise ModuleNotFoundError("no package of course staff is here", name="docker")
        command = importlib.import_module(f"grader.commands.{module}").command
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        extra = "author" if name in FOR_AUTHORS or missing in AUTHOR_EXTRAS else "grade"
        if missing not in GRADING_EXTRAS | AUTHOR_EXTRAS:
            raise
        # Whatever options it is called with, the answer is that it is not installed.
        anything = {
            "ignore_unknown_options": True,
            "allow_extra_args": True,
            "help_option_names": [],
        }
        app.command(name, context_settings=anything)(_not_installed(name, missing, extra))
        return
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


def _not_installed(name: str, missing: str, extra: str) -> Callable[[], None]:
    def command() -> None:
        raise missing_extra(name, missing, extra)

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
