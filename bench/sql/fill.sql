-- As many accounts as bank.accounts says, a customer each, numbered from 1, with a deposit from the bank's settlement
-- account, which is 0. The IBANs' check digits are those of ISO 13616.

insert into customers (id, name) select n, 'Holder ' || n from generate_series(0, current_setting('bank.accounts')::bigint) n;

insert into accounts (id, customer, version, balance, overdraft, currency, status, iban)
select n, n, 1, 10000000, 0, 'EUR', 'OPEN',
    'DE' || lpad((98 - ('99999999' || 999999999 + n || '131400')::numeric % 97)::text, 2, '0') || '99999999' || 999999999 + n
from generate_series(1, current_setting('bank.accounts')::bigint) n;

insert into accounts (id, customer, version, balance, overdraft, currency, status, iban)
select 0, 0, n, -10000000 * n, 9000000000000000000, 'EUR', 'OPEN', 'SETTLEMENT' from (select current_setting('bank.accounts')::bigint n) size;

insert into payments (customer, debtor, creditor, amount, currency, status)
select 0, 0, n, 10000000, 'EUR', 'BOOKED' from generate_series(1, current_setting('bank.accounts')::bigint) n;

insert into entries (account, version, payment, counterparty, amount, balance_after)
select 0, id, id, creditor, -10000000, -10000000 * id from payments;

insert into entries (account, version, payment, counterparty, amount, balance_after)
select creditor, 1, id, 0, 10000000, 10000000 from payments;
