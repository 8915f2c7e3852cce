"""Terminals, pseudo and real."""
