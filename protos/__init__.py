"""The protocols the gateway speaks, and the Python code generated from them.

A client needs nothing else of this project:

    >>> import grpc
    >>> from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc
    >>> stub = gateway_pb2_grpc.SubnetGatewayStub(grpc.insecure_channel("localhost:50051"))
    >>> request = gateway_pb2.SelectSubnetRequest(device_class="phone", latency_budget_ms=5.0)
    >>> stub.SelectSubnet(request).subnet  # doctest: +SKIP
"""
