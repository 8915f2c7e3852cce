"""Measures dumps and restores: `python -m tests.bench`, or `./test.sh --bench`."""
