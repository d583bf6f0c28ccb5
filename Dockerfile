# The hub of fleet. Build: docker build -t fleet:0.1.0 .
# Bases come from wherever the build takes them: --build-arg PYTHON_IMAGE=… --build-arg GO_IMAGE=…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG GO_IMAGE=golang:1.26-bookworm

# kustomize, by the module versions and sums that the tests run with
FROM ${GO_IMAGE} AS kustomize
WORKDIR /src
COPY tests/testbed/go/kustomize/go.mod tests/testbed/go/kustomize/go.sum ./
RUN version="$(go list -m -f '{{.Version}}' sigs.k8s.io/kustomize/kustomize/v5)" \
 && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath \
      -ldflags "-s -w -X sigs.k8s.io/kustomize/api/provenance.version=${version}" \
      -o /out/kustomize sigs.k8s.io/kustomize/kustomize/v5

FROM ${PYTHON_IMAGE} AS python
WORKDIR /src
COPY requirements requirements
RUN python -m venv /opt/fleet \
 && /opt/fleet/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt -r requirements/build.txt
COPY pyproject.toml README.md fleet.yaml ./
COPY fleet fleet
COPY clusters clusters
COPY overlays overlays
RUN /opt/fleet/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/fleet/bin/python -m compileall -q /opt/fleet/lib

FROM ${PYTHON_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends git openssh-client \
 && rm -rf /var/lib/apt/lists/*
COPY --from=kustomize /out/kustomize /usr/local/bin/kustomize
COPY --from=python /opt/fleet /opt/fleet
ENV PATH=/opt/fleet/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 FLEET_DATA_DIR=/data/fleet
RUN install -d -o 65532 -g 65532 -m 0700 /data
VOLUME /data
USER 65532:65532
ENTRYPOINT ["/opt/fleet/bin/fleet"]
CMD ["hub"]
