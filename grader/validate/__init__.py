"""Check an assignment against submissions whose grade is known."""
