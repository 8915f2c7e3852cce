"""Containers that count, and what every OCI runtime that calls criu must do with them."""
