"""Sockets of every family, and tun and tap devices."""
