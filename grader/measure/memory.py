"""What a session needs of the memory that judge and box share, wherever it lies.

Takes: nothing. Gives: `Arguments`, `Replies`. Does not cover: how it is made: of this machine (see
`measure.buffers`) or of a device (see `measure.device_buffers`).
"""

from typing import Any, Protocol

import torch

from grader.runner.tensors import TensorHeader


class Arguments(Protocol):
    """The tensors of one call, in memory that the box maps as well."""

    @property
    def headers(self) -> list[TensorHeader]:
        """Where each tensor lies."""

    @property
    def fd(self) -> int:
        """The descriptor that the box maps the memory by."""

    def unchanged(self) -> bool:
        """Return whether every byte is as it was sent."""

    def overwrite(self) -> None:
        """Overwrite every tensor, as a caller that reuses its buffers would."""

    def reclaim(self) -> None:
        """Take every byte back; what the box touches of it again is charged to the box.

        Raises:
            ChannelError: if that cannot be.
        """

    def close(self) -> None:
        """Let go of the memory; the box keeps its own mapping."""


class Replies(Protocol):
    """Where one child's reply tensors arrive."""

    @property
    def fd(self) -> int:
        """The descriptor that the box maps the memory by."""

    def read(self, form: Any, room_bytes: int | None = None) -> torch.Tensor:  # noqa: ANN401 - a header that the box claims
        """Copy the tensor under a claimed header into private memory.

        Raises:
            ChannelError: if the header is not one, reaches outside the memory, or needs more room.
        """
