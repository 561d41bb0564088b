"""Speed, side by side with peers in one run, as ratios. Run with ``python -m benchmarks``."""
