"""Talking to a sandboxed process on a GPU, through memory of the device."""
