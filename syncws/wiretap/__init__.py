"""Watching a connection from outside: its bytes, taken apart. For the shell and the demo."""
