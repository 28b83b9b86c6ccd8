-- How many of each there are that must not be.

select
    (select coalesce(sum(balance), 0) <> 0 from accounts)::int::bigint as currencies_not_zero,
    (select count(*) from (select from entries group by payment having sum(amount) <> 0 or count(*) <> 2) unequal) as payments_not_zero,
    (select count(*) from accounts left join (
        select account, sum(amount) as balance, count(*) as entries, min(version) as first, max(version) as last from entries group by account
    ) booked on booked.account = accounts.id
    where (accounts.balance, accounts.version) is distinct from (booked.balance, booked.entries) or first <> 1 or last <> entries) as accounts_not_as_booked,
    (select count(*) from accounts where balance + overdraft < 0) as accounts_below_limit,
    (select count(*) from payments where (status = 'BOOKED') <> (rejection is null)) as payments_unclear,
    (select (select 2 * count(*) from payments where status = 'BOOKED') <> (select count(*) from entries))::int::bigint as entries_without_payment
