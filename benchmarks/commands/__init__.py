"""The verbs of ``cmid`` that work with downstream benchmarks."""
