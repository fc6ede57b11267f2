//! The text formats of metrics: Prometheus 0.0.4 and OpenMetrics 1.0.

use std::fmt::{Display, Write};

use super::histogram::Histogram;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4
    Prometheus,
    /// OpenMetrics 1.0
    OpenMetrics,
}

impl Format {
    /// The media types, for a choice by `Accept`.
    pub const TYPES: [&str; 2] = ["text/plain", "application/openmetrics-text"];

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes families of metrics. Names, labels and most of their values are the server's own.
#[derive(Debug)]
pub(super) struct Exposition {
    out: String,
    format: Format,
}

/// Labels of a sample, in their order.
type Labels<'a> = [(&'a str, &'a dyn Display)];

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Exposition {
            out: String::with_capacity(16 * 1024),
            format,
        }
    }

    /// A value that goes up and down; what is not known has no sample.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.head(name, "gauge", help);
            self.sample(name, &[], value);
        }
    }

    /// A gauge for each value of a label.
    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (impl Display, impl Display)>,
    ) {
        self.head(name, "gauge", help);
        for (value, number) in values {
            self.sample(name, &[(label, &value)], number);
        }
    }

    /// A value that only grows. Its name ends with `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.counters(name, help);
            self.sample(name, &[], value);
        }
    }

    /// The head of counters whose samples follow.
    pub(super) fn counters(&mut self, name: &str, help: &str) {
        let family = match self.format {
            Format::Prometheus => name,
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        };
        self.head(family, "counter", help);
    }

    /// A histogram for each host: its labels and its times.
    pub(super) fn histograms<'h>(
        &mut self,
        name: &str,
        help: &str,
        hosts: impl IntoIterator<Item = (&'h str, &'h Histogram)>,
    ) {
        self.head(name, "histogram", help);
        let [bucket, sum, count] = ["bucket", "sum", "count"].map(|end| format!("{name}_{end}"));
        for (host, times) in hosts {
            for (bound, count) in times.cumulative() {
                self.sample(&bucket, &[("vhost", &host), ("le", &bound)], count);
            }
            let labels: &Labels<'_> = &[("vhost", &host)];
            self.sample(&sum, labels, times.sum().as_secs_f64());
            self.sample(&count, labels, times.count());
        }
    }

    /// One number. A label whose value is empty is left out, which is the same to a collector.
    pub(super) fn sample(&mut self, name: &str, labels: &Labels<'_>, value: impl Display) {
        self.out.push_str(name);
        let mut before = '{';
        for (label, text) in labels {
            let text = text.to_string();
            if !text.is_empty() {
                let text = text.replace('\\', "\\\\").replace('"', "\\\"");
                let _ = write!(self.out, "{before}{label}=\"{text}\"");
                before = ',';
            }
        }
        if before == ',' {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}
