//! How far a bank has come, by what its process says of itself. This module must never change anything.

use std::time::Duration;

use ::tests::{Client, Dev};
use anyhow::{Context as _, ensure};

use crate::cpu::{CpuWatch, Group};

/// Between two looks: one takes the bank a fraction of a millisecond, and runs take seconds.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Payments that reached an end since the process started, as it counts them once that is durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// Booked.
    pub booked: u64,
    /// Rejected or returned.
    pub failed: u64,
}

impl Ended {
    /// What a process says now.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn now(serve: &Dev) -> anyhow::Result<Self> {
        let text = reqwest::get(format!("http://{}/metrics", serve.address)).await?.error_for_status()?.text().await?;
        Ok(Self { booked: counted(&text, "BOOKED"), failed: counted(&text, "REJECTED") + counted(&text, "RETURNED") })
    }
}

fn counted(metrics: &str, status: &str) -> u64 {
    let name = format!("millrace_payments_total{{status=\"{status}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

/// Waits until `payments` more than `before` have ended, all of them booked.
///
/// # Errors
/// Where one fails, or they have not within `patience`.
pub async fn booked(serve: &Dev, before: Ended, payments: u64, patience: Duration) -> anyhow::Result<()> {
    until(&format!("{payments} payments are booked"), patience, || async {
        let now = Ended::now(serve).await?;
        ensure!(now.failed == before.failed, "{} payments failed", now.failed - before.failed);
        let booked = now.booked - before.booked;
        ensure!(booked <= payments, "{booked} payments are booked of {payments}");
        Ok((booked == payments).then_some(()))
    })
    .await
}

/// Waits until every read model has folded all of its logs.
///
/// # Errors
/// Where they have not within `patience`.
pub async fn level(operator: &Client, patience: Duration) -> anyhow::Result<()> {
    until("all read models are level", patience, || async {
        // While models are built again, the gateway may say that it cannot answer yet.
        let Ok(data) = operator.execute("{ system { readModels { lag } } }").await else { return Ok(None) };
        let models = data["system"]["readModels"].as_array().context("read models")?;
        Ok((!models.is_empty() && models.iter().all(|model| model["lag"] == "0")).then_some(()))
    })
    .await
}

/// Waits until the directory knows a customer or an account.
///
/// # Errors
/// Where it does not within `patience`.
pub async fn known(operator: &Client, id: &str, patience: Duration) -> anyhow::Result<()> {
    let query = format!("{{ node(id: \"{id}\") {{ id }} }}");
    until(&format!("{id} is known"), patience, || async {
        let Ok(data) = operator.execute(&query).await else { return Ok(None) };
        Ok((data["node"]["id"] == id).then_some(()))
    })
    .await
}

/// What is used meanwhile by processes that have nothing to do, in CPU seconds together.
const IDLE_SECONDS: f64 = 0.5;
/// How long that is waited for.
const QUIET_WAIT: Duration = Duration::from_secs(120);

/// Waits until processes use next to nothing for as long as `rest`; not at all, where that is none.
///
/// # Errors
/// Where they go on.
pub async fn quiet(rest: Duration, groups: impl Fn() -> anyhow::Result<Vec<Group>>) -> anyhow::Result<()> {
    if rest.is_zero() {
        return Ok(());
    }
    let at_rest = async {
        loop {
            let watch = CpuWatch::start(groups()?)?;
            tokio::time::sleep(rest).await;
            if watch.stop()?.values().sum::<f64>() < IDLE_SECONDS {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(QUIET_WAIT, at_rest).await.with_context(|| format!("the processes did not come to rest within {QUIET_WAIT:?}"))?
}

/// Waits until `check` gives something.
///
/// # Errors
/// Where it does not within `patience`, or fails.
pub async fn until<T, F: Future<Output = anyhow::Result<Option<T>>>>(
    what: &str,
    patience: Duration,
    mut check: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let wait = async {
        loop {
            if let Some(found) = check().await? {
                return Ok(found);
            }
            tick.tick().await;
        }
    };
    tokio::time::timeout(patience, wait).await.with_context(|| format!("gave up after {patience:?}: {what}"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_status() {
        let text = "# TYPE x counter\nmillrace_payments_total{status=\"BOOKED\"} 42\nmillrace_payments_total{status=\"REJECTED\"} 7\n";
        assert_eq!((counted(text, "BOOKED"), counted(text, "REJECTED"), counted(text, "RETURNED")), (42, 7, 0));
    }
}
