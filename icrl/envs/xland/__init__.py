"""XLand-MiniGrid: rooms whose goals and rules are a task (the extra `xland`)."""
