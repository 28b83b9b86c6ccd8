-- The bank, without what makes filling it slow (see keys.sql). There are no foreign keys: transfer() is all that writes,
-- and has the rows locked that they would look up, so they would cost time and find nothing.

create table customers (
    id bigint not null,
    name text not null,
    since timestamptz not null default now()
);

-- Room on each page keeps an update of a balance on its page, out of every index.
create table accounts (
    id bigint not null,
    customer bigint not null,
    version bigint not null,
    balance bigint not null,
    overdraft bigint not null,
    as_of timestamptz not null default now(),
    currency text not null,
    status text not null check (status in ('OPEN', 'FROZEN', 'CLOSED')),
    iban text not null
) with (fillfactor = 70);

-- A key is unique per customer; payments without one are not looked for.
create table payments (
    id bigint not null generated always as identity,
    customer bigint not null,
    debtor bigint not null,
    creditor bigint,
    amount bigint not null check (amount > 0),
    initiated_at timestamptz not null default now(),
    currency text not null,
    status text not null check (status in ('BOOKED', 'REJECTED')),
    rejection text,
    reference text,
    idempotency_key text
);

-- Double entry: two rows a payment, which sum to zero.
create table entries (
    account bigint not null,
    version bigint not null,
    payment bigint not null,
    counterparty bigint not null,
    amount bigint not null,
    balance_after bigint not null,
    booked_at timestamptz not null default now(),
    reference text
);

-- What became of an order: a payment, and both accounts as it left them where it was booked just now; or what was wrong
-- with the order, and then nothing was stored.
create type outcome as (
    payment bigint,
    status text,
    initiated_at timestamptz,
    payer_version bigint,
    payer_balance bigint,
    payee bigint,
    payee_version bigint,
    payee_balance bigint,
    problem text
);
