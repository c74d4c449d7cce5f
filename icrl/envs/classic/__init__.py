"""The classic control problems, with bodies that differ from task to task."""
