-- What is looked up by, and nothing else.

alter table customers add primary key (id);
alter table accounts add primary key (id);
create unique index accounts_iban on accounts (iban);
alter table payments add primary key (id);
create unique index payments_key on payments (customer, idempotency_key) where idempotency_key is not null;
alter table entries add primary key (account, version);
