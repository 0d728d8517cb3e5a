"""Protobuf packages whose names begin with `compofa`."""
