"""What a box answers when it is asked about a device or ranks that it does not have.

Takes: nothing. Gives: `WithoutDevice`, which every session is unless it says otherwise. Does not
cover: boxes on a device (see `measure.device_session`), nor ranks (see `measure.ranks`).
"""

from grader.device.throttle import DeviceState
from grader.errors import DeviceError
from grader.measure.samples import DeviceClaim


class WithoutDevice:
    """There is no device to ask about, and no group."""

    def rank_peaks(self) -> tuple[int, ...]:
        """Return the most memory that each rank held; none without a group."""
        return ()

    def claims(self) -> tuple[DeviceClaim, ...]:
        """Return what the box claims of its calls on a device, oldest first."""
        return ()

    def device_states(self) -> tuple[DeviceState, ...]:
        """Return how the device ran since this was last asked, as one state; none without one."""
        return ()

    def squeeze(self, limit_bytes: int) -> int:
        """Leave at most `limit_bytes` of the device's memory to what is loaded next.

        Returns:
            the bytes that are left.

        Raises:
            DeviceError: if there is no device, or it refuses.
        """
        raise DeviceError(f"no device whose memory could be limited to {limit_bytes} bytes")

    def release(self) -> None:
        """Let the box have all that the device has, from here on.

        Raises:
            DeviceError: if the device refuses.
        """
