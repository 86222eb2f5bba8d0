"""Talks to a sandboxed process: requests, tensors in shared memory, replies, the clock."""
