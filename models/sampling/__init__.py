"""What methods read of a dataset: samplers."""
