"""Captures built byte by byte, for tests of what a reader must survive."""
