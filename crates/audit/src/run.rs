//! An audit from its beginning to its report. This module must never know what is checked.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use domain::{
    Currency, Shard,
    accounts::{AccountCommand, AccountEvent},
    customers::{CustomerCommand, CustomerEvent},
    ledger::LedgerAccount,
};
use projections::inspect::{InspectError, Inspection};
use streams::{Broker, Cursor, LogName, Topology};
use tokio::task::JoinSet;

use crate::{
    accounts::Accounts,
    compare::Compared,
    directory::Directory,
    ends::{AuditError, Ends},
    history::History,
    overview::Overview,
    payments::Stage,
    report::{Check, Findings, LogTotals, Model, Place, Report, ShardTotals},
    shard::ShardAudit,
    walk::{Course, Walk},
};

/// A read model's file to compare.
#[derive(Debug, Clone)]
pub struct ModelFile(PathBuf);

impl ModelFile {
    /// All that lie in the folder of a gateway's models; none, where there is no such folder.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn in_folder(folder: &Path) -> std::io::Result<Vec<Self>> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "redb"));
        files.sort();
        Ok(files.into_iter().map(Self).collect())
    }
}

/// An audit that is about to be run.
pub struct Audit {
    broker: Broker,
    topology: Topology,
    ends: Ends,
    open: Vec<Compared>,
    /// Files that are not compared.
    closed: Vec<Model>,
}

impl Audit {
    /// Opens what is to be compared and decides where to end in each log.
    ///
    /// # Errors
    /// [`AuditError`], where it cannot look.
    pub async fn prepare(broker: Broker, mut topology: Topology, files: Vec<ModelFile>) -> Result<Self, AuditError> {
        let shards = streams::shards(&broker, &topology).await.map_err(AuditError::NoBank)?;
        topology.shards = shards;
        let (mut open, mut closed) = (Vec::new(), Vec::new());
        for ModelFile(path) in files {
            let file = path.display().to_string();
            match Inspection::open(&path) {
                Ok(inspection) if inspection.name().shard().is_none_or(|shard| shard < shards) => {
                    open.push(Compared::new(file, inspection))
                }
                Ok(_) => closed.push(Model::not_compared(file, "it is of a shard that the bank does not have".to_owned())),
                Err(InspectError::Unknown) => {}
                Err(why @ (InspectError::InUse | InspectError::OtherVersion { .. })) => {
                    closed.push(Model::not_compared(file, why.to_string()))
                }
                Err(why @ (InspectError::Store(_) | InspectError::Copy(_))) => closed.push(Model::unreadable(file, why.to_string())),
            }
        }
        let mut at_least = Cursor::default();
        for (log, mark) in open.iter().flat_map(|compared| &compared.inspection.progress().marks) {
            at_least.advance(log, mark.seq);
        }
        let ends = Ends::find(&broker, &topology, &at_least).await?;
        Ok(Self { broker, topology, ends, open, closed })
    }

    /// How many records there are to read.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.ends.records()
    }

    /// Reads and checks everything; `progress` is told how many records were read.
    ///
    /// # Errors
    /// [`AuditError`], where it cannot look.
    pub async fn run(self, progress: impl Fn(u64) + Send + Sync + 'static) -> Result<Report, AuditError> {
        let since = Instant::now();
        let Self { broker, topology, ends, open, closed } = self;
        let marks = |compared: &Compared| {
            let file = compared.file().to_owned();
            compared.inspection.progress().marks.iter().map(move |(log, mark)| (file.clone(), log.clone(), *mark)).collect::<Vec<_>>()
        };
        let marks = open.iter().flat_map(marks).collect();
        let course = Arc::new(Course { broker, topology, ends, marks, progress: Box::new(progress) });
        let mut models = Sorted::new(open);
        let mut found = Found { models: closed, ..Found::default() };
        let facts = Arc::new(common(&course, &mut models.directories, &mut found).await?);
        let mut shards = walk_shards(&course, &facts, &mut models).await?;
        settle(&mut shards);
        for shard in &mut shards {
            finish_shard(shard, &course.ends);
        }
        clearing(&mut shards, &course.ends, &mut found.findings);
        shards.into_iter().for_each(|shard| found.add(shard, &course.ends));
        Ok(found.report(since))
    }
}

