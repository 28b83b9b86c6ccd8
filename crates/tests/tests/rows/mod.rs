//! The rows of the matrix: what is asked, about whose what, and what each caller must be told.

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    Anonymous,
    Other,
    Owner,
    Operator,
}

/// In the order in which they ask.
pub(crate) const CALLERS: [Caller; 4] = [Caller::Anonymous, Caller::Other, Caller::Owner, Caller::Operator];

/// What an id is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Handle {
    Customer,
    Account,
    Transaction,
    Payment,
    HeldPayment,
    RejectedPayment,
}

/// A field, with one of its ids, and how it ends for each caller: `shown`, `null`, or the code of an error.
pub(crate) struct Row {
    pub field: &'static str,
    pub handle: Option<Handle>,
    pub operation: &'static str,
    pub ends: [&'static str; 4],
}

impl Row {
    pub(crate) fn expected(&self, caller: Caller) -> &str {
        self.ends[caller as usize]
    }

    /// What kind of id it is, where a field takes several.
    pub(crate) fn of(&self) -> &'static str {
        match (self.field, self.handle) {
            ("Query.node(id)", Some(Handle::Customer)) => " of a customer",
            ("Query.node(id)", Some(Handle::Account)) => " of an account",
            ("Query.node(id)", Some(Handle::Transaction)) => " of a transaction",
            ("Query.node(id)", Some(Handle::Payment)) => " of a payment",
            ("Query.payment(id)", Some(Handle::HeldPayment)) => " of one that is held",
            _ => "",
        }
    }
}

const fn row(field: &'static str, handle: Option<Handle>, ends: [&'static str; 4], operation: &'static str) -> Row {
    Row { field, handle, operation, ends }
}

/// Only the owner and operators know that it exists.
const OWN: [&str; 4] = ["null", "null", "shown", "shown"];
/// The same, where nothing cannot be answered with null.
const OWN_ACCOUNT: [&str; 4] = ["UNAUTHENTICATED", "UNKNOWN_ACCOUNT", "shown", "shown"];
const OWN_PAYMENT: [&str; 4] = ["UNAUTHENTICATED", "UNKNOWN_PAYMENT", "shown", "shown"];
/// A customer pays from an account of theirs; operators do not pay.
const PAYS: [&str; 4] = ["UNAUTHENTICATED", "UNKNOWN_ACCOUNT", "shown", "FORBIDDEN"];
const CUSTOMERS: [&str; 4] = ["UNAUTHENTICATED", "shown", "shown", "FORBIDDEN"];
const OPERATORS: [&str; 4] = ["UNAUTHENTICATED", "FORBIDDEN", "FORBIDDEN", "shown"];
const EVERYBODY: [&str; 4] = ["shown"; 4];

const CUSTOMER: Option<Handle> = Some(Handle::Customer);
const ACCOUNT: Option<Handle> = Some(Handle::Account);
const TRANSACTION: Option<Handle> = Some(Handle::Transaction);
const PAYMENT: Option<Handle> = Some(Handle::Payment);
const HELD: Option<Handle> = Some(Handle::HeldPayment);
const REJECTED: Option<Handle> = Some(Handle::RejectedPayment);

