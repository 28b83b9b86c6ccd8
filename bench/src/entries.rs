//! Entries on accounts, for those who read them. This module must never know how a server books.

use std::sync::Arc;

use crate::{connection::Connection, load_thread::on_own_thread, party::Party, requests::Requests};

/// Entries of an account that are asked for at once: what a screen shows.
pub(crate) const SCREEN: usize = 20;

/// Has each of these pay a cent to each of the twenty behind them, the first following the last: so everyone has twenty
/// entries paid and twenty received once this is booked.
///
/// # Errors
/// Where a payment is not taken.
pub async fn fill(address: String, parties: Arc<Vec<Party>>) -> anyhow::Result<()> {
    on_own_thread(|| async move {
        anyhow::ensure!(parties.len() > SCREEN, "{} parties cannot pay {SCREEN} others each", parties.len());
        let (requests, mut connection) = (Requests::new(&address, &parties)?, Connection::open(&address).await?);
        for (caller, payer) in parties.iter().enumerate() {
            let creditors = (0..SCREEN).map(|nth| &parties[(caller + 1 + nth) % parties.len()]);
            connection.exchange(requests.pay(caller, payer, creditors)?).await.map_err(anyhow::Error::msg)?;
        }
        Ok(())
    })
    .await
}
