//! The nats-servers that a bank's logs lie on: one, or a cluster of three, each with an fsync before it
//! acknowledges; what they say of that is asked back. This module must never know what the logs hold.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tests::{Nats, eventually, free_port};

/// Nodes of a cluster: the fewest of which one may be away.
const NODES: usize = 3;
/// As `millrace nats` has it: with NATS's mebibyte, services take smaller steps.
const MAX_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;
const CLUSTER: &str = "bench";

/// One nats-server, or several that are one.
#[derive(Debug)]
pub struct Servers {
    nodes: Vec<Nats>,
    monitors: Vec<u16>,
}

impl Servers {
    /// Starts as many as `replicas` of a log need: one, or a cluster of three.
    ///
    /// # Errors
    /// Where they do not come up.
    pub async fn start(replicas: usize) -> anyhow::Result<Self> {
        let count = if replicas == 1 { 1 } else { NODES };
        ensure!(replicas <= count, "{replicas} replicas need more than the {NODES} nodes of this cluster");
        let ports = |_| anyhow::Ok((free_port()?, free_port()?));
        let ports: Vec<(u16, u16)> = (0..count).map(ports).collect::<Result<_, _>>()?;
        let routes: Vec<String> = ports.iter().map(|(_, route)| format!("\"nats://127.0.0.1:{route}\"")).collect();
        let node = |(index, (monitor, route)): (usize, &(u16, u16))| {
            let http = format!("http: \"127.0.0.1:{monitor}\"");
            let routes = routes.join(", ");
            let cluster = format!("cluster {{ name: {CLUSTER}, listen: \"127.0.0.1:{route}\", routes: [{routes}] }}");
            let http = format!("{http}\nmax_payload: {MAX_PAYLOAD_BYTES}");
            let lines = if count == 1 { http } else { format!("server_name: node-{index}\n{http}\n{cluster}") };
            Nats::start_with(&lines)
        };
        let nodes = ports.iter().enumerate().map(node).collect::<Result<_, _>>()?;
        let servers = Self { nodes, monitors: ports.iter().map(|(monitor, _)| *monitor).collect() };
        eventually("nats-server is up", || async { Ok(servers.are_up().await.then_some(())) }).await?;
        Ok(servers)
    }

    /// Where the first of them listens.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.first().map(Nats::url).unwrap_or_default()
    }

    /// Their process ids.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(Nats::pid).collect()
    }

    /// Where they store.
    #[must_use]
    pub fn stores(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(Nats::store).collect()
    }

    /// When what they acknowledge is on disk, by their own word.
    ///
    /// # Errors
    /// Where one does not answer, or they are not alike.
    pub async fn durability(&self) -> anyhow::Result<String> {
        let mut said = Vec::new();
        for monitor in &self.monitors {
            let config = &self::ask(*monitor, "varz").await?["jetstream"]["config"];
            said.push(if config["sync_always"] == true { "always".to_owned() } else { config["sync_interval"].to_string() });
        }
        let first = said.first().cloned().context("a server")?;
        ensure!(said.iter().all(|other| *other == first), "the servers sync differently: {said:?}");
        Ok(format!("nats-server sync_interval: {first}"))
    }

    /// Whether all answer, and a cluster has a leader that sees all of them.
    async fn are_up(&self) -> bool {
        for monitor in &self.monitors {
            let Ok(state) = ask(*monitor, "jsz").await else { return false };
            let meta = &state["meta_cluster"];
            let is_whole = || meta["leader"].as_str().is_some_and(|leader| !leader.is_empty()) && meta["cluster_size"] == self.nodes.len();
            if self.nodes.len() > 1 && !is_whole() {
                return false;
            }
        }
        true
    }
}

async fn ask(monitor: u16, what: &str) -> anyhow::Result<Value> {
    Ok(reqwest::get(format!("http://127.0.0.1:{monitor}/{what}")).await?.error_for_status()?.json().await?)
}

/// The bytes that the files below `folders` take on disk, holes not counted.
///
/// # Errors
/// Where one cannot be read. A file that goes meanwhile counts nothing.
pub fn disk_bytes(folders: &[PathBuf]) -> anyhow::Result<u64> {
    folders.iter().map(|folder| bytes_of(folder)).sum()
}

fn bytes_of(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    /// What `st_blocks` counts in.
    const BLOCK: u64 = 512;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += bytes_of(&entry.path())?,
            Ok(metadata) => bytes += metadata.blocks() * BLOCK,
            Err(_) => {}
        }
    }
    Ok(bytes)
}
