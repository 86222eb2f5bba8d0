"""How good the verdicts on performance are: measured on submissions whose slowness is known."""
