"""Where batches run: in a thread of the gateway, or in a process of their own."""
