"""The gRPC services. Each only translates between protobuf and the gateway's own values."""
