//! The `audit` command: finds the nats-server and the read models to look at, and shows what the
//! auditor found. It must never change what lies in a data folder.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use ::audit::{Audit, ModelFile, Report};
use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use streams::Broker;
use tempfile::TempDir;

use crate::{
    args::{AuditArgs, DEFAULT_DATA},
    audit_table,
    data::DataFolder,
    nats::{self, NatsServer},
    serve::built_in_topology,
};

/// What a process ends with that could not look.
pub(crate) const COULD_NOT_LOOK: u8 = 2;
/// How often the progress bar is drawn: as often as an eye can follow.
const DRAWN_PER_SECOND: u8 = 10;
/// A bar moves at least this often, so that a slow server is told from a dead one.
const BAR_TICK: Duration = Duration::from_millis(250);

/// The `audit` command; says what the process ends with.
pub(crate) async fn run(args: AuditArgs) -> anyhow::Result<ExitCode> {
    let folders = match (&args.nats, args.data.as_slice()) {
        (None, []) => vec![PathBuf::from(DEFAULT_DATA)],
        (Some(_) | None, folders) => folders.to_vec(),
    };
    let borrowed = folders.iter().map(|folder| DataFolder::borrow(folder)).collect::<anyhow::Result<Vec<_>>>()?;
    let source = match &args.nats {
        Some(url) => Source { url: url.clone(), own: None },
        None => Source::of(&folders, &borrowed, args.nats_server.as_deref())?,
    };
    let listens = match &source.own {
        Some((server, _)) => {
            server.until_listening().await.context("the store cannot be read: it must be writable, as it is for its own server")
        }
        None => Ok(()),
    };
    let outcome = match listens {
        Ok(()) => look(&source.url, &folders).await,
        Err(error) => Err(error),
    };
    source.stop();
    let report = outcome?;
    show(&report, args.json)?;
    Ok(match (report.violations, report.unreadable()) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => COULD_NOT_LOOK.into(),
        (_, _) => ExitCode::FAILURE,
    })
}

async fn look(url: &str, folders: &[PathBuf]) -> anyhow::Result<Report> {
    let broker = Broker::connect(url).await?;
    let mut files = Vec::new();
    for models in folders.iter().map(|folder| folder.join("models")) {
        let listed = ModelFile::in_folder(&models);
        files.extend(listed.with_context(|| format!("{} cannot be listed: read models in it would not be looked at", models.display()))?);
    }
    let audit = Audit::prepare(broker.clone(), built_in_topology()?, files).await?;
    let bar = ProgressBar::with_draw_target(Some(audit.records()), ProgressDrawTarget::stderr_with_hz(DRAWN_PER_SECOND));
    bar.set_style(ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} records, {elapsed}, {eta} to go")?);
    bar.enable_steady_tick(BAR_TICK);
    let shown = bar.clone();
    let report = audit.run(move |records| shown.inc(records)).await;
    bar.finish_and_clear();
    broker.leave();
    Ok(report?)
}

/// The nats-server to read from.
struct Source {
    url: String,
    /// One that was started on the store of a folder that nobody uses, and what it writes beside it.
    own: Option<(NatsServer, TempDir)>,
}

impl Source {
    /// That of the first folder that has a store: the one that runs on it, or one of our own.
    fn of(folders: &[PathBuf], borrowed: &[Option<DataFolder>], program: Option<&Path>) -> anyhow::Result<Self> {
        let with_store = folders.iter().zip(borrowed).find(|(folder, _)| folder.join(nats::STORE).is_dir());
        let Some((folder, borrowed)) = with_store else {
            bail!("no data folder has a store of nats-server: name the server with --nats");
        };
        if borrowed.is_none() {
            let url =
                nats::url_of(folder).with_context(|| format!("where the nats-server of {} listens is not known", folder.display()))?;
            return Ok(Self { url, own: None });
        }
        let program = nats::find(program)?;
        let beside = TempDir::new().context("no temporary folder can be made")?;
        let port = nats::free_port(0)?;
        let server = NatsServer::start_on(&folder.join(nats::STORE).canonicalize()?, &program, beside.path(), port)?;
        Ok(Self { url: format!("nats://127.0.0.1:{port}"), own: Some((server, beside)) })
    }

    fn stop(self) {
        if let Some((server, _beside)) = self.own {
            // It blocks until the child is gone.
            tokio::task::block_in_place(|| server.stop());
        }
    }
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        println!("{}", audit_table::render(report));
    }
    Ok(())
}
