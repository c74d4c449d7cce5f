"""Points that move on a plane."""
