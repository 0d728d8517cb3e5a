# syntax=docker/dockerfile:1.7
# An image with `compofa` on the PATH, to serve and to train:
#
#   docker build --target cpu --tag compofa:0.1.0 .
#   docker build --target cuda --tag compofa:0.1.0-cuda .
#
# Its steps are the Makefile's `runtime`, which the tests run too; the image itself is built nowhere
# in this project. Pin PYTHON_IMAGE by a digest of your registry's.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS source
WORKDIR /src
COPY Makefile pyproject.toml constraints.txt README.md LICENSE compofa.py ./
COPY protos protos
COPY supernet supernet
COPY training training
COPY gateway gateway

FROM source AS build
# Nothing is compiled: every dependency has a wheel.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make=4.3-4.1 \
    && rm -rf /var/lib/apt/lists/*

# Where torch's builds for CPUs are; its page of installation names it.
FROM build AS build-cpu
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
RUN PIP_EXTRA_INDEX_URL=${TORCH_CPU_INDEX} PIP_NO_CACHE_DIR=1 \
    make runtime VENV=/opt/compofa IMAGE_EXTRAS=export,openvino,tracing,ui

# The package index's torch brings CUDA's libraries; the node brings the driver.
FROM build AS build-cuda
RUN PIP_NO_CACHE_DIR=1 make runtime VENV=/opt/compofa IMAGE_EXTRAS=export,tracing,ui

FROM ${PYTHON_IMAGE} AS base
# The same as in the chart's podSecurityContext.
RUN groupadd --gid 10001 compofa \
    && useradd --uid 10001 --gid 10001 --create-home --home-dir /var/lib/compofa compofa
ENV PATH=/opt/compofa/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    COMPOFA_STATE_DIR=/var/lib/compofa
USER 10001:10001
WORKDIR /var/lib/compofa
EXPOSE 50051 9090
ENTRYPOINT ["compofa"]
CMD ["--help"]

FROM base AS cuda
COPY --from=build-cuda /opt/compofa /opt/compofa

FROM base AS cpu
COPY --from=build-cpu /opt/compofa /opt/compofa
