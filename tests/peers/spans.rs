//! Spans as OpenTelemetry's own definitions read them: `opentelemetry-proto` of PyPI.

use crate::support::{PATIENCE, Process, Ssecar, curl, python};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn spans_are_what_the_definitions_of_otlp_say() {
    let (collector, mut lines) = Process::with_lines(&mut python("collector.py"));
    let port: u16 = lines.next_line().await.unwrap().expect("run scripts/setup-peers").parse().unwrap();
    let endpoint = format!("--otlp-endpoint=http://127.0.0.1:{port}");
    let flags = [&*endpoint, "--otlp-service-name=shop", "--otlp-attribute=deployment.environment.name=test"];
    // The collector is the service as well: it answers a GET with 501.
    let ssecar = Ssecar::start(port, &flags).await;
    let traceparent = format!("traceparent: 00-{TRACE}-{CALLER}-01");
    let headers = ["--header", &*traceparent, "--header", "Accept: text/event-stream"];
    curl(&[&headers[..], &[&ssecar.url("/events?token=x")]].concat()).await;
    let mut spans = Vec::new();
    while spans.len() < 2 {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("a span").unwrap();
        let line = line.expect("the collector takes it");
        spans.push(line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    }
    collector.signal("KILL");
    // An answer that is no event stream goes to the client that asked.
    let find = |name: &str| spans.iter().find(|span| span[2] == name).unwrap_or_else(|| panic!("{spans:?}"));
    let (request, attempt) = (find("GET"), find("subscribe"));
    assert_eq!(request[..5], ["shop", "SPAN_KIND_SERVER", "GET", "501", TRACE]);
    assert_eq!(request[6], CALLER);
    assert_eq!(attempt[..5], ["shop", "SPAN_KIND_CLIENT", "subscribe", "501", TRACE]);
    assert_eq!(attempt[6], request[5], "its parent is the request");
}
