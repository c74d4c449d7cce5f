"""Worlds of cells: rooms, mazes, a key and a door."""
