"""Kinds of mappings."""
