"""Descriptors that tell of events, and rings of requests."""
