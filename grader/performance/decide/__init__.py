"""From samples to metrics with intervals and a decision; pure, repeatable offline."""
