"""Sandboxes that keep a submission apart from everything else: one contract, many backends."""
