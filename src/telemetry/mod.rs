//! Spans for OpenTelemetry, off unless `--otlp-endpoint` is given (`docs/tracing.md`).
//!
//! A [`Tracer`] begins spans: one for each request of a client, one for each request that ssecar makes of its own,
//! both ended with the answer's head, since a stream may live for hours. What ended goes into a bounded queue, and from
//! there the [`Exporter`] sends it to the collector in batches (OTLP/HTTP in JSON). Nothing here makes a request wait:
//! a span that finds the queue full is dropped and counted.
//!
//! | module | owns |
//! |---|---|
//! | `span` | a span as it is recorded, with the names of OpenTelemetry's conventions for HTTP |
//! | `tracer` | who begins one, whether it is recorded, what is said of it |
//! | `otlp` | spans as OTLP's JSON; what a collector answers |
//! | `collector` | one request to the collector |
//! | `exporter` | the queue, batches, retries, the end |

mod collector;
mod exporter;
mod otlp;
mod span;
mod tracer;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::config::TracingConfig;
use crate::message::session_key::KeyRules;
use crate::metrics::Metrics;
use crate::upstream::UpstreamClient;

pub use collector::NoCollector;
pub use exporter::Exporter;
pub use tracer::{OpenSpan, Purpose, Tracer};

use collector::{Collector, HeaderFile};
use exporter::SPANS_QUEUED_MAX;

/// Makes what begins spans and what sends them away. Nothing is asked of the collector.
///
/// # Errors
/// [`NoCollector`]: it can't be reached as configured.
pub fn open(
    config: &TracingConfig,
    target: &crate::config::UpstreamTarget,
    rules: Arc<KeyRules>,
    metrics: Arc<Metrics>,
) -> Result<(Tracer, Exporter), NoCollector> {
    let client = UpstreamClient::new(&collector::way_to(config)).map_err(NoCollector::Setup)?;
    let headers = config.header_file.as_deref().map(HeaderFile::open).transpose()?;
    let (queue, spans) = mpsc::channel(SPANS_QUEUED_MAX);
    let collector = Collector::new(client, headers, otlp::resource(&config.service_name, &config.attributes));
    let tracer = Tracer::new(queue, config.sample, target, rules, Arc::clone(&metrics));
    let exporter = Exporter::new(spans, collector, config.endpoint.to_string(), metrics);
    Ok((tracer, exporter))
}
