"""Extensions of the protocol (RFC 6455 §9)."""
