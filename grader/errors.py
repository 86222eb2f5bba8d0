"""Every exception that crosses a module boundary, drawn as one tree.

    GraderError
    ├── UsageError       the person at the keyboard: a path, an option      exit code 2
    ├── IntakeError      the student: a file that cannot be taken in        a graded result
    ├── AuthorError      the author: assignment.toml, cases.py, oracle.py   UNGRADED, author
    ├── SandboxError     us or the machine: a wall, a limit, an engine      UNGRADED, ours
    │   └── SandboxLost         the wall died under a running submission
    ├── DeviceError      us or the machine: an accelerator, its driver      UNGRADED, ours
    ├── ChannelError     what came over the channel broke the protocol      see evidence.faults
    │   ├── ChannelClosed    the runner's end is gone
    │   └── CallTimeout      no reply within the limit
    └── StoreError       the record store: disk, database                   the run stops

Every message names what was expected, what was found and what to do next.
"""


class GraderError(Exception):
    """Base of all errors that this project raises on purpose.

    Attributes:
        hint: what the reader can do about it; empty when the message says it all.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(GraderError):
    """The command was called with something that cannot be done."""


class IntakeError(GraderError):
    """A submitted file cannot be taken in; the message is written for the student."""


class AuthorError(GraderError):
    """An assignment or its reference is wrong; the message names file and key."""


class SandboxError(GraderError):
    """A wall could not be built, limited, checked or taken down: never the student's fault."""


class SandboxLost(SandboxError):
    """The warm process or its wall died while a submission was running."""


class DeviceError(GraderError):
    """A device could not be had, or its driver refused: never the student's fault.

    Attributes:
        call: name of the driver's function that failed; empty if none did.
        code: what it returned.
    """

    def __init__(self, message: str, *, hint: str = "", call: str = "", code: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.call = call
        self.code = code


class ChannelError(GraderError):
    """Bytes from the runner broke the protocol."""


class ChannelClosed(ChannelError):
    """The runner's end of the channel was closed before the reply."""


class CallTimeout(ChannelError):
    """The reply did not come within the limit, on the judge's clock."""


class StoreError(GraderError):
    """A record could not be read or committed."""
