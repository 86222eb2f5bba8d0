"""The nouns that measuring, judging and reporting share: faults, observations, samples."""
