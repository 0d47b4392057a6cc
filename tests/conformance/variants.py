"""What run.py and the programs that it starts have in common."""

#: Settings of compression, by the names that --deflate takes.
DEFLATE = {
    "no-context-takeover": {
        "server_no_context_takeover": True,
        "client_no_context_takeover": True,
    },
    "small-windows": {"server_max_window_bits": 9, "client_max_window_bits": 9},
    # MiB: room for one compressor with a window of 15 bits.
    "one-compressor": {"memory_limit": 0.25},
    "no-compressor": {"memory_limit": 0},
}

#: Files in the folder that the programs get: whom to trust, and the server's certificate and key.
AUTHORITY = "authority.pem"
CERTIFICATE = "certificate.pem"
