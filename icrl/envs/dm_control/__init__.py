"""DeepMind's control suite with bodies and goals that differ from task to task (the extra `dmc`)."""
