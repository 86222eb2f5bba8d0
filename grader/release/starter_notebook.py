"""Makes `starter.ipynb` from `starter.py`, a module with `# %%` cell markers.

Equal text gives equal bytes. The notebook is never edited by hand.
"""

import json
from pathlib import Path

import jupytext
import nbformat

from grader.errors import AuthorError

ANSWER_TAG = "export"


def notebook_of(starter: str) -> str:
    """Return the notebook of a starter module.

    Raises:
        AuthorError: if no cell is tagged `export`.
    """
    notebook = jupytext.reads(starter, fmt="py:percent")
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])]
    if ANSWER_TAG not in tags:
        raise AuthorError(
            "starter.py: no answer cell",
            hint=f'start cells to be filled in with the line `# %% tags=["{ANSWER_TAG}"]`',
        )
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{number:02d}"  # jupytext draws random ones
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook["metadata"] = nbformat.from_dict(
        {"kernelspec": python, "language_info": {"name": "python"}}
    )
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    nbformat.validate(notebook)
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def refresh_notebook(assignment: Path) -> bool:
    """Write `starter.ipynb` again if `starter.py` has changed; return whether it was written.

    Raises:
        AuthorError: if `starter.py` is missing or has no answer cell.
    """
    source = assignment / "starter.py"
    if not source.is_file():
        raise AuthorError(f"{source}: not found", hint="every assignment needs a starter")
    text = notebook_of(source.read_text(encoding="utf-8"))
    target = assignment / "starter.ipynb"
    if target.is_file() and target.read_text(encoding="utf-8") == text:
        return False
    target.write_text(text, encoding="utf-8", newline="\n")
    return True
