"""An OpenTelemetry collector that reads what it gets by OTLP's own definitions, and prints a line for each span.

OTLP's JSON is protobuf's, but for ids, which are hexadecimal there and base64 here. An unknown field, a wrong type or an
id of a wrong length is an error, and ends the program.
"""

import base64
import http.server
import json
import os
import traceback

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span

IDS = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def with_base64(node):
    if isinstance(node, list):
        return [with_base64(item) for item in node]
    if not isinstance(node, dict):
        return node
    read = {}
    for name, value in node.items():
        if name in IDS:
            id = bytes.fromhex(value)
            assert len(id) == IDS[name] and any(id) and value == value.lower(), (name, value)
            read[name] = base64.b64encode(id).decode()
        else:
            read[name] = with_base64(value)
    return read


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        try:
            self.take()
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def take(self):
        assert self.path == "/v1/traces", self.path
        assert self.headers["Content-Type"] == "application/json", self.headers
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = json_format.ParseDict(with_base64(body), ExportTraceServiceRequest(), ignore_unknown_fields=False)
        for resource in request.resource_spans:
            names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
            for scope in resource.scope_spans:
                assert scope.scope.name == "ssecar", scope.scope
                for span in scope.spans:
                    attributes = {attribute.key: attribute.value for attribute in span.attributes}
                    assert len(attributes) == len(span.attributes), span
                    status = attributes["http.response.status_code"].int_value
                    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
                    kind = Span.SpanKind.Name(span.kind)
                    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex() or "-")
                    print(names["service.name"], kind, span.name, status, *ids, flush=True)
        answer = json_format.MessageToJson(ExportTraceServiceResponse()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
print(server.server_port, flush=True)
server.serve_forever()
