"""Subnets as files: built once by a process of its own, kept under a bound, opened to be sent."""
