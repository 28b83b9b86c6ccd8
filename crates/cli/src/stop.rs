//! How a process is asked to stop: Ctrl-C or SIGTERM once cleanly, a second time at once. This module must never know
//! what stops.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long services have to finish their appends and snapshots. With what follows, all is over
/// within five seconds.
pub(crate) const SERVICES_WAIT: Duration = Duration::from_secs(3);
/// How long nats-server has after that.
pub(crate) const NATS_WAIT: Duration = Duration::from_millis(1_200);
/// How long threads that still block have at the very end.
pub(crate) const LAST_WAIT: Duration = Duration::from_millis(300);

/// The exit code of a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Cancels `stop` at the first signal, and ends the process at the second.
pub(crate) fn on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                tracing::info!("Stopping; a second signal ends it at once");
                stop.cancel();
            } else {
                std::process::exit(INTERRUPTED);
            }
        }
    });
    Ok(())
}
