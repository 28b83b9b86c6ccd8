//! The command line. Every option is an environment variable too. This module must never act on one.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use domain::{CustomerId, fraud::Limits};
use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::{
    access::{AccessArgs, NameArgs},
    limits::LimitArgs,
    nats::NATS_PORT,
};

/// Where data lies unless `--data` says otherwise.
pub(crate) const DEFAULT_DATA: &str = ".data";

/// Millrace: a reactive payments backend.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, propagate_version = true)]
pub(crate) struct Args {
    /// What is logged to standard error, as a tracing filter.
    #[arg(long, global = true, env = "MILLRACE_LOG", value_name = "FILTER", default_value = "info,async_nats=off", value_parser = log_filter)]
    pub log: String,
    #[command(subcommand)]
    pub command: Command,
}

/// Takes what a filter can be made of.
fn log_filter(text: &str) -> Result<String, ParseError> {
    EnvFilter::try_new(text).map(|_| text.to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything, nats-server included, with demo data.
    Dev(DevArgs),
    /// Start services and the gateway on a nats-server that runs already.
    Serve(ServeArgs),
    /// Keep a nats-server alive: one that dies, or can no longer write, is started again.
    Nats(NatsArgs),
    /// Print a bearer token, signed with a secret: that of a `dev`, or one that is given.
    Token(TokenArgs),
    /// Print the records of a log, a line of JSON each.
    Cat(CatArgs),
    /// Check all logs from their first record, and the read models on disk: exit code 1 where something
    /// is wrong, 2 where it could not look.
    Audit(AuditArgs),
    /// Run a program that ends when its parent does.
    #[command(hide = true)]
    Supervised {
        /// Who that is.
        parent: u32,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// What `dev` and `serve` share.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BankArgs {
    /// The logs; without it ./streams.yaml, and without that the built-in one.
    #[arg(long, env = "MILLRACE_STREAMS", value_name = "FILE")]
    pub streams: Option<PathBuf>,
    /// The most that one payment may move, in minor units of its currency.
    #[arg(long, env = "MILLRACE_PAYMENT_LIMIT", value_name = "MINOR", default_value_t = Limits::default().single_minor,
          value_parser = clap::value_parser!(i64).range(1..))]
    payment_limit: i64,
    /// The most that may leave an account in a day (UTC), in minor units.
    #[arg(long, env = "MILLRACE_DAILY_LIMIT", value_name = "MINOR", default_value_t = Limits::default().daily_minor,
          value_parser = clap::value_parser!(i64).range(1..))]
    daily_limit: i64,
    /// From this amount on a payment waits for an operator's review, in minor units.
    #[arg(long, env = "MILLRACE_HOLD_FROM", value_name = "MINOR", default_value_t = Limits::default().hold_from_minor,
          value_parser = clap::value_parser!(i64).range(1..))]
    hold_from: i64,
    /// An origin whose pages may use the gateway besides its own, like https://app.example; * for any.
    #[arg(long = "allow-origin", env = "MILLRACE_ALLOW_ORIGIN", value_delimiter = ',', value_name = "ORIGIN")]
    pub origins: Vec<String>,
    /// A JSON object of ids and GraphQL documents: nothing else is run then.
    #[arg(long, env = "MILLRACE_TRUSTED_DOCUMENTS", value_name = "FILE")]
    pub trusted_documents: Option<PathBuf>,
    /// Send traces to the OpenTelemetry collector at this address, as OTLP over HTTP; OTEL_TRACES_SAMPLER
    /// and OTEL_TRACES_SAMPLER_ARG say how many.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp: Option<String>,
    #[command(flatten)]
    pub sizes: LimitArgs,
}

