"""The signal that asks a rank for its stack.

Takes: nothing. Gives: `STACK_SIGNAL`, which judge and rank agree on. Does not cover: what follows
(see `runner.rank`, `measure.stacks`).
"""

import signal

STACK_SIGNAL = signal.SIGUSR1
