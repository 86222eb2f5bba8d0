"""The walls between a submission and everything else: one contract, one file per backend."""
