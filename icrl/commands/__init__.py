"""Commands that need neither data nor a model: tasks, show and the checks."""
