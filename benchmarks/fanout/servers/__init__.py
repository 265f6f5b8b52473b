"""The servers that are compared, each a program: ``python -m benchmarks.fanout.servers.NAME PORT``."""
