"""TorchServe's inference API."""
