//! A process that has some of the roles, while nobody has the others.

use tests::{Dev, Nats, load::holders};

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_read_from_its_acceptance_on_while_nobody_acts_on_it() {
    let (nats, data) = (Nats::start().expect("a nats-server"), tempfile::tempdir().expect("a folder"));
    let bank = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let holder = holders(&bank.address, 1).await.expect("an account").remove(0);
    assert!(bank.interrupt().await.expect("stopped").1);
    let gateway = Dev::serve(&nats, data.path(), &["--roles", "gateway"]).await.expect("up");
    let client = holder.client.at(&gateway.address);
    let input = format!(
        "{{debtorAccountId: \"{}\", creditorIban: \"{}\", amount: {{amount: \"1\", currency: \"EUR\"}}}}",
        holder.account, holder.iban
    );
    let paid = client.execute(&format!("mutation {{ initiatePayment(input: {input}) {{ payment {{ id }} position }} }}")).await;
    let paid = paid.expect("an answer")["initiatePayment"].take();
    let read = client.execute(&format!("{{ payment(id: {}, atLeast: {}) {{ status }} }}", paid["payment"]["id"], paid["position"])).await;
    assert_eq!(read.expect("no stale read")["payment"]["status"], "ACCEPTED");
}
