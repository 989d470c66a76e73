"""Holds what the admin listener answers to its formats: OpenAPI 3.1, Prometheus text, OpenMetrics."""

import json
import sys
import urllib.request

from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

admin = sys.argv[1]


def fetch(path, accept="*/*"):
    request = urllib.request.Request(admin + path, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def samples(families):
    return {(sample.name, tuple(sorted(sample.labels.items()))) for family in families for sample in family.samples}


OpenAPIV31SpecValidator(json.loads(fetch("/api/openapi.json")[1])).validate()

kind, text = fetch("/metrics")
assert kind.startswith("text/plain; version=0.0.4"), kind
plain = samples(parse_plain(text))
kind, text = fetch("/metrics", "application/openmetrics-text; version=1.0.0")
assert kind.startswith("application/openmetrics-text; version=1.0.0"), kind
opened = samples(parse_open(text))
assert plain == opened, plain ^ opened
assert len(plain) > 80, len(plain)
print("valid")
