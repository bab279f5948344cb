"""Benchmarks: of the parts (``test_*.py``), and of whole servers beside others."""