impl BankArgs {
    pub(crate) const fn limits(&self) -> Limits {
        Limits { single_minor: self.payment_limit, daily_minor: self.daily_limit, hold_from_minor: self.hold_from }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Where data lies; it survives restarts.
    #[arg(long, env = "MILLRACE_DATA", value_name = "DIR", default_value = DEFAULT_DATA)]
    pub data: PathBuf,
    /// Use a folder that is thrown away at the end.
    #[arg(long, env = "MILLRACE_EPHEMERAL", conflicts_with = "data")]
    pub ephemeral: bool,
    /// Where the gateway listens [default: 127.0.0.1:4000].
    #[arg(long, env = "MILLRACE_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where nats-server listens, on loopback [default: 4222].
    #[arg(long, env = "MILLRACE_NATS_PORT", value_name = "PORT")]
    pub nats_port: Option<u16>,
    /// Take a free port for everything whose port is not given.
    #[arg(long, env = "MILLRACE_ANY_PORT")]
    pub any_port: bool,
    /// Start with an empty bank.
    #[arg(long, env = "MILLRACE_NO_DEMO")]
    pub no_demo: bool,
    /// The nats-server to run [default: the one on PATH].
    #[arg(long, env = "MILLRACE_NATS_SERVER", value_name = "FILE")]
    pub nats_server: Option<PathBuf>,
    #[command(flatten)]
    pub bank: BankArgs,
    #[command(flatten)]
    pub access: AccessArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NatsArgs {
    /// Where its data lies; no other process may use the folder.
    #[arg(long, env = "MILLRACE_DATA", value_name = "DIR", default_value = DEFAULT_DATA)]
    pub data: PathBuf,
    /// Where it listens, on loopback.
    #[arg(long = "nats-port", alias = "port", env = "MILLRACE_NATS_PORT", value_name = "PORT", default_value_t = NATS_PORT)]
    pub port: u16,
    /// The nats-server to run [default: the one on PATH].
    #[arg(long, env = "MILLRACE_NATS_SERVER", value_name = "FILE")]
    pub nats_server: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// The nats-server to use, or several nodes of a cluster with commas between them.
    #[arg(long, env = "MILLRACE_NATS", hide_env_values = true, value_name = "URL", default_value = "nats://127.0.0.1:4222")]
    pub nats: String,
    /// Where read models and snapshots lie; each process needs its own.
    #[arg(long, env = "MILLRACE_DATA", value_name = "DIR", default_value = DEFAULT_DATA)]
    pub data: PathBuf,
    /// Where the gateway listens [default: 127.0.0.1:4000]. Without a gateway: where /health and /metrics are, if given.
    #[arg(long, env = "MILLRACE_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// What this process runs: customers, accounts, payments, fraud, ledger, gateway.
    #[arg(long, env = "MILLRACE_ROLES", value_delimiter = ',', value_name = "ROLE", default_value = "all")]
    pub roles: Vec<String>,
    /// The shards that its services run [default: all].
    #[arg(long, env = "MILLRACE_SHARDS", value_delimiter = ',', value_name = "N")]
    pub shards: Vec<u16>,
    #[command(flatten)]
    pub bank: BankArgs,
    #[command(flatten)]
    pub access: AccessArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TokenFor {
    /// A token for this customer.
    #[arg(long, env = "MILLRACE_CUSTOMER", value_name = "ID", value_parser = |id: &str| id.parse::<CustomerId>())]
    pub customer: Option<CustomerId>,
    /// A token for this role.
    #[arg(long, env = "MILLRACE_ROLE", value_name = "ROLE", value_parser = ["operator"])]
    pub role: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub whose: TokenFor,
    /// The data folder of the `dev` that is to accept it.
    #[arg(long, env = "MILLRACE_DATA", value_name = "DIR", default_value = DEFAULT_DATA)]
    pub data: PathBuf,
    /// The secret that tokens are signed with; without it, the one in the data folder.
    #[arg(long, env = "MILLRACE_JWT_SECRET", hide_env_values = true, value_name = "TEXT")]
    pub jwt_secret: Option<String>,
    #[command(flatten)]
    pub names: NameArgs,
    /// How many hours it is good.
    #[arg(long, env = "MILLRACE_HOURS", value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=8_760))]
    pub hours: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CatArgs {
    /// The log, for example ledger-0.
    pub log: String,
    /// The nats-server to read from.
    #[arg(long, env = "MILLRACE_NATS", hide_env_values = true, value_name = "URL", default_value = "nats://127.0.0.1:4222")]
    pub nats: String,
    /// The record to begin with.
    #[arg(long, env = "MILLRACE_FROM", value_name = "SEQ", default_value_t = 1)]
    pub from: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    /// The nats-server to read from [default: the one of the first data folder that has one].
    #[arg(long, env = "MILLRACE_NATS", hide_env_values = true, value_name = "URL")]
    pub nats: Option<String>,
    /// A data folder whose read models are compared; may be given several times [default: .data without --nats].
    #[arg(long, env = "MILLRACE_DATA", value_name = "DIR", value_delimiter = ',')]
    pub data: Vec<PathBuf>,
    /// Print the report as JSON.
    #[arg(long, env = "MILLRACE_JSON")]
    pub json: bool,
    /// The nats-server to run on the store of a stopped data folder [default: the one on PATH].
    #[arg(long, env = "MILLRACE_NATS_SERVER", value_name = "FILE")]
    pub nats_server: Option<PathBuf>,
}
