//! What leaves a process for whoever watches it: metrics, and traces where a collector is named.
//! This module must never know what is measured or traced.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};
use opentelemetry::global;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};

/// How long a collector may take for a batch of spans; the next ones wait meanwhile, and those for
/// which there is no room are dropped.
const EXPORT_WAIT: Duration = Duration::from_secs(5);
/// How long the last spans have at the end, so that all of a stop stays within five seconds.
const LAST_SPANS_WAIT: Duration = Duration::from_millis(300);
/// The name of this program among those that send to the same collector, unless OTEL_SERVICE_NAME says another.
const SERVICE_NAME: &str = "millrace";
/// Where a collector takes traces.
const TRACES_PATH: &str = "v1/traces";

/// What is running for those who watch.
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Begins to measure, and to trace where `collector` is given; before anything else runs.
    pub(crate) fn start(collector: Option<&str>) -> anyhow::Result<Self> {
        gateway::record_metrics()?;
        let traces = collector.map(provider).transpose()?;
        if let Some(provider) = &traces {
            global::set_tracer_provider(provider.clone());
            streams::trace_requests();
        }
        Ok(Self { traces })
    }

    /// Sends what is left, if that is quick.
    pub(crate) fn stop(self) {
        if let Some(provider) = self.traces {
            // A collector that is away was said to be.
            let _ = tokio::task::block_in_place(|| provider.shutdown_with_timeout(LAST_SPANS_WAIT));
        }
    }
}

fn provider(collector: &str) -> anyhow::Result<SdkTracerProvider> {
    if !collector.starts_with("http://") {
        bail!("--otlp takes http://HOST:PORT of a collector that is near (over TLS, let that one send on), not {collector:?}");
    }
    let endpoint = format!("{}/{TRACES_PATH}", collector.trim_end_matches('/'));
    let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).with_http_client(Collector::default()).build();
    let exporter = exporter.with_context(|| format!("--otlp {collector} will not do"))?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(SERVICE_NAME);
    }
    Ok(SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter).build())
}

/// The way to the collector. The SDK calls it from a thread of its own, which may block.
#[derive(Debug)]
struct Collector {
    agent: ureq::Agent,
    is_away: AtomicBool,
}

impl Default for Collector {
    fn default() -> Self {
        let config = ureq::config::Config::builder().timeout_global(Some(EXPORT_WAIT)).http_status_as_error(false).build();
        Self { agent: ureq::Agent::new_with_config(config), is_away: AtomicBool::new(false) }
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outcome = self.agent.run(request.map(|body| body.to_vec()));
        let why = match &outcome {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        match (self.is_away.swap(why.is_some(), Ordering::Relaxed), why) {
            (false, Some(why)) => tracing::warn!(why, "The collector does not take traces; they are dropped until it does"),
            (true, None) => tracing::info!("The collector takes traces again"),
            (true, Some(_)) | (false, None) => {}
        }
        let (parts, mut body) = outcome?.into_parts();
        Ok(Response::from_parts(parts, body.read_to_vec()?.into()))
    }
}
