"""Bandits: one pull is an episode."""
