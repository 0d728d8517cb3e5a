"""What runs subnets. Knows them by architecture; which one a request gets is decided elsewhere."""
