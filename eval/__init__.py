"""Evaluation: a frozen model, prompted on tasks that it has never seen, measured against anchors and its source."""
