"""Markov decision processes given by their tables."""
