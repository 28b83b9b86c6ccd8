//! The monolith to compare with, as a process. It ends with whoever started it.

use clap::Parser;
use rustix::process::{Signal, set_parent_process_death_signal};

/// What people would write instead, to be measured beside Millrace.
#[derive(Parser)]
struct Arguments {
    /// How to connect to PostgreSQL.
    #[arg(long)]
    postgres: String,
    /// Where to listen.
    #[arg(long)]
    listen: String,
}

/// As Millrace has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    bench::monolith::serve(&arguments.postgres, &arguments.listen).await
}
