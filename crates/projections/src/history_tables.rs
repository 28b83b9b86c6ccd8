//! The tables of the payments model: payments by number and in blocks, and what leads to a number. This module
//! must never know events.

use std::collections::{BTreeMap, BTreeSet};

use domain::{AccountId, PaymentId, look_ahead};
use foldhash::{HashMap, HashMapExt as _};
use redb::{ReadOnlyTable, ReadTransaction, TableDefinition, WriteTransaction};

use crate::{
    PaymentRow,
    blocks::{self, Blocks},
    gathered::Gathered,
    layers::{Changes, Layers, UnderWay},
    recent::Recent,
    runs::{Index, Runs},
    store::StoreError,
};

/// Payments in the order of their acceptance, numbered from 1.
pub(crate) const PAYMENTS: Blocks = Blocks::new("payment-blocks");
/// The number of each payment. Ids that clients chose by a key lie anywhere among all others.
pub(crate) const NUMBERS: Index<1> = Index::new(["numbers", "number-heads", "number-sizes", "number-merges"]);
/// The newest payment of each debtor; the older ones are linked.
pub(crate) const NEWEST: Index<1> = Index::changing(["newest", "newest-heads", "newest-sizes", "newest-merges"]);
/// Payments that wait for an operator.
pub(crate) const HELD: TableDefinition<u64, ()> = TableDefinition::new("held");

pub(crate) fn create(tx: &WriteTransaction) -> Result<(), StoreError> {
    tx.open_table(PAYMENTS)?;
    tx.open_table(HELD)?;
    Ok(())
}

/// The tables of the file.
pub struct HistoryFile {
    payments: ReadOnlyTable<u64, &'static [u8]>,
    numbers: Runs<1>,
    newest: Runs<1>,
    held: ReadOnlyTable<u64, ()>,
}

/// What changed since the file was written, and debtors that are known.
pub struct HistoryChanges {
    /// New ones, numbered from `first_number` on.
    payments: Gathered<PaymentRow>,
    first_number: u64,
    numbers: HashMap<PaymentId, u64>,
    /// Older ones that changed.
    changed: BTreeMap<u64, PaymentRow>,
    /// In front of all layers: the newest of debtors that are known, 0 for none.
    newest: Recent<AccountId, u64>,
    /// Those that are to be written, once this is set aside.
    changed_newest: Vec<(AccountId, u64)>,
    /// Whether these are held now.
    held: BTreeMap<u64, bool>,
    under_way: UnderWay,
}

impl Changes for HistoryChanges {
    type File = HistoryFile;

    fn open(tx: &ReadTransaction, before: Option<&HistoryFile>) -> Result<HistoryFile, StoreError> {
        let numbers = NUMBERS.open(tx, before.map(|before| &before.numbers))?;
        let newest = NEWEST.open(tx, before.map(|before| &before.newest))?;
        Ok(HistoryFile { payments: tx.open_table(PAYMENTS)?, numbers, newest, held: tx.open_table(HELD)? })
    }

    fn begin(file: &HistoryFile) -> Result<Self, StoreError> {
        Ok(Self::numbered_from(blocks::last(&file.payments)? + 1))
    }

    fn next(&mut self) -> Self {
        // As many are to be expected again, and growing would copy them.
        let numbers = HashMap::with_capacity(self.numbers.len());
        self.changed_newest = self.newest.take_changed();
        let newest = std::mem::take(&mut self.newest);
        Self { numbers, newest, under_way: self.under_way, ..Self::numbered_from(self.next_number()) }
    }

    fn rows(&self) -> usize {
        // Each payment has a number, and may be its debtor's newest; these are short.
        self.payments.len() + self.changed.len()
    }

    fn under_way(&self) -> UnderWay {
        self.under_way
    }

    fn write(&self, tx: &WriteTransaction) -> Result<(), StoreError> {
        let new = (self.first_number..).zip(self.payments.iter());
        blocks::write(&mut tx.open_table(PAYMENTS)?, self.changed.iter().map(|(number, row)| (*number, row)).chain(new))?;
        NUMBERS.add(tx, self.numbers.iter().map(|(id, number)| (id.bytes(), [*number])).collect())?;
        NEWEST.add(tx, self.changed_newest.iter().map(|(debtor, number)| (debtor.bytes(), [*number])).collect())?;
        let mut held = tx.open_table(HELD)?;
        for (number, is_held) in &self.held {
            if *is_held {
                held.insert(number, ())?
            } else {
                held.remove(number)?
            };
        }
        Ok(())
    }
}

impl HistoryChanges {
    fn numbered_from(first_number: u64) -> Self {
        Self {
            payments: Gathered::default(),
            first_number,
            numbers: HashMap::new(),
            changed: BTreeMap::new(),
            newest: Recent::default(),
            changed_newest: Vec::new(),
            held: BTreeMap::new(),
            under_way: UnderWay::default(),
        }
    }

    fn next_number(&self) -> u64 {
        self.first_number + self.payments.len() as u64
    }

