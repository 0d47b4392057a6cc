"""WebSockets within programs that other servers run."""
