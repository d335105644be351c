"""Benchmarks against diffusers: the same work and the same weights, in turns. Not installed; run `make bench`."""
