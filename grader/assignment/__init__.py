"""What an assignment asks: its table, its cases, its plan; read once per run."""