/// Read models by kind.
struct Sorted {
    directories: Vec<Directory>,
    overviews: BTreeMap<u16, Vec<Overview>>,
    histories: BTreeMap<u16, Vec<History>>,
}

impl Sorted {
    fn new(open: Vec<Compared>) -> Self {
        let mut sorted = Self { directories: Vec::new(), overviews: BTreeMap::new(), histories: BTreeMap::new() };
        for compared in open {
            let name = compared.inspection.name().clone();
            let shard = name.shard().unwrap_or(0);
            match name.base() {
                "directory" => sorted.directories.push(Directory::new(compared)),
                "overview" => sorted.overviews.entry(shard).or_default().push(Overview::new(compared)),
                _ => sorted.histories.entry(shard).or_default().push(History::new(compared, shard)),
            }
        }
        sorted
    }
}

/// Walks the logs that are not sharded.
async fn common(course: &Arc<Course>, directories: &mut [Directory], found: &mut Found) -> Result<Accounts, AuditError> {
    let mut facts = Accounts::default();
    let [customers, accounts] = ["customers", "accounts"].map(|name| LogName::new(name, None));
    let Found { findings, logs, .. } = found;
    let walk = |log: LogName| Walk::start(course, log);
    let commands = walk(LogName::new("customer-commands", None));
    logs.push(commands.each(findings, |_, _, _: CustomerCommand, _| {}).await?);
    let on_customer = |place: Place<'_>, _: &_, event: CustomerEvent, _: &mut _| {
        directories.iter_mut().for_each(|directory| directory.customer(place, &event));
    };
    logs.push(walk(customers.clone()).each(findings, on_customer).await?);
    let commands = walk(LogName::new("account-commands", None));
    logs.push(commands.each(findings, |_, _, _: AccountCommand, _| {}).await?);
    let on_account = |place: Place<'_>, _: &_, event: AccountEvent, findings: &mut Findings| {
        facts.apply(place, &event, findings);
        directories.iter_mut().for_each(|directory| directory.account(place, &event));
    };
    logs.push(walk(accounts.clone()).each(findings, on_account).await?);
    for directory in directories {
        directory.finish(&customers, &accounts, findings);
        found.models.push(directory.compared.report());
    }
    Ok(facts)
}

/// Walks all shards at the same time; there are 32 at most.
async fn walk_shards(course: &Arc<Course>, facts: &Arc<Accounts>, models: &mut Sorted) -> Result<Vec<ShardAudit>, AuditError> {
    let mut walks = JoinSet::new();
    let shards = course.topology.shards;
    for shard in 0..shards {
        let mut audit = ShardAudit::new(Shard(shard), shards, Arc::clone(facts));
        audit.overviews = models.overviews.remove(&shard).unwrap_or_default();
        audit.histories = models.histories.remove(&shard).unwrap_or_default();
        walks.spawn(audit.walk(Arc::clone(course)));
    }
    let mut walked = Vec::new();
    while let Some(outcome) = walks.join_next().await {
        walked.push(outcome.map_err(|error| AuditError::Broken(error.to_string()))??);
    }
    walked.sort_by_key(|audit| audit.shard);
    Ok(walked)
}

/// Hands over what shards booked for payments of each other.
fn settle(shards: &mut [ShardAudit]) {
    for at in 0..shards.len() {
        for crossing in std::mem::take(&mut shards[at].payments.crossings) {
            match shards.get_mut(usize::from(crossing.from.0)) {
                Some(from) => from.cross(&crossing),
                None => {
                    let log = shards[at].log("ledger");
                    let place = Place { log: &log, seq: crossing.seq, event: crossing.event };
                    let what = format!("{} comes from a shard that does not exist", crossing.payment);
                    shards[at].findings.fail(Check::Credits, place, what);
                }
            }
        }
    }
    for shard in shards {
        let log = shard.log("ledger");
        shard.payments.settle_returns(&log, &mut shard.findings);
    }
}

