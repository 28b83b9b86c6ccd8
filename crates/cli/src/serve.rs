//! The `serve` command, and what it shares with `dev`: services, read models and gateway in one process. This
//! module must never know what a role does.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, anyhow, bail};
use gateway::{Bank, Documents, Gateway, Limits, Models, Origins, Playground};
use services::{ROLES, Role, Settings};
use streams::{Broker, Host, Topology};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    args::{BankArgs, ServeArgs},
    data::DataFolder,
    stop,
    telemetry::Telemetry,
};

/// The declaration that is used where there is no file.
const BUILT_IN_STREAMS: &str = include_str!("../../../streams.yaml");
const STREAMS_FILE: &str = "streams.yaml";
/// Where the gateway listens unless it is told.
pub(crate) const GATEWAY_PORT: u16 = 4000;

/// How far the threads of requests stand behind those of the services: these get about three quarters
/// of a core that both want.
const REQUESTS_NICENESS: i32 = 5;

/// What a process runs.
#[derive(Debug)]
pub(crate) struct Roles {
    services: Vec<Role>,
    shards: Vec<u16>,
    gateway: bool,
}

impl Roles {
    /// Everything, on every shard.
    pub(crate) fn all(topology: &Topology) -> Self {
        Self { services: ROLES.to_vec(), shards: (0..topology.shards).collect(), gateway: true }
    }

    fn chosen(names: &[String], shards: &[u16], topology: &Topology) -> anyhow::Result<Self> {
        let mut roles = Self { services: Vec::new(), gateway: false, ..Self::all(topology) };
        for name in names {
            match ROLES.iter().find(|role| role.name() == name) {
                Some(role) if roles.services.contains(role) => {}
                Some(role) => roles.services.push(*role),
                None if name == "gateway" => roles.gateway = true,
                None if name == "all" => (roles.services, roles.gateway) = (ROLES.to_vec(), true),
                None => bail!("there is no role {name:?}: choose among customers, accounts, payments, fraud, ledger, gateway"),
            }
        }
        if let Some(shard) = shards.iter().find(|shard| **shard >= topology.shards) {
            bail!("there is no shard {shard}: streams.yaml declares shards 0 to {}", topology.shards - 1);
        }
        if !shards.is_empty() {
            roles.shards = shards.to_vec();
        }
        roles.shards.sort_unstable();
        roles.shards.dedup();
        Ok(roles)
    }
}

/// The declaration that the code is made for.
pub(crate) fn built_in_topology() -> anyhow::Result<Topology> {
    Ok(Topology::parse(BUILT_IN_STREAMS, "the built-in streams.yaml")?)
}

/// Reads the declaration of the logs.
pub(crate) fn topology(args: &BankArgs) -> anyhow::Result<Arc<Topology>> {
    let built_in = built_in_topology()?;
    let here = Path::new(STREAMS_FILE);
    let Some(file) = args.streams.as_deref().or_else(|| here.exists().then_some(here)) else { return Ok(Arc::new(built_in)) };
    let topology = Topology::read(file)?;
    topology.check_logs(&built_in, &file.display().to_string())?;
    Ok(Arc::new(topology))
}

/// Takes a port before anything else is started.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let hint = "stop what has the port, or choose another with --listen";
    TcpListener::bind(address).await.with_context(|| format!("the gateway cannot listen on {address}, {hint}"))
}

/// What a gateway is told from outside. It is read before anything is started: what is wrong with it is then all
/// that is said.
pub(crate) struct Door {
    access: Access,
    documents: Documents,
    origins: Origins,
}

impl Door {
    pub(crate) fn new(access: Access, args: &BankArgs) -> anyhow::Result<Self> {
        let documents = args.trusted_documents.as_deref().map_or(Ok(Documents::default()), Documents::trusted)?;
        Ok(Self { access, documents, origins: Origins::new(&args.origins)? })
    }

    /// The same, to be reached by names of the machine itself only.
    pub(crate) fn of_this_machine(self) -> Self {
        Self { origins: self.origins.of_this_machine(), ..self }
    }
}

/// A process's services and gateway, running.
pub(crate) struct Running {
    /// The gateway's inside, where this process has one.
    pub gateway: Option<Arc<Bank>>,
    /// Whom its playground is signed in as.
    pub playground: Playground,
    host: Host,
    requests: Requests,
}

