"""What an assignment asks: its table, its cases and the plan made from both."""
