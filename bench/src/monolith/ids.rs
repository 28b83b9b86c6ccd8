//! Ids as the contract spells them: a prefix and 32 hexadecimal digits. Behind them are the bigints of
//! PostgreSQL, which make its indexes small. This module must never know what exists.

/// The id of an account.
#[must_use]
pub fn account_id(number: i64) -> String {
    format!("acc_{number:032x}")
}

/// The id of a customer.
#[must_use]
pub fn customer_id(number: i64) -> String {
    format!("cus_{number:032x}")
}

pub(super) fn payment_id(number: i64) -> String {
    format!("pay_{number:032x}")
}

pub(super) fn transaction_id(account: i64, version: i64) -> String {
    format!("txn_{account:032x}{version:x}")
}

pub(super) fn account_number(id: &str) -> Option<i64> {
    number("acc_", id)
}

pub(super) fn customer_number(id: &str) -> Option<i64> {
    number("cus_", id)
}

fn number(prefix: &str, id: &str) -> Option<i64> {
    let digits = id.strip_prefix(prefix).filter(|digits| digits.len() == 32)?;
    i64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back() {
        assert_eq!(account_number(&account_id(4_711)), Some(4_711));
        assert_eq!(customer_number(&customer_id(1)), Some(1));
        assert_eq!(customer_number(&account_id(1)), None);
        assert_eq!(account_number("acc_1"), None);
    }
}
