"""Benchmarks: each figure stands beside a baseline of the same run, since machines are shared and noisy."""
