"""The benchmarks of Meta-World (the extra `metaworld`)."""