impl Running {
    /// Starts `roles` on a broker whose streams are there; a gateway is what has a `door`.
    pub(crate) fn start(
        roles: &Roles,
        args: &BankArgs,
        data: &DataFolder,
        host: Host,
        listener: Option<TcpListener>,
        door: Option<Door>,
    ) -> anyhow::Result<Self> {
        let settings = Settings { shards: roles.shards.clone(), limits: args.limits() };
        for role in &roles.services {
            services::run(*role, &settings, &host, &data.state())?;
        }
        let mut running = Self { gateway: None, playground: Playground::default(), host, requests: Requests::new()? };
        match (listener, door) {
            (Some(listener), Some(door)) => running.start_gateway(args, data, listener, door),
            (Some(listener), None) => running.requests.spawn(&running.host, gateway::serve_health(listener, running.host.clone())),
            (None, _) => {}
        }
        Ok(running)
    }

    fn start_gateway(&mut self, args: &BankArgs, data: &DataFolder, listener: TcpListener, door: Door) {
        let Door { access, documents, origins } = door;
        let models = Arc::new(Models::new(&data.models(), self.host.topology.shards));
        models.run(&self.host);
        let bank = Arc::new(Bank::new(models, &self.host, access.issuer));
        let limits = Limits::from(&args.sizes);
        let schema = gateway::BankSchema::new(Arc::clone(&bank), access.introspection, &limits);
        let gateway = Gateway::new(schema, access.keys, limits, documents);
        self.gateway = Some(bank);
        let serving = gateway::serve(listener, gateway, origins, self.playground.clone(), self.host.clone());
        self.requests.spawn(&self.host, serving);
    }

    /// Stops everything; says if something had to be left behind.
    pub(crate) async fn stop(self) {
        self.host.stop.cancel();
        self.host.broker.leave();
        self.host.tasks.close();
        if tokio::time::timeout(stop::SERVICES_WAIT, self.host.tasks.wait()).await.is_err() {
            // Open websockets end here; nothing is lost, since the logs have it.
            tracing::debug!("Some tasks were still busy");
        }
    }
}

/// Requests have threads of their own, and the services' go before them: what was accepted is booked
/// before more is taken in, and no flood of requests stands in its way.
struct Requests(Option<Runtime>);

impl Requests {
    fn new() -> std::io::Result<Self> {
        let step_back = || {
            // On Linux this holds for the calling thread alone. Where it is refused, all are equal.
            let _ = rustix::process::nice(REQUESTS_NICENESS);
        };
        let runtime = Builder::new_multi_thread().thread_name("requests").on_thread_start(step_back).enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    fn spawn(&self, host: &Host, serving: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            host.tasks.spawn_on(serving, runtime.handle());
        }
    }
}

/// Whoever lets go of it, after a failure too, stands on a thread that must not wait for others.
impl Drop for Requests {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The `serve` command.
pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(args.bank.otlp.as_deref())?;
    let topology = topology(&args.bank)?;
    let roles = Roles::chosen(&args.roles, &args.shards, &topology)?;
    let door = if roles.gateway { Some(Door::new(args.access.for_production().await?, &args.bank)?) } else { None };
    let data = DataFolder::open(&args.data)?;
    let address = args.listen.or_else(|| roles.gateway.then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, GATEWAY_PORT))));
    let listener = match address {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let stop = CancellationToken::new();
    stop::on_signal(stop.clone())?;
    let broker = Broker::connect(&args.nats).await?;
    streams::apply(&broker, &topology).await.map_err(|why| anyhow!(why))?;
    let running = Running::start(&roles, &args.bank, &data, Host::new(broker, topology), listener, door)?;
    match address {
        Some(address) if roles.gateway => tracing::info!("Serving GraphQL at http://{address}/graphql"),
        Some(address) => tracing::info!("Serving without a gateway, /health/ready and /metrics at http://{address}"),
        None => tracing::info!("Serving without a gateway"),
    }
    stop.cancelled().await;
    running.stop().await;
    telemetry.stop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_is_named_twice_runs_once() {
        let topology = built_in_topology().expect("good");
        let chosen = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            Roles::chosen(&names, &[1, 1], &topology).expect("roles")
        };
        for (names, services) in [(&["all", "ledger"][..], 5), (&["ledger", "gateway", "ledger"], 1), (&["ledger", "all"], 5)] {
            let roles = chosen(names);
            assert_eq!((roles.services.len(), roles.gateway, roles.shards), (services, true, vec![1]), "{names:?}");
        }
    }
}
