"""Bytes to columns: link layers, IP, TCP. No state of any flow."""
