"""The page of an evaluation: its words, its figures, its looks."""
