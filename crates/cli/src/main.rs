//! `millrace`, the one binary: wiring that reads as a list. It must never hold a rule of the bank.

mod access;
mod args;
mod audit;
mod audit_table;
mod cat;
mod data;
mod demo;
mod dev;
mod limits;
mod nats;
mod nats_health;
mod serve;
mod stop;
mod telemetry;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Parser as _;

use crate::args::{Args, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(&args.log))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let failure = if matches!(args.command, Command::Audit(_)) { audit::COULD_NOT_LOOK.into() } else { ExitCode::FAILURE };
    match run(args.command) {
        Ok(code) => code,
        Err(error) => {
            // One line: what failed, and why.
            let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
            eprintln!("millrace: {}", causes.join(": ").replace('\n', " "));
            failure
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    // It replaces this process, so it comes before any thread is started.
    if let Command::Supervised { parent, program, arguments } = command {
        return Err(nats::become_supervised(parent, &program, &arguments));
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let mut code = ExitCode::SUCCESS;
    let outcome = match command {
        Command::Dev(args) => runtime.block_on(dev::run(args)),
        Command::Serve(args) => runtime.block_on(serve::run(args)),
        Command::Nats(args) => runtime.block_on(nats::run(args)),
        Command::Token(args) => access::print_token(&args),
        Command::Cat(args) => runtime.block_on(cat::run(args)),
        Command::Audit(args) => runtime.block_on(audit::run(args)).map(|ended| code = ended),
        Command::Supervised { .. } => Ok(()),
    };
    runtime.shutdown_timeout(stop::LAST_WAIT);
    outcome.map(|()| code)
}