fn finish_shard(shard: &mut ShardAudit, ends: &Ends) {
    let (ledger, accounts) = (shard.log("ledger"), LogName::new("accounts", None));
    shard.books.finish(&accounts, ends.cursor(&ledger).get(&accounts), &mut shard.findings);
    let (commands, payments) = (shard.log("payment-commands"), shard.log("payments"));
    for seq in shard.payments.lost_reviews(ends.cursor(&payments).get(&commands)) {
        let what = format!("{payments} has read a review here and did not pass it on");
        shard.findings.fail(Check::Payments, Place::of_record(&commands, seq), what);
    }
    shard.compare();
}

/// What is on its way between two shards, in a currency.
type Way = (Shard, Shard, Currency);

/// The halves of each clearing account differ by what is on its way.
fn clearing(shards: &mut [ShardAudit], ends: &Ends, findings: &mut Findings) {
    let mut ways: std::collections::HashMap<Way, i128> = std::collections::HashMap::new();
    for shard in &*shards {
        for (from, to, currency) in shard.books.clearing() {
            let half = shard.books.balance(LedgerAccount::Clearing { from, to, currency });
            *ways.entry((from, to, currency)).or_default() += i128::from(half);
        }
        for unfinished in shard.payments.finish().1 {
            let amount = unfinished.payment.amount;
            let way = match unfinished.payment.stage {
                Stage::Outgoing(to) => (shard.shard, to, amount.currency()),
                Stage::Bounced(at) => (at, shard.shard, amount.currency()),
                Stage::Accepted | Stage::Validated | Stage::Held | Stage::Passed | Stage::Booked | Stage::Rejected | Stage::Returned => {
                    continue;
                }
            };
            *ways.entry(way).or_default() -= i128::from(amount.minor());
        }
    }
    for ((from, to, currency), difference) in ways {
        let log = LogName::new("ledger", Some(from.0));
        findings.expect(Check::Credits, Place::of_record(&log, ends.seq(&log)), difference == 0, || {
            format!("the halves of clearing from shard {from} to {to} in {currency} differ by {difference} beyond what is under way")
        });
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    findings: Findings,
    logs: Vec<LogTotals>,
    shards: Vec<ShardTotals>,
    models: Vec<Model>,
}

impl Found {
    fn add(&mut self, mut shard: ShardAudit, ends: &Ends) {
        let (mut totals, unfinished) = shard.payments.finish();
        for payment in &unfinished {
            payment.judge(shard.shard, ends, &mut totals, &mut shard.findings);
        }
        self.shards.push(ShardTotals {
            shard: shard.shard.0,
            accounts: shard.books.accounts(),
            postings: shard.books.postings,
            payments: totals,
            currencies: shard.books.currencies(),
        });
        self.models.extend(shard.overviews.iter().map(|overview| overview.compared.report()));
        self.models.extend(shard.histories.iter().map(|history| history.compared.report()));
        self.logs.append(&mut shard.logs);
        self.findings.merge(shard.findings);
    }

    fn report(self, since: Instant) -> Report {
        let checks = self.findings.results();
        let violations = checks.iter().map(|check| check.failed).sum();
        let (records, events) = self.logs.iter().fold((0, 0), |(records, events), log| (records + log.records, events + log.events));
        let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        Report {
            passed: violations == 0 && !self.models.iter().any(Model::is_unreadable),
            violations,
            listed: self.findings.listed,
            checks,
            shards: self.shards,
            logs: self.logs,
            models: self.models,
            records,
            events,
            millis,
            events_per_second: events * 1_000 / millis,
        }
    }
}
