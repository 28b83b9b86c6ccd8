//! Whether a nats-server can still write. After a full disk or a failed fsync it answers as before,
//! but the streams that were hit take nothing any more until it is started again; only its health
//! check says so. This module must never start or stop it.

use std::{fs, path::Path, time::Duration};

use serde::Deserialize;

/// A server that is busy, or stopped, is not asked for longer.
const ASK_WAIT: Duration = Duration::from_millis(500);
/// Less than this is a full disk: nats-server writes blocks of some megabytes.
const MIN_FREE_BYTES: u64 = 16 * 1024 * 1024;
/// How nats-server's answer begins to name what cannot be written.
const WRITE_ERROR: &str = "write error";

/// The file in which nats-server says where it listens.
#[derive(Deserialize)]
struct Ports {
    monitoring: Vec<String>,
}

#[derive(Deserialize)]
struct Health {
    error: Option<String>,
}

/// What the server with process id `pid`, whose ports file lies in `folder`, cannot write; none where
/// it can, or does not say.
pub(crate) fn write_error(folder: &Path, pid: u32) -> Option<String> {
    let ports = fs::read(folder.join(format!("nats-server_{pid}.ports"))).ok()?;
    let ports: Ports = serde_json::from_slice(&ports).ok()?;
    let agent =
        ureq::Agent::new_with_config(ureq::config::Config::builder().timeout_global(Some(ASK_WAIT)).http_status_as_error(false).build());
    let mut answer = agent.get(format!("{}/healthz", ports.monitoring.first()?)).call().ok()?;
    let health: Health = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()?;
    health.error.filter(|error| error.contains(WRITE_ERROR))
}

/// Takes away what servers left that did not stop by themselves.
pub(crate) fn forget_ports(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.path().extension().is_some_and(|extension| extension == "ports")) {
        // A file that stays is of a process id that is not asked for.
        let _ = fs::remove_file(entry.path());
    }
}

/// Whether the disk under `folder` has room to go on.
pub(crate) fn has_room(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= MIN_FREE_BYTES)
}
