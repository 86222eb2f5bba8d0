"""The exceptions that cross a module boundary, as one tree.

    GraderError
    ├── UsageError       the user: a wrong path or option                     exit code 2
    ├── IntakeError      the student: a file that cannot be loaded            a graded result
    ├── AuthorError      the author: assignment.toml, cases.py, oracle.py     UNGRADED, author
    ├── SandboxError     us or the machine: a sandbox, a limit, an engine     UNGRADED, ours
    │   └── SandboxLost         the sandbox ended while a submission ran
    ├── DeviceError      us or the machine: an accelerator or its driver      UNGRADED, ours
    ├── ChannelError     a worker's bytes broke the protocol                  see evidence.faults
    │   ├── ChannelClosed    the worker closed its end
    │   └── CallTimeout      no reply within the limit
    │       └── MachineBusy      others took the processors, so nobody can tell
    └── StoreError       the record store: disk, database                     the run stops

A message tells what was expected, what was found, and where; the hint tells what to do next.
"""


class GraderError(Exception):
    """Base of all errors that this project raises on purpose.

    Attributes:
        hint: what the reader can do next; may be empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows instead of a traceback through our own code."""
        return [f"{type(self).__name__}: {self}", *([f"hint: {self.hint}"] if self.hint else [])]


class UsageError(GraderError):
    """The command was called with a wrong path, option or combination of them."""


def missing_extra(command: str, package: str, extra: str) -> UsageError:
    """Return the error of a command whose packages a student's installation does not have."""
    return UsageError(
        f"`grader {command}` needs llm-systems-grader[{extra}]: {package} is not installed",
        hint=f'python -m pip install "llm-systems-grader[{extra}]"',
    )


class IntakeError(GraderError):
    """A submitted file cannot be loaded; the student reads the message."""


class AuthorError(GraderError):
    """An assignment or its reference has a mistake; the message names file and key."""


class SandboxError(GraderError):
    """A sandbox could not be started, limited, checked or stopped: never the student's fault."""


class SandboxLost(SandboxError):
    """The fork server or its sandbox ended while a submission was running."""


class DeviceError(GraderError):
    """A device was not available, or its driver failed: never the student's fault.

    Attributes:
        call: name of the driver function that failed; empty if none did.
        code: its return code.
    """

    def __init__(self, message: str, *, hint: str = "", call: str = "", code: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.call = call
        self.code = code


class ChannelError(GraderError):
    """Bytes from a worker broke the protocol."""


class ChannelClosed(ChannelError):
    """The worker's end of the channel was closed before the reply."""


class CallTimeout(ChannelError):
    """The reply did not come within the limit, on the judge's clock."""


class MachineBusy(CallTimeout):
    """The reply did not come, and others had the processors for nearly all of that time."""


class StoreError(GraderError):
    """A record could not be read or committed; the run stops."""
