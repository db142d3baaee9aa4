"""Benchmarks: what a model costs on this machine, and what it gives."""
