//! The `dev` command: everything in one process, with nats-server as its child. This module must never run a bank
//! otherwise than `serve` does.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use gateway::Playground;
use streams::{Broker, Host};
use tokio_util::sync::CancellationToken;

use crate::{
    args::DevArgs,
    data::DataFolder,
    demo::{self, Demo},
    nats::{self, NATS_PORT, NatsServer},
    serve::{Door, GATEWAY_PORT, Roles, Running, listen, topology},
    stop,
    telemetry::Telemetry,
};

/// Read models that take longer than this to become level are no reason to wait: they are being
/// built again, or one has halted, and the log says which. Demo data is then not looked for.
const LEVEL_WAIT: Duration = Duration::from_secs(20);

/// The `dev` command.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(args.bank.otlp.as_deref())?;
    let topology = topology(&args.bank)?;
    let program = nats::find(args.nats_server.as_deref())?;
    let data = if args.ephemeral { DataFolder::ephemeral()? } else { DataFolder::open(&args.data)? };
    let door = Door::new(args.access.for_development(&data).await?, &args.bank)?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, if args.any_port { 0 } else { GATEWAY_PORT }));
    let listener = listen(args.listen.unwrap_or(any)).await?;
    let address = listener.local_addr()?;
    let door = if address.ip().is_loopback() { door.of_this_machine() } else { door };
    let nats_port = nats::free_port(args.nats_port.unwrap_or(if args.any_port { 0 } else { NATS_PORT }))?;
    let stop = CancellationToken::new();
    stop::on_signal(stop.clone())?;

    let server = NatsServer::start(&program, data.path(), nats_port)?;
    let url = format!("nats://127.0.0.1:{nats_port}");
    let serving = tokio::select! {
        serving = async {
            server.until_listening().await.with_context(|| nats_log(data.path()))?;
            let broker = Broker::connect(&url).await.with_context(|| nats_log(data.path()))?;
            streams::apply(&broker, &topology).await.map_err(|why| anyhow!(why))?;
            let host = Host::new(broker, Arc::clone(&topology));
            let running = Running::start(&Roles::all(&topology), &args.bank, &data, host, Some(listener), Some(door))?;
            let is_level = match &running.gateway {
                Some(bank) => tokio::time::timeout(LEVEL_WAIT, bank.models.level()).await.is_ok(),
                None => false,
            };
            let demo = match &running.gateway {
                Some(bank) if !args.no_demo && is_level => demo::seed(bank).await.map_err(demo::warn_of).ok(),
                Some(_) | None => None,
            };
            // Tokens are for whoever sits at this machine, and for nobody who reaches it.
            if let Some(demo) = demo.as_ref().filter(|_| address.ip().is_loopback()) {
                running.playground.sign_in(demo.for_playground());
            }
            print_summary(address, &url, data.path(), args.ephemeral, demo.as_ref());
            anyhow::Ok(running)
        } => serving.map(Some),
        () = stop.cancelled() => Ok(None),
    };
    let outcome = match serving {
        Ok(running) => {
            stop.cancelled().await;
            if let Some(running) = running {
                running.stop().await;
            }
            telemetry.stop();
            Ok(())
        }
        Err(error) => Err(error),
    };
    // It blocks until the child is gone.
    tokio::task::block_in_place(|| server.stop());
    outcome
}

fn nats_log(data: &Path) -> String {
    format!("nats-server did not come up, see {}", data.join("nats-server.log").display())
}

#[expect(clippy::print_stdout, reason = "the block that a person started this for")]
fn print_summary(address: SocketAddr, nats: &str, data: &Path, ephemeral: bool, demo: Option<&Demo>) {
    let url = format!("http://{address}");
    let kept = if ephemeral { "thrown away at the end" } else { "kept; delete the folder to start over" };
    println!("\nMillrace is up.\n");
    let hint = if Playground::is_built() { "" } else { "   (not built into this binary: ./just web builds it)" };
    println!("  Playground   {url}/{hint}");
    println!("  GraphQL      {url}/graphql");
    println!("  Websocket    ws://{address}/graphql   (graphql-transport-ws)");
    println!("  nats-server  {nats}");
    println!("  Data         {}   ({kept})", data.display());
    if let Some(demo) = demo {
        println!("{}", demo.describe(&url));
    }
    println!("\n  Ctrl-C stops everything.");
}