    /// The place of a payment among the new ones, if it is one.
    fn place(&self, number: u64) -> Option<usize> {
        let place = usize::try_from(number.checked_sub(self.first_number)?).ok()?;
        (place < self.payments.len()).then_some(place)
    }

    fn payment(&self, number: u64) -> Option<&PaymentRow> {
        self.place(number).map_or_else(|| self.changed.get(&number), |place| self.payments.get(place))
    }
}

impl Layers<HistoryChanges> {
    /// Looks up what is about to be asked for: numbers, and debtors' newest.
    pub(crate) fn look_ahead(&self, keys: impl Iterator<Item = (Option<PaymentId>, Option<AccountId>)>) {
        look_ahead(keys.map(|(payment, debtor)| {
            let is_numbered = payment.is_some_and(|id| self.fresh.numbers.contains_key(&id));
            is_numbered | debtor.is_some_and(|debtor| self.fresh.newest.peek(&debtor).is_some())
        }));
    }

    /// The number of a payment, if it has one.
    pub(crate) fn number(&self, id: PaymentId) -> Result<Option<u64>, StoreError> {
        match self.recent(|changes| changes.numbers.get(&id)) {
            Some(number) => Ok(Some(*number)),
            None => Ok(self.file.numbers.get(&id.bytes())?.map(|[number]| number)),
        }
    }

    /// Appends a payment, under the next number.
    pub(crate) fn append(&mut self, row: PaymentRow) -> Result<(), StoreError> {
        let number = self.fresh.next_number();
        let previous = match row.order.debtor.account() {
            Some(debtor) => {
                let newest = self.fresh.newest.get_mut(debtor, || newest_in(&self.file, debtor))?;
                std::mem::replace(newest, number)
            }
            None => 0,
        };
        self.fresh.numbers.insert(row.order.id, number);
        self.fresh.payments.push(PaymentRow { number, previous, ..row });
        self.count(true);
        Ok(())
    }

    /// A payment, to be changed.
    pub(crate) fn payment_mut(&mut self, id: PaymentId) -> Result<Option<&mut PaymentRow>, StoreError> {
        let Some(number) = self.number(id)? else { return Ok(None) };
        if let Some(place) = self.fresh.place(number) {
            return Ok(self.fresh.payments.get_mut(place));
        }
        if !self.fresh.changed.contains_key(&number) {
            let Some(row) = self.numbered(number)? else { return Ok(None) };
            self.fresh.changed.insert(number, row);
        }
        Ok(self.fresh.changed.get_mut(&number))
    }

    /// Counts a payment that is under way on its shard, or is not any more.
    pub(crate) fn count(&mut self, is_under_way: bool) {
        self.fresh.under_way.count(is_under_way);
    }

    /// Notes that a payment is held, or that it is not any more.
    pub(crate) fn hold(&mut self, number: u64, is_held: bool) {
        self.fresh.held.insert(number, is_held);
    }

    /// Shows a payment as it lies here.
    pub(crate) fn look<T>(&self, id: PaymentId, look: impl FnOnce(&PaymentRow) -> T) -> Result<Option<T>, StoreError> {
        let Some(number) = self.number(id)? else { return Ok(None) };
        match self.recent(|changes| changes.payment(number)) {
            Some(row) => Ok(Some(look(row))),
            None => Ok(blocks::row(&self.file.payments, number)?.map(|row| look(&row))),
        }
    }

    pub(crate) fn numbered(&self, number: u64) -> Result<Option<PaymentRow>, StoreError> {
        let recent = self.recent(|changes| changes.payment(number));
        recent.map_or_else(|| blocks::row(&self.file.payments, number), |row| Ok(Some(row.clone())))
    }

    /// The number of a debtor's newest payment, 0 for none.
    pub(crate) fn newest(&self, debtor: AccountId) -> Result<u64, StoreError> {
        self.fresh.newest.peek(&debtor).map_or_else(|| newest_in(&self.file, debtor), |number| Ok(*number))
    }

    /// Up to `count` held payments numbered above `after`, oldest first.
    pub(crate) fn held(&self, after: u64, count: usize) -> Result<Vec<PaymentRow>, StoreError> {
        let from = after.saturating_add(1);
        let (aside, fresh) = (self.aside.as_deref(), &self.fresh);
        let changed: BTreeMap<u64, bool> = aside
            .into_iter()
            .chain([fresh])
            .flat_map(|changes| changes.held.range(from..))
            .map(|(number, held)| (*number, *held))
            .collect();
        let mut numbers: BTreeSet<u64> = changed.iter().filter(|(_, held)| **held).map(|(number, _)| *number).collect();
        let unchanged = self.file.held.range(from..)?.map(|row| row.map(|(number, _)| number.value()));
        for number in unchanged.filter(|number| number.as_ref().map_or(true, |number| !changed.contains_key(number))).take(count) {
            numbers.insert(number?);
        }
        numbers.into_iter().take(count).filter_map(|number| self.numbered(number).transpose()).collect()
    }
}

fn newest_in(file: &HistoryFile, debtor: AccountId) -> Result<u64, StoreError> {
    Ok(file.newest.get(&debtor.bytes())?.map_or(0, |[number]| number))
}
