"""Benchmarks: the exact Fisher matrix and other libraries on the same arrays, each checked before it is timed."""
