//! The read models that a gateway serves from: its process folds them. This module must never know
//! GraphQL.

use std::{path::Path, sync::Arc, time::Duration};

use domain::{AccountId, PaymentId, Shard};
use projections::{Directory, Overview, PaymentHistory, PaymentRow, Position, Projection, ReadModel, StoreError};
use streams::{Cursor, Host, LogName};

/// How long a read with `atLeast` waits for its model: longer than any batch takes, shorter than
/// clients' usual timeouts.
pub(crate) const READ_WAIT: Duration = Duration::from_secs(5);

/// What a read shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// Anything, balances too.
    All,
    /// A payment and whom it is between: balances are behind, where the services stand still that follow an order.
    Payments,
}

/// All read models of all shards.
#[derive(Debug)]
pub struct Models {
    /// Customers, accounts and IBANs.
    pub directory: Arc<ReadModel<Directory>>,
    overviews: Vec<Arc<ReadModel<Overview>>>,
    histories: Vec<Arc<ReadModel<PaymentHistory>>>,
    /// The logs of each shard that its overview and its payments follow both.
    common: Vec<[LogName; 3]>,
}

impl Models {
    /// The models whose files lie in `folder`; none can be asked before it runs.
    #[must_use]
    pub fn new(folder: &Path, shards: u16) -> Self {
        let directory = Arc::new(ReadModel::new(folder, None, Directory::default()));
        let overview = |shard| Arc::new(ReadModel::new(folder, Some(shard), Overview::default()));
        let history = |shard| Arc::new(ReadModel::new(folder, Some(shard), PaymentHistory::new(Shard(shard))));
        let common = |shard| ["payments", "fraud", "ledger"].map(|log| LogName::new(log, Some(shard)));
        Self {
            directory,
            overviews: (0..shards).map(overview).collect(),
            histories: (0..shards).map(history).collect(),
            common: (0..shards).map(common).collect(),
        }
    }

    /// Starts to fold; each model halts on its own if it must.
    pub fn run(&self, host: &Host) {
        start(&self.directory, host);
        self.overviews.iter().for_each(|model| start(model, host));
        self.histories.iter().for_each(|model| start(model, host));
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        u16::try_from(self.overviews.len()).unwrap_or(u16::MAX)
    }

    /// The overview that has `account`.
    #[must_use]
    pub fn overview(&self, account: AccountId) -> &ReadModel<Overview> {
        &self.overviews[usize::from(Shard::of(account, self.shards()).0)]
    }

    /// The payments of a shard.
    #[must_use]
    pub fn history(&self, shard: Shard) -> &ReadModel<PaymentHistory> {
        &self.histories[usize::from(shard.0)]
    }

    /// A payment that may be seen, and the shard it lives on. Where it may not, the search goes on as if
    /// it were not there.
    ///
    /// # Errors
    /// [`StoreError`]; where one shard cannot be asked, only if no other has it.
    pub fn payment(
        &self,
        id: PaymentId,
        may_see: impl Fn(&PaymentRow) -> Result<bool, StoreError>,
    ) -> Result<Option<(Shard, PaymentRow)>, StoreError> {
        let mut missing = Ok(None);
        for (shard, model) in (0..).zip(&self.histories) {
            match model.payment(id) {
                Ok(Some(row)) if may_see(&row)? => return Ok(Some((Shard(shard), row))),
                Ok(_) => {}
                Err(error) => missing = Err(error),
            }
        }
        missing
    }

    /// How far every model has folded: its name, shard, and progress.
    pub(crate) fn progress(&self) -> Vec<(&'static str, Option<u16>, projections::Progress)> {
        let mut all = vec![(Directory::READER, None, self.directory.progress().borrow().clone())];
        all.extend(self.overviews.iter().map(|model| (Overview::READER, model.shard(), model.progress().borrow().clone())));
        all.extend(self.histories.iter().map(|model| (PaymentHistory::READER, model.shard(), model.progress().borrow().clone())));
        all
    }

    /// How far the directory had come: what a gateway knew when it took a command.
    #[must_use]
    pub fn seen(&self) -> Cursor {
        let progress = self.directory.progress();
        progress.borrow().marks.iter().map(|(log, mark)| (log.clone(), mark.seq)).collect()
    }

    /// Waits, bounded, until every model that `shows` names shows all of `position` that concerns it; says whether.
    pub(crate) async fn reach(&self, position: &Position, shows: Shows) -> bool {
        let all = async {
            wait_for(&self.directory, |cursor| position.is_reached(None, cursor)).await;
            for (shard, (overview, history)) in (0..).zip(self.overviews.iter().zip(&self.histories)) {
                if shows == Shows::All {
                    wait_for(overview, |cursor| position.is_reached(Some(shard), cursor)).await;
                }
                // A payment between shards is booked there once its credit is, which another shard says.
                wait_for(history, |cursor| position.is_wholly_reached(Some(shard), cursor)).await;
            }
        };
        tokio::time::timeout(READ_WAIT, all).await.is_ok()
    }

    /// Waits, bounded, until the overview that has `account` rests on all that any payment was shown with: the
    /// models fold on their own, and who saw a payment booked, or held, looks at the balance next.
    pub(crate) async fn reach_shown(&self, account: AccountId) -> bool {
        let overview = self.overview(account);
        for log in &self.common[usize::from(Shard::of(account, self.shards()).0)] {
            let shown = self.histories.iter().map(|history| history.shows(log)).max().unwrap_or(0);
            let caught_up = || wait_for(overview, |cursor| cursor.get(log) >= shown);
            if overview.rests_on(log) < shown && tokio::time::timeout(READ_WAIT, caught_up()).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Waits until every model can be asked.
    pub async fn level(&self) {
        self.directory.level().await;
        for (overview, history) in self.overviews.iter().zip(&self.histories) {
            overview.level().await;
            history.level().await;
        }
    }

    /// Waits, bounded, until the directory rests on record `seq` of `log`; says whether.
    pub(crate) async fn directory_reaches(&self, log: &LogName, seq: u64, wait: Duration) -> bool {
        tokio::time::timeout(wait, wait_for(&self.directory, |cursor| cursor.get(log) >= seq)).await.is_ok()
    }

    /// Waits, bounded, until the payments of `shard` rest on record `seq` of `log`; says whether.
    pub(crate) async fn history_reaches(&self, shard: Shard, log: &LogName, seq: u64, wait: Duration) -> bool {
        tokio::time::timeout(wait, wait_for(self.history(shard), |cursor| cursor.get(log) >= seq)).await.is_ok()
    }
}

async fn wait_for<P: Projection>(model: &ReadModel<P>, reached: impl Fn(&Cursor) -> bool) {
    // The sender lives in the model, so the wait ends by being reached or by its caller's timeout.
    let _ = model.progress().wait_for(|progress| reached(&progress.cursor)).await;
}

fn start<P: Projection>(model: &Arc<ReadModel<P>>, host: &Host) {
    let (name, model, run_on) = (model.name().clone(), Arc::clone(model), host.clone());
    host.run(name, move || {
        let (model, host) = (Arc::clone(&model), run_on.clone());
        async move { model.run(&host).await }
    });
}
