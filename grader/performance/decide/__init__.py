"""From samples to metrics with intervals and a decision; pure, so repeatable offline."""
