"""From measurements to verdicts, causes and points; pure, so it can be repeated offline."""
