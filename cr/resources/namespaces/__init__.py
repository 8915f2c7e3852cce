"""Namespaces and what is in them."""
