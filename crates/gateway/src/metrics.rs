//! Prometheus: `/metrics`, on the same listener as whether the process is ready, and what the gateway
//! itself measures. This module must never know GraphQL.

use std::{sync::OnceLock, time::Duration};

use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use metrics::{Unit, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use streams::{Host, Survey, Surveyor};

pub(crate) const OPERATION_SECONDS: &str = "millrace_graphql_operation_seconds";
pub(crate) const SUBSCRIPTIONS: &str = "millrace_subscriptions";
const LAG: &str = "millrace_read_model_lag_records";
const REACHABLE: &str = "millrace_log_reachable";

/// From what an append takes on a quiet disk to what its caller no longer waits for.
const SECONDS: [f64; 14] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// From one event to more than a step of the ledger has.
const EVENTS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 5_000.0];
/// What was measured waits in buffers until it is scraped, or for this long.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Begins to record what this process measures; before that nothing is. Once a process, and first of all.
///
/// # Errors
/// Where something else records already.
pub fn record_metrics() -> Result<(), BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_events".to_owned()), &EVENTS)?
        .install_recorder()?;
    RECORDER.get_or_init(|| recorder);
    streams::describe_metrics();
    projections::describe_metrics();
    describe_histogram!(OPERATION_SECONDS, Unit::Seconds, "How long queries and mutations took to execute, by operation name.");
    describe_gauge!(SUBSCRIPTIONS, "Subscriptions that are open.");
    describe_gauge!(LAG, "Records that a read model has still to fold; NaN where a log does not answer.");
    describe_gauge!(REACHABLE, "1 where a log answers, else 0.");
    Ok(())
}

/// The route; and the upkeep that keeps buffers small where nobody scrapes.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(surveyor: Surveyor) -> Router<S> {
    surveyor.host.tasks.spawn(upkeep(surveyor.host.clone()));
    Router::new().route("/metrics", get(metrics)).with_state(surveyor)
}

async fn metrics(State(surveyor): State<Surveyor>) -> impl IntoResponse {
    show(&*surveyor.look().await);
    ([(CONTENT_TYPE, TEXT_FORMAT)], RECORDER.get().map(PrometheusHandle::render).unwrap_or_default())
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; a lag is far below 2^53")]
fn show(survey: &Survey) {
    for (log, info) in &survey.logs {
        gauge!(REACHABLE, "log" => log.to_string()).set(u32::from(info.is_ok()));
    }
    for (model, lag) in &survey.lags {
        gauge!(LAG, "model" => model.to_string()).set(lag.map_or(f64::NAN, |lag| lag as f64));
    }
}

async fn upkeep(host: Host) {
    let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
    let upkeep = async {
        loop {
            tick.tick().await;
            RECORDER.get().inspect(|recorder| recorder.run_upkeep());
        }
    };
    host.stop.run_until_cancelled(upkeep).await;
}