/// All of them.
pub(crate) const ROWS: &[Row] = &[
    row("Query.node(id)", CUSTOMER, OWN, "query($id: ID!) { node(id: $id) { id ... on Customer { name email since } } }"),
    row("Query.node(id)", ACCOUNT, OWN, "query($id: ID!) { node(id: $id) { id ... on Account { iban status } } }"),
    row("Query.node(id)", TRANSACTION, OWN, "query($id: ID!) { node(id: $id) { id ... on Transaction { version amount { amount } } } }"),
    row("Query.node(id)", PAYMENT, OWN, "query($id: ID!) { node(id: $id) { id ... on Payment { status amount { amount } } } }"),
    row("Query.viewer", None, ["null", "shown", "shown", "null"], "{ viewer { id name email } }"),
    row("Query.account(id)", ACCOUNT, OWN, "query($id: ID!) { account(id: $id) { id iban currency status overdraftLimit { amount } } }"),
    row("Query.payment(id)", PAYMENT, OWN, "query($id: ID!) { payment(id: $id) { id status amount { amount } initiatedAt position } }"),
    row("Query.payment(id)", HELD, OWN, "query($id: ID!) { payment(id: $id) { id status } }"),
    row("Query.payee", None, ["null", "shown", "shown", "shown"], "query($iban: Iban!) { payee(iban: $iban) { name iban currency } }"),
    row("Query.heldPayments", None, OPERATORS, "{ heldPayments { nodes { id } } }"),
    row("Query.system", None, OPERATORS, "{ system { logs { name } readModels { name lag } } }"),
    row("Customer.accounts", CUSTOMER, OWN, "query($id: ID!) { node(id: $id) { ... on Customer { accounts { nodes { id iban } } } } }"),
    row("Account.holder", ACCOUNT, OWN, "query($id: ID!) { account(id: $id) { holder { id name email } } }"),
    row(
        "Account.balance",
        ACCOUNT,
        OWN,
        "query($id: ID!) { account(id: $id) { balance { booked { amount } available { amount } version asOf } } }",
    ),
    row(
        "Account.transactions",
        ACCOUNT,
        OWN,
        "query($id: ID!) { account(id: $id) { transactions { nodes { id balanceAfter { amount } } } } }",
    ),
    row("Account.payments", ACCOUNT, OWN, "query($id: ID!) { account(id: $id) { payments { nodes { id status } } } }"),
    row("Transaction.account", TRANSACTION, OWN, "query($id: ID!) { node(id: $id) { ... on Transaction { account { id } } } }"),
    row(
        "Transaction.counterparty",
        TRANSACTION,
        OWN,
        "query($id: ID!) { node(id: $id) { ... on Transaction { counterparty { name iban } } } }",
    ),
    row("Transaction.payment", TRANSACTION, OWN, "query($id: ID!) { node(id: $id) { ... on Transaction { payment { id status } } } }"),
    row("Payment.debtor", PAYMENT, OWN, "query($id: ID!) { payment(id: $id) { debtor { name iban currency } } }"),
    row("Payment.creditor", PAYMENT, OWN, "query($id: ID!) { payment(id: $id) { creditor { name iban currency } } }"),
    row("Payment.rejection", REJECTED, OWN, "query($id: ID!) { payment(id: $id) { rejection { code message } } }"),
    row("Payment.history", PAYMENT, OWN, "query($id: ID!) { payment(id: $id) { history { status at } } }"),
    row("System.logs", None, OPERATORS, "{ system { logs { name owner messages lastSequence bytes } } }"),
    row("System.readModels", None, OPERATORS, "{ system { readModels { name shard lag } } }"),
    row(
        "Mutation.registerCustomer",
        None,
        EVERYBODY,
        "mutation($email: String!) { registerCustomer(input: { name: \"New\", email: $email }) { customer { id } errors { code } } }",
    ),
    row("Mutation.changeCustomer", None, CUSTOMERS, "mutation { changeCustomer(input: {}) { customer { id } errors { code } } }"),
    row(
        "Mutation.openAccount",
        None,
        ["UNAUTHENTICATED", "shown", "shown", "BAD_USER_INPUT"],
        "mutation { openAccount(input: { currency: \"USD\" }) { account { id } errors { code } } }",
    ),
    row(
        "Mutation.openAccount(input.customerId)",
        CUSTOMER,
        OPERATORS,
        "mutation($id: ID!) { openAccount(input: { currency: \"EUR\", customerId: $id, overdraftLimit: \"0\" }) { account { id } errors { code } } }",
    ),
    row(
        "Mutation.initiatePayment(input.debtorAccountId)",
        ACCOUNT,
        PAYS,
        "mutation($id: ID!, $payee: Iban!) { initiatePayment(input: { debtorAccountId: $id, creditorIban: $payee, amount: { amount: \"1\", currency: \"EUR\" } }) { payment { id } errors { code message path } } }",
    ),
    row(
        "Mutation.initiatePayments(inputs.debtorAccountId)",
        ACCOUNT,
        PAYS,
        "mutation($id: ID!, $payee: Iban!) { initiatePayments(inputs: [{ debtorAccountId: $id, creditorIban: $payee, amount: { amount: \"1\", currency: \"EUR\" } }]) { payment { id } errors { code message path } } }",
    ),
    row(
        "Mutation.deposit(input.accountId)",
        ACCOUNT,
        OPERATORS,
        "mutation($id: ID!) { deposit(input: { accountId: $id, amount: { amount: \"1\", currency: \"EUR\" } }) { payment { id } errors { code } } }",
    ),
    row(
        "Mutation.setAccountStatus(input.accountId)",
        ACCOUNT,
        OPERATORS,
        "mutation($id: ID!) { setAccountStatus(input: { accountId: $id, status: OPEN }) { account { id } errors { code } } }",
    ),
    row(
        "Subscription.balanceChanged(accountId)",
        ACCOUNT,
        OWN_ACCOUNT,
        "subscription($id: ID!) { balanceChanged(accountId: $id) { version } }",
    ),
    row(
        "Subscription.transactionBooked(accountId)",
        ACCOUNT,
        OWN_ACCOUNT,
        "subscription($id: ID!) { transactionBooked(accountId: $id, afterVersion: 0) { id } }",
    ),
    row("Subscription.paymentChanged(id)", PAYMENT, OWN_PAYMENT, "subscription($id: ID!) { paymentChanged(id: $id) { id status } }"),
    // The last: after it nothing is held any more.
    row(
        "Mutation.reviewPayment(input.paymentId)",
        HELD,
        OPERATORS,
        "mutation($id: ID!) { reviewPayment(input: { paymentId: $id, decision: DECLINE }) { payment { id } errors { code } } }",
    ),
];
