//! Entries on accounts, for those who read them. This module must never know how a server books.

use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::{connection::Connection, load_thread::on_own_thread, party::Party, requests::Requests};

/// Entries of an account that are asked for at once: what a screen shows.
pub(crate) const SCREEN: usize = 20;
/// Connections that take a part of the parties each.
const CONNECTIONS: usize = 16;

/// Has each of these pay a cent to each of the twenty behind them, the first following the last: so everyone has twenty
/// entries paid and twenty received once this is booked. Says how many payments that were.
///
/// # Errors
/// Where a payment is not taken.
pub async fn fill(address: String, parties: Arc<Vec<Party>>) -> anyhow::Result<u64> {
    on_own_thread(|| async move {
        anyhow::ensure!(parties.len() > SCREEN, "{} parties cannot pay {SCREEN} others each", parties.len());
        let requests = Requests::new(&address, &parties)?;
        let pay = async |first: usize| {
            let mut connection = Connection::open(&address).await?;
            for caller in (first..parties.len()).step_by(CONNECTIONS) {
                let creditors = (0..SCREEN).map(|nth| &parties[(caller + 1 + nth) % parties.len()]);
                connection.exchange(requests.pay(caller, &parties[caller], creditors)?).await.map_err(anyhow::Error::msg)?;
            }
            anyhow::Ok(())
        };
        try_join_all((0..CONNECTIONS).map(pay)).await?;
        Ok((parties.len() * SCREEN) as u64)
    })
    .await
}
