"""The rooms of MiniGrid (the extra `minigrid`)."""
