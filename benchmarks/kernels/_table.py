"""Tables of a result: text for a terminal, Markdown for a page.

Takes: `Result`. Gives: text. Does not cover: the plot (`_plot`).
"""

from benchmarks.kernels._result import Result, Row

TIMES = ("median µs", "95 % interval", "GB/s", "TFLOP/s", "of copy", "of roofline")
HEAD = ("operation", "shape", "contender", *TIMES, "kernel is × as fast")
GOAL_HEAD = ("operation", "shape", "goal", "found", "")
ABSENT_HEAD = ("operation", "shape", "rival", "why it could not run")

Lines = list[tuple[str, ...]]


def as_text(result: Result) -> str:
    """Return the tables, in columns."""
    parts = [result.note.upper()] if result.note else []
    parts += [_columns(title, head, lines) for title, head, lines in _tables(result)]
    parts += [f"BROKEN: {text}" for text in result.broken]
    return "\n\n".join(parts) + "\n"


def as_markdown(result: Result) -> str:
    """Return the tables, as GitHub shows them."""
    parts = ["# Kernels and their rivals"]
    parts += [f"**{result.note[0].upper()}{result.note[1:]}.**"] if result.note else []
    parts.append(f"Method: {result.method}.")
    for title, head, lines in _tables(result):
        rows = [head, ("---",) * len(head), *lines]
        table = "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)
        parts.append(f"## {title}\n\n{table}")
    parts += [f"**Broken:** {text}" for text in result.broken]
    return "\n\n".join(parts) + "\n"


def _tables(result: Result) -> list[tuple[str, tuple[str, ...], Lines]]:
    times: Lines = [_line(row) for row in result.rows]
    goals: Lines = [
        (o.operation, o.shape, o.goal, o.metric, o.word.upper()) for o in result.outcomes
    ]
    absent: Lines = [(a.operation, a.shape, a.contender, a.reason) for a in result.absent]
    found: list[tuple[str, tuple[str, ...], Lines]] = [
        ("Times", HEAD, times),
        ("Goals", GOAL_HEAD, goals),
        ("Absent", ABSENT_HEAD, absent),
    ]
    return [table for table in found if table[2]]


def _line(row: Row) -> tuple[str, ...]:
    speed = row.kernel_speed
    return (
        row.operation,
        row.shape,
        row.contender,
        f"{row.seconds.estimate * 1e6:.1f}",
        f"{row.seconds.low * 1e6:.1f} to {row.seconds.high * 1e6:.1f}",
        f"{row.bytes_per_s / 1e9:.0f}",
        f"{row.flops_per_s / 1e12:.2f}",
        f"{row.copy_share:.1%}",
        f"{row.roofline_share:.1%}",
        f"{speed.estimate:.2f} [{speed.low:.2f}, {speed.high:.2f}]",
    )


def _columns(title: str, head: tuple[str, ...], lines: Lines) -> str:
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    rows = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in [head, *lines])
    return "\n".join([title, *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
