"""The Open Inference Protocol, with those of Triton's extensions that its clients need."""
