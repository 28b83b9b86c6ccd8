-- A payment in one round trip and one transaction: both rows are locked in the order of their ids, so that no two transfers
-- wait for each other in a circle; then it is decided, written down under its key, and booked by double entry.
-- Whoever repeats a key gets the first answer; with another input, a problem.

create function transfer(
    p_customer bigint, p_key text, p_debtor bigint, p_creditor bigint, p_amount bigint, p_currency text, p_reference text
) returns outcome language plpgsql as $$
declare
    payer accounts;
    payee accounts;
    refused text;
    stored payments;
    is_new boolean;
    result outcome;
begin
    if p_debtor < p_creditor then
        select * into payer from accounts where id = p_debtor for no key update;
        select * into payee from accounts where id = p_creditor for no key update;
    else
        select * into payee from accounts where id = p_creditor for no key update;
        select * into payer from accounts where id = p_debtor for no key update;
    end if;
    if payer.id is null or payer.customer <> p_customer then
        result.problem := 'UNKNOWN_ACCOUNT';
        return result;
    end if;

    refused := case
        when payee.id is null then 'UNKNOWN_CREDITOR'
        when p_debtor = p_creditor then 'SAME_ACCOUNT'
        when payer.currency <> p_currency or payee.currency <> p_currency then 'CURRENCY_MISMATCH'
        when payer.status = 'CLOSED' or payee.status = 'CLOSED' then 'ACCOUNT_CLOSED'
        when payer.status = 'FROZEN' or payee.status = 'FROZEN' then 'ACCOUNT_FROZEN'
        when payer.balance + payer.overdraft < p_amount then 'INSUFFICIENT_FUNDS'
    end;

    insert into payments (customer, debtor, creditor, amount, currency, status, rejection, reference, idempotency_key)
    values (p_customer, p_debtor, p_creditor, p_amount, p_currency,
        case when refused is null then 'BOOKED' else 'REJECTED' end, refused, p_reference, p_key)
    on conflict (customer, idempotency_key) where idempotency_key is not null do nothing
    returning * into stored;

    is_new := found;
    if not is_new then
        select * into stored from payments where customer = p_customer and idempotency_key = p_key;
        if (stored.debtor, stored.amount, stored.currency) <> (p_debtor, p_amount, p_currency)
            or stored.creditor is distinct from p_creditor or stored.reference is distinct from p_reference then
            result.problem := 'IDEMPOTENCY_KEY_REUSED';
            return result;
        end if;
    elsif refused is null then
        update accounts set balance = balance - p_amount, version = version + 1, as_of = now() where id = p_debtor;
        update accounts set balance = balance + p_amount, version = version + 1, as_of = now() where id = p_creditor;
        insert into entries (account, version, payment, counterparty, amount, balance_after, reference) values
            (p_debtor, payer.version + 1, stored.id, p_creditor, -p_amount, payer.balance - p_amount, p_reference),
            (p_creditor, payee.version + 1, stored.id, p_debtor, p_amount, payee.balance + p_amount, p_reference);
        result.payer_version := payer.version + 1;
        result.payer_balance := payer.balance - p_amount;
        result.payee := p_creditor;
        result.payee_version := payee.version + 1;
        result.payee_balance := payee.balance + p_amount;
    end if;
    result.payment := stored.id;
    result.status := stored.status;
    result.initiated_at := stored.initiated_at;
    return result;
end
$$;

-- Many payments of one customer in one transaction, so with one fsync; each is accepted or refused on its own. All rows are
-- locked first, in the order of their ids.
create function transfers(
    p_customer bigint, p_keys text[], p_debtors bigint[], p_ibans text[], p_amounts bigint[], p_currencies text[], p_references text[]
) returns setof outcome language plpgsql as $$
declare
    creditors bigint[] := array(
        select accounts.id from unnest(p_ibans) with ordinality named (iban, place) left join accounts using (iban) order by place
    );
begin
    perform from accounts where id = any (p_debtors || creditors) order by id for no key update;
    for place in 1 .. cardinality(p_debtors) loop
        return next transfer(p_customer, p_keys[place], p_debtors[place], creditors[place], p_amounts[place], p_currencies[place], p_references[place]);
    end loop;
end
$$;
