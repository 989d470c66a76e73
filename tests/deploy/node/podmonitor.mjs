// Holds a PodMonitor against the Prometheus operator's schema: podmonitor.mjs FILE

import { readFileSync } from "node:fs";
import { PodMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor";
import { parse } from "yaml";

new PodMonitor(parse(readFileSync(process.argv[2], "utf8"))).validate();
