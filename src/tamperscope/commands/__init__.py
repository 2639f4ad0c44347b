"""Subcommands of ``pcap-scan``, one module each: ``main(argv)`` returns the exit status, or raises UsageError."""
