//! Numbers as text: the Prometheus text format 0.0.4, or OpenMetrics 1.0.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::labels::Label;
use super::numbers::{Counter, Family, Histogram};

/// Units that names end in; OpenMetrics has a line for them.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// How the text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// What every scraper reads.
    Prometheus,
    /// What newer ones prefer.
    OpenMetrics,
}

impl Format {
    /// The one that a scraper with this `Accept` wants.
    #[must_use]
    pub fn accepted_by(accept: &str) -> Self {
        let mut open = 0.0;
        let mut plain = 0.0;
        for part in accept.split(',') {
            let mut part = part.split(';').map(str::trim);
            let kind = part.next().unwrap_or_default();
            let weight = part.find_map(|parameter| parameter.strip_prefix("q=")).map(str::parse::<f32>);
            let weight = weight.map_or(1.0, |weight| weight.unwrap_or(0.0));
            if kind.eq_ignore_ascii_case("application/openmetrics-text") {
                open = weight.max(open);
            } else if kind.eq_ignore_ascii_case("text/plain") {
                plain = weight.max(plain);
            }
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes one metric after the other.
pub(super) struct Writer {
    format: Format,
    out: String,
}

impl Writer {
    pub(super) fn new(format: Format) -> Self {
        Self { format, out: String::new() }
    }

    /// A label and nothing else.
    pub(super) fn info(&mut self, name: &str, help: &str, label: &str, value: &str) {
        match self.format {
            Format::Prometheus => self.head(&format!("{name}_info"), "gauge", help),
            Format::OpenMetrics => self.head(name, "info", help),
        }
        self.line(format_args!("{name}_info{{{label}=\"{value}\"}} 1"));
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(format_args!("{name} {value}"));
    }

    /// One state of several.
    pub(super) fn states(&mut self, name: &str, help: &str, states: &[&str], current: &str) {
        self.head(name, "gauge", help);
        for state in states {
            let value = u8::from(*state == current);
            self.line(format_args!("{name}{{state=\"{state}\"}} {value}"));
        }
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.count(name, help, counter.get());
    }

    /// `name` is without `_total`.
    pub(super) fn count(&mut self, name: &str, help: &str, value: u64) {
        self.counter_head(name, help);
        self.line(format_args!("{name}_total {value}"));
    }

    /// A counter of time; `name` is without `_total`.
    pub(super) fn seconds_counter(&mut self, name: &str, help: &str, seconds: f64) {
        self.counter_head(name, help);
        self.line(format_args!("{name}_total {seconds:?}"));
    }

    pub(super) fn family<L: Label>(&mut self, name: &str, help: &str, label: &str, family: &Family<L>) {
        self.counter_head(name, help);
        for (value, count) in family.all() {
            self.line(format_args!("{name}_total{{{label}=\"{value}\"}} {count}"));
        }
    }

    /// `name` ends in `_seconds`.
    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let (classes, count) = histogram.cumulative();
        for (bound, count) in classes {
            self.line(format_args!("{name}_bucket{{le=\"{:?}\"}} {count}", seconds(bound)));
        }
        self.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {count}"));
        self.line(format_args!("{name}_sum {:?}", seconds(histogram.sum())));
        self.line(format_args!("{name}_count {count}"));
    }

    pub(super) fn finish(mut self) -> String {
        match self.format {
            Format::Prometheus => {}
            Format::OpenMetrics => self.line(format_args!("# EOF")),
        }
        self.out
    }

    /// OpenMetrics names the family, whose samples have the suffix; the older format names the samples.
    fn counter_head(&mut self, name: &str, help: &str) {
        match self.format {
            Format::Prometheus => self.head(&format!("{name}_total"), "counter", help),
            Format::OpenMetrics => self.head(name, "counter", help),
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        let unit = name.rsplit_once('_').map(|(_, unit)| unit).filter(|unit| UNITS.contains(unit));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = writeln!(self.out, "{text}");
    }
}

/// `{:?}` of a float is its shortest exact form, with a point or an exponent, as OpenMetrics wants it.
fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_openmetrics_only_if_it_asks() {
        for (accept, expected) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4;q=0.5, */*;q=0.1", Format::Prometheus),
            ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.5", Format::OpenMetrics),
            ("application/openmetrics-text, text/plain", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.4,text/plain;q=0.5", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
        ] {
            assert_eq!(Format::accepted_by(accept), expected, "{accept}");
        }
    }
}
