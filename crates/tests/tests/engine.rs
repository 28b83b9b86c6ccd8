//! The step engine against a real nats-server: fencing, and killing it anywhere.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

mod counter;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use counter::{Counter, STREAMS, check, count, count_with, feed, host, numbers, said_in_all, sums};
use streams::{
    AppendError, Batches, Broker, CommandAppender, Condition, Cursor, Draft, Engine, Fault, Host, Inputs, LogName, Mark, Topology,
};
use tests::{
    Nats, PATIENCE,
    chaos::proxy::{Network, Proxy},
    freeze,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_is_refused() {
    let nats = Nats::start().expect("a nats-server");
    let broker = host(&nats).await.broker;
    let log = broker.log(sums());
    let draft = Draft::new(&[(1, 1)], &Cursor::default(), Vec::new()).expect("encodes");
    assert_eq!(log.append(&draft, Some(0)).await, Ok(1));
    assert_eq!(log.append(&draft, Some(0)).await, Err(AppendError::Refused));
    assert_eq!(log.append(&draft, Some(1)).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_any_two_appends_nothing_is_lost_or_repeated() {
    const COUNT: u64 = 150;
    let nats = Nats::start().expect("a nats-server");
    let host = host(&nats).await;
    let broker = host.broker.clone();
    let appender = CommandAppender::start(broker.log(numbers()), Arc::new(Cursor::default), CancellationToken::new());
    // The longest life is long enough to append on this machine, now, be it twice as slow later.
    let since = Instant::now();
    appender.append(1).await.expect("stored");
    let first = tokio::spawn(count(host.clone()));
    check(&broker, 1).await;
    let longest_life = 2 * since.elapsed();
    first.abort();
    let mut killed_at = BTreeSet::new();
    for number in 2..=COUNT {
        appender.append(number).await.expect("stored");
        let engine = tokio::spawn(count(host.clone()));
        // The kill falls before, during and after the append of this number.
        let life = longest_life * u32::try_from(number % 25).expect("small") / 24;
        let _ = tokio::time::timeout(life, check(&broker, number)).await;
        engine.abort();
        killed_at.insert(broker.log(sums()).info().await.expect("a log").last);
    }
    let _last = tokio::spawn(count(host.clone()));
    check(&broker, COUNT).await;
    assert!(killed_at.len() > 20, "killed at {killed_at:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_on_one_log_say_everything_once() {
    const COUNT: u64 = 300;
    let nats = Nats::start().expect("a nats-server");
    let hosts = [host(&nats).await, host(&nats).await];
    let broker = &hosts[0].broker;
    let engines = hosts.clone().map(|host| tokio::spawn(count(host)));
    feed(broker, COUNT).await;
    check(broker, COUNT).await;
    let condition = |host: &Host| host.health.conditions().remove(&sums());
    tests::eventually("one has the log, and the other stands by", || async {
        let conditions = hosts.each_ref().map(condition);
        let is_one = |wanted: &Condition| conditions.iter().flatten().filter(|condition| *condition == wanted).count() == 1;
        Ok((is_one(&Condition::Up) && is_one(&Condition::StandingBy)).then_some(()))
    })
    .await
    .expect("so");
    hosts.iter().for_each(|host| host.stop.cancel());
    for engine in engines {
        engine.await.expect("no panic").expect("no fault");
    }
    // Nothing was said behind the last that was looked for.
    let numbers = said_in_all(broker).await;
    assert_eq!(numbers, COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_no_service_wrote_ends_the_service_and_nothing_is_decided_again() {
    const COUNT: u64 = 3;
    let nats = Nats::start().expect("a nats-server");
    let host = host(&nats).await;
    let broker = host.broker.clone();
    let engine = tokio::spawn(count(host.clone()));
    feed(&broker, COUNT).await;
    check(&broker, COUNT).await;
    let last = broker.log(sums()).info().await.expect("a log").last;
    let stray = Draft::new::<(u64, u64)>(&[], &Cursor::default(), Vec::new()).expect("encodes");
    assert_eq!(broker.log(sums()).append(&stray, Some(last)).await, Ok(last + 1));
    feed(&broker, 1).await;
    let ended = tokio::time::timeout(PATIENCE, engine).await.expect("it ends").expect("no panic");
    assert!(matches!(ended, Err(Fault::BrokenChain { seq, .. }) if seq == last + 1), "{ended:?}");
    assert_eq!(broker.log(sums()).info().await.expect("a log").last, last + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_service_wrote_is_not_taken_by_those_who_read_its_log_either() {
    let nats = Nats::start().expect("a nats-server");
    let host = host(&nats).await;
    let stray = Draft::new(&[7_u64], &Cursor::default(), Vec::new()).expect("encodes");
    assert_eq!(host.broker.log(sums()).append(&stray, Some(0)).await, Ok(1));
    // The log of the counter is read here as if its numbers were commands' and they were a service's.
    let other = STREAMS.replace("name: numbers, owner: gateway, readers: [counter]", "name: numbers, owner: adder, readers: [nobody]");
    let other = other.replace("name: sums, owner: counter, readers: [nobody]", "name: sums, owner: other, readers: [adder]");
    let topology = Arc::new(Topology::parse(&other, "streams.yaml").expect("good"));
    let reader = Engine::new(&Host::new(host.broker.clone(), topology), "adder", numbers(), Counter::default()).run();
    let ended = tokio::time::timeout(PATIENCE, reader).await.expect("it ends");
    assert!(matches!(&ended, Err(Fault::BrokenChain { log, seq: 1 }) if *log == sums()), "{ended:?}");
    assert_eq!(host.broker.log(numbers()).info().await.expect("a log").last, 0, "nothing followed from it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_takes_no_commands_is_stalled_until_it_takes_them_or_nobody_asks() {
    let nats = Nats::start().expect("a nats-server");
    let host = host(&nats).await;
    let other = LogName::new("others", None);
    let appender = CommandAppender::start_with(
        host.broker.log(other.clone()),
        Arc::new(Cursor::default),
        CancellationToken::new(),
        host.health.clone(),
        |_, _: &[u64]| {},
    );
    assert!(appender.append(1).await.is_err(), "there is no such log");
    let condition = |host: &Host| host.health.conditions().remove(&other);
    assert_eq!(condition(&host), Some(Condition::Stalled));
    tests::eventually("it is tried again", || async { Ok((condition(&host) == Some(Condition::Up)).then_some(())) }).await.expect("it is");
    assert!(appender.append(2).await.is_err());
    assert_eq!(condition(&host), Some(Condition::Stalled));
    let more = STREAMS.replace("name: numbers,", "name: others,");
    streams::apply(&host.broker, &Topology::parse(&more, "streams.yaml").expect("good")).await.expect("applies");
    assert_eq!(appender.append(3).await, Ok(1));
    assert_eq!(condition(&host), Some(Condition::Up));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_appends_is_read_where_a_writer_hands_on_its_own() {
    const COUNT: u64 = 3;
    let nats = Nats::start().expect("a nats-server");
    let host = host(&nats).await;
    let broker = host.broker.clone();
    tokio::spawn(count(host.clone()));
    feed(&broker, COUNT).await;
    check(&broker, COUNT).await;
    let batches = Batches { records: 1, bytes: 1 };
    let mut inputs = Inputs::follow(&broker, vec![(sums(), Mark::default())], &Cursor::default(), batches);
    let mut last = Mark::default();
    let mut read = async || {
        let batch = tokio::time::timeout(PATIENCE, inputs.batch()).await.expect("in time").expect("no fault");
        last = batch.front().expect("a record").mark();
        last
    };
    while read().await.seq < broker.log(sums()).info().await.expect("a log").last {}
    // It has come to the end, so this one is handed on to it, and it reads from the server no more.
    feed(&broker, 1).await;
    let before = read().await;
    let other = self::host(&nats).await.broker.log(sums());
    let draft =
        Draft::new(&[(0_u64, 0_u64)], &Cursor::default(), Vec::new()).expect("encodes").chained(before.chain.expect("a chained log"));
    let seq = other.append(&draft, Some(before.seq)).await.expect("the engine is idle");
    assert_eq!(read().await.seq, seq);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_held_back_comes_when_its_time_has_come() {
    const COUNT: u64 = 3;
    let nats = Nats::start().expect("a nats-server");
    let broker = host(&nats).await.broker;
    for log in [numbers(), sums()] {
        let appender = CommandAppender::start(broker.log(log), Arc::new(Cursor::default), CancellationToken::new());
        for number in 0..COUNT {
            appender.append(number).await.expect("stored");
        }
    }
    let (logs, batches) = ([numbers(), sums()].map(|log| (log, Mark::default())), Batches { records: 1, bytes: 1 });
    let mut inputs = Inputs::follow(&broker, logs.into(), &Cursor::default(), batches);
    let until = Instant::now() + Duration::from_millis(200);
    while inputs.taken().get(&numbers()) < COUNT || inputs.taken().get(&sums()) < COUNT {
        inputs.hold_first(Some(until));
        let batch = tokio::time::timeout(PATIENCE, inputs.batch()).await.expect("in time").expect("no fault");
        let is_held_back = batch.iter().any(|record| record.log == numbers());
        assert!(!is_held_back || Instant::now() >= until);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_and_comes_back_costs_nothing() {
    const COUNT: u64 = 50;
    let mut nats = Nats::start().expect("a nats-server");
    let host = host(&nats).await;
    let broker = host.broker.clone();
    tokio::spawn(count(host.clone()));
    feed(&broker, COUNT / 2).await;
    nats.kill().expect("killed");
    let mut link = broker.link();
    link.wait_for(|link| !link.connected).await.expect("a link");
    let draft = Draft::new(&[0], &Cursor::default(), Vec::new()).expect("encodes");
    assert!(matches!(broker.log(numbers()).append(&draft, None).await, Err(AppendError::Unavailable(_))));
    nats.start_again().expect("started");
    link.wait_for(|link| link.connected).await.expect("a link");
    let appender = CommandAppender::start(broker.log(numbers()), Arc::new(Cursor::default), CancellationToken::new());
    for number in COUNT / 2 + 1..=COUNT {
        tests::eventually("the log takes commands again", || async { Ok(appender.append(number).await.ok()) }).await.expect("stored");
    }
    check(&broker, COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_took_in_and_never_stored_is_decided_again() {
    const COUNT: u64 = 10;
    let mut nats = Nats::start().expect("a nats-server");
    let host = host(&nats).await;
    let broker = host.broker.clone();
    let pid = nats.pid();
    let (said, mut last) = mpsc::unbounded_channel();
    // The server stands still before the record with the last number is sent to it.
    let stop_at_last = move |number| {
        if number == COUNT && !said.is_closed() {
            freeze(pid).expect("stopped");
            said.send(()).expect("awaited");
        }
    };
    tokio::spawn(count_with(host.clone(), Counter { about_to_say: Some(Box::new(stop_at_last)), ..Counter::default() }));
    feed(&broker, COUNT).await;
    last.recv().await.expect("it is said");
    last.close();
    // As long as an append waits for its answer.
    let draft = Draft::new(&[0], &Cursor::default(), Vec::new()).expect("encodes");
    assert!(matches!(broker.log(sums()).append(&draft, Some(u64::MAX)).await, Err(AppendError::Unknown(_))));
    nats.kill().expect("killed");
    nats.start_again().expect("started");
    let appender = CommandAppender::start(broker.log(numbers()), Arc::new(Cursor::default), CancellationToken::new());
    tests::eventually("the log takes commands again", || async { Ok(appender.append(COUNT + 1).await.ok()) }).await.expect("stored");
    check(&broker, COUNT + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_without_an_answer_leaves_no_service_stalled() {
    const COUNT: u64 = 10;
    let nats = Nats::start().expect("a nats-server");
    let direct = host(&nats).await;
    let port = nats.url().rsplit(':').next().expect("a port").parse().expect("a number");
    let network = Arc::new(Proxy::start(port).await.expect("a proxy"));
    let far = Broker::connect(&format!("nats://127.0.0.1:{}", network.port)).await.expect("connects");
    let host = Host::new(far, Arc::clone(&direct.topology));
    let is = Arc::clone(&network);
    // Nothing that the server says is heard any more when the record with the last number is sent to it.
    let deaf_at_last = move |number| {
        if number == COUNT {
            is.set(Network::Deaf);
        }
    };
    tokio::spawn(count_with(host.clone(), Counter { about_to_say: Some(Box::new(deaf_at_last)), ..Counter::default() }));
    feed(&direct.broker, COUNT).await;
    check(&direct.broker, COUNT).await;
    // As long as an append waits for its answer.
    let draft = Draft::new(&[0], &Cursor::default(), Vec::new()).expect("encodes");
    assert!(matches!(host.broker.log(sums()).append(&draft, Some(u64::MAX)).await, Err(AppendError::Unknown(_))));
    let before = *host.broker.link().borrow();
    host.health.note(&sums(), Condition::Starting);
    network.set(Network::Good);
    // All is said, and nothing left to append that could be acknowledged.
    let is_up = || host.health.conditions().remove(&sums()) == Some(Condition::Up);
    tests::eventually("the service goes on", || async { Ok(is_up().then_some(())) }).await.expect("it does");
    assert_eq!(*host.broker.link().borrow(), before, "the connection is the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_cannot_change_once_there_is_data() {
    let nats = Nats::start().expect("a nats-server");
    let host = host(&nats).await;
    let broker = host.broker.clone();
    streams::apply(&broker, &host.topology).await.expect("the same again changes nothing");
    let more = Topology::parse(&STREAMS.replace("shards: 1", "shards: 3"), "streams.yaml").expect("good");
    let error = streams::apply(&broker, &more).await.expect_err("refused");
    assert!(error.contains("made with 1 shards") && error.contains("says 3"), "{error}");
}
