"""Holds a Grafana dashboard against Grafana's own model of one: what the model does not know would be ignored.

grafana_schema.py DASHBOARD.json
"""

import json
import sys

from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models import dashboard, units

plugins.register_default_plugins()
with open(sys.argv[1], encoding="utf-8") as file:
    ours = json.load(file)
known = json.loads(encoder.JSONEncoder().encode(dashboard.Dashboard.from_json(ours)))
# An annotation's query is its data source's affair; these are Prometheus', and not in the model.
ANNOTATION_FIELDS = {"step", "titleFormat", "textFormat", "tagKeys"}
for annotation in ours["annotations"]["list"]:
    for name in ANNOTATION_FIELDS:
        del annotation[name]
faults = []


def compare(place, ours, known):
    if isinstance(ours, dict) and isinstance(known, dict):
        for name, value in ours.items():
            if name in known:
                compare(f"{place}.{name}", value, known[name])
            # What is empty is not written out by the model.
            elif value not in (None, "", [], {}):
                faults.append(f"{place}.{name} is unknown")
    elif isinstance(ours, list) and isinstance(known, list) and len(ours) == len(known):
        for index, pair in enumerate(zip(ours, known)):
            compare(f"{place}[{index}]", *pair)
    elif ours != known:
        faults.append(f"{place} is {ours!r}, and was read as {known!r}")


compare("dashboard", ours, known)
ids = {value for name, value in vars(units).items() if not name.startswith("_") and isinstance(value, str)}
for panel in ours["panels"]:
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "none")
    if unit not in ids:
        faults.append(f"{panel['title']}: no such unit: {unit}")
print(*faults, sep="\n")
sys.exit(bool(faults))
