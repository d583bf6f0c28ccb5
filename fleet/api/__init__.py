"""The HTTP API: Kubernetes-shaped objects under /api/v1, problem+json, SSE, OpenAPI 3.1."""
