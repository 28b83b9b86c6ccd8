//! The binary as a person meets it: what it says when something is wrong, and how it stops.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::{net::TcpListener, path::Path, process::Output, time::Duration};

use tests::{
    Client, Dev, Nats, free_port, nats_server,
    tokens::{self, SECRET},
};
use tokio::io::AsyncBufReadExt as _;

/// Runs to an end that must be a failure with one line, which it returns.
async fn refused(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = Dev::output(arguments).await.expect("it ends");
    assert!(!status.success(), "{arguments:?}");
    let text = String::from_utf8(stderr).expect("text");
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("millrace: ")).collect();
    assert_eq!((lines.len(), text.lines().count()), (1, 1), "{text}");
    text
}

fn dev<'a>(data: &'a str, nats: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["dev", "--data", data, "--nats-server", nats], more].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_on_one_line_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, nats) = (folder.path().join("data").display().to_string(), nats_server().display().to_string());
    let busy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = busy.local_addr().expect("an address").port().to_string();
    let listen = format!("127.0.0.1:{port}");
    let gateway = refused(&dev(&data, &nats, &["--any-port", "--listen", &listen])).await;
    assert!(gateway.contains(&listen) && gateway.contains("--listen"), "{gateway}");
    let broker = refused(&dev(&data, &nats, &["--any-port", "--nats-port", &port])).await;
    assert!(broker.contains(&port) && broker.contains("--nats-port"), "{broker}");
    let missing = refused(&dev(&data, "/nowhere/nats-server", &["--any-port"])).await;
    assert!(missing.contains("./just dev"), "{missing}");
    let old = folder.path().join("old-nats-server");
    write_script(&old, "echo 'nats-server: v2.9.10'");
    let old = refused(&dev(&data, &old.display().to_string(), &["--any-port"])).await;
    assert!(old.contains("2.9, too old"), "{old}");
    let file = folder.path().join("streams.yaml");
    std::fs::write(&file, "shards: [").expect("written");
    let streams = refused(&dev(&data, &nats, &["--any-port", "--streams", &file.display().to_string()])).await;
    assert!(streams.contains("streams.yaml") && streams.contains("line"), "{streams}");
    let below_a_file = file.join("data").display().to_string();
    let unwritable = refused(&dev(&below_a_file, &nats, &["--any-port"])).await;
    assert!(unwritable.contains("cannot be written") && unwritable.contains("--data"), "{unwritable}");
    let nobody = format!("nats://127.0.0.1:{}", free_port().expect("a port"));
    let away = refused(&["serve", "--nats", &nobody, "--data", &data, "--listen", "127.0.0.1:0", "--jwt-secret", SECRET]).await;
    assert!(away.contains(&nobody) && away.contains("--nats"), "{away}");
    let with_password = nobody.replace("//", "//bank:hunter2@");
    let away = refused(&["cat", "ledger-0", "--nats", &with_password]).await;
    assert!(away.contains(&nobody) && !away.contains("hunter2"), "{away}");
    for (arguments, says) in [
        (&[][..], "a gateway needs keys"),
        (&["--jwt-secret", "0123456789012345678901234567890"], "--jwt-secret has 31 bytes"),
        (&["--jwks", "keys.json"], "--jwt-issuer"),
        (&["--jwks", "http://issuer.example/keys", "--jwt-issuer", "i", "--jwt-audience", "a"], "https"),
        (&["--jwks", "/nowhere.json", "--jwt-issuer", "i", "--jwt-audience", "a"], "/nowhere.json"),
        (&["--jwks", "keys.json", "--jwt-issuer", "i", "--jwt-audience", "a", "--jwt-algorithms", "HS256"], "RS256"),
        (&["--jwks", "keys.json", "--jwt-secret", SECRET], "cannot be used with"),
        (&["--jwt-secret", SECRET, "--log", "info,[nonsense"], "--log"),
    ] {
        let Output { status, stderr, .. } = Dev::output(&[&["serve", "--data", &data], arguments].concat()).await.expect("it ends");
        let text = String::from_utf8(stderr).expect("text");
        assert!(!status.success() && text.contains(says) && !text.contains(SECRET), "{arguments:?}: {text}");
    }
    let bad = folder.path().join("bad.json").display().to_string();
    std::fs::write(&bad, "[]").expect("written");
    for (option, value, says) in [
        ("--trusted-documents", bad.as_str(), "does not list trusted documents"),
        ("--trusted-documents", "/nonexistent", "cannot be read"),
        ("--allow-origin", "nope", "is no origin"),
    ] {
        let own = folder.path().join("own").display().to_string();
        let serve = refused(&["serve", "--data", &own, "--jwt-secret", SECRET, option, value]).await;
        let dev = refused(&dev(&own, &nats, &["--any-port", option, value])).await;
        assert!(serve.contains(says) && dev.contains(says), "{option} {value}: {serve} {dev}");
    }
    let store = folder.path().join("spoilt");
    std::fs::create_dir_all(store.join("nats")).expect("made");
    std::fs::write(store.join("nats/jetstream"), "no folder").expect("written");
    let store = store.display().to_string();
    let port = free_port().expect("a port").to_string();
    let Output { status, stderr, .. } =
        Dev::output(&["nats", "--data", &store, "--nats-server", &nats, "--port", &port]).await.expect("it ends");
    let text = String::from_utf8(stderr).expect("text");
    assert!(!status.success() && text.contains("does not listen") && text.contains("nats-server.log"), "{text}");
    assert!(!text.contains("Keeping nats-server alive"), "{text}");
    let role = refused(&["serve", "--data", &data, "--roles", "cashier"]).await;
    assert!(role.contains("cashier") && role.contains("ledger"), "{role}");
    let secret = refused(&["token", "--role", "operator", "--data", "/nowhere"]).await;
    assert!(secret.contains("--data"), "{secret}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_users_takes_who_is_one_of_them_and_may_what_readme_says() {
    let may = r#"{publish: ["$JS.API.>", "millrace.>"], subscribe: ["_INBOX.>"]}"#;
    let users = format!("authorization {{ users: [{{user: bank, password: hunter2, permissions: {may}}}] }}");
    let (nats, data) = (Nats::start_with(&users).expect("a nats-server"), tempfile::tempdir().expect("a folder"));
    let by = |user: &str| nats.url().replace("//", &format!("//{user}@"));
    let serve = Dev::serve_with(&by("bank:hunter2"), data.path(), &[], &[]).await.expect("up");
    Client::new(&serve.address, None).register("Lisa").await.expect("registered");
    let refused = refused(&["cat", "customers", "--nats", &by("bank:hunter3")]).await;
    assert!(refused.contains("refuses this process") && !refused.contains("hunter3"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_folder_has_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = Dev::start(folder.path(), &[]).await.expect("up");
    let (data, nats) = (folder.path().display().to_string(), nats_server().display().to_string());
    let second = refused(&dev(&data, &nats, &["--any-port"])).await;
    assert!(second.contains("another millrace") && second.contains("--data"), "{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_everything_and_a_restart_has_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = ["--jwt-secret", SECRET];
    let first = Dev::start(folder.path(), &secret).await.expect("up");
    let token = tokens::of_customer("cus_00000000000000000000000000000011").expect("a token");
    let query = "{ viewer { name accounts { nodes { id balance { booked { amount } version } } } } }";
    let lisa = Client::new(&first.address, Some(&token));
    let before = lisa.execute(query).await.expect("an answer");
    assert_eq!(before["viewer"]["accounts"]["nodes"][0]["balance"]["booked"]["amount"], "1000.00");
    let _socket = lisa.socket().await.expect("an open websocket does not keep it from stopping");
    let children = first.children().expect("children");
    assert_eq!(children.len(), 1, "nats-server");
    let (took, well) = first.interrupt().await.expect("it ends");
    assert!(well && took < Duration::from_secs(5), "{took:?}");
    assert!(!Path::new(&format!("/proc/{}", children[0])).exists(), "nats-server is gone too");
    let second = Dev::start(folder.path(), &secret).await.expect("up again");
    assert_eq!(lisa.at(&second.address).execute(query).await.expect("an answer"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_that_dies_comes_back_and_one_that_is_orphaned_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Dev::start(folder.path(), &["--no-demo"]).await.expect("up");
    let anonymous = Client::new(&first.address, None);
    anonymous.register("Before").await.expect("registered");
    let killed = first.children().expect("children")[0];
    kill(killed);
    // One that had no answer may have been registered, so each attempt has its own name.
    let attempt = std::sync::atomic::AtomicU32::new(0);
    let again = || async {
        let number = attempt.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(anonymous.register(&format!("After{number}")).await.ok())
    };
    tests::eventually("customers register again", again).await.expect("registered");
    let orphan = first.children().expect("children")[0];
    assert_ne!(killed, orphan);
    first.kill().await.expect("killed");
    tests::eventually("the orphan goes", || async { Ok((!is_running(orphan)).then_some(())) }).await.expect("gone");
    Dev::start(folder.path(), &[]).await.expect("up again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_that_reads_its_store_for_long_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (slow, data) = (folder.path().join("slow"), folder.path().join("data"));
    // Longer than anybody else's nats-server is waited for.
    let server = nats_server();
    write_script(&slow, &format!("[ \"$1\" = --version ] || sleep 7; exec {} \"$@\"", server.display()));
    let mut dev = tokio::process::Command::new(tests::millrace().expect("built"));
    dev.args(["dev", "--any-port", "--no-demo", "--data"]).arg(&data).arg("--nats-server").arg(&slow);
    let mut dev = dev.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().expect("started");
    let mut lines = tokio::io::BufReader::new(dev.stdout.take().expect("its output")).lines();
    let is_up = async {
        while let Some(line) = lines.next_line().await.expect("text") {
            if line.contains("Millrace is up") {
                return true;
            }
        }
        false
    };
    assert!(tokio::time::timeout(tests::PATIENCE, is_up).await.expect("in time"), "it ended");
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}

/// A zombie that nobody reaped yet does not run.
fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn write_script(path: &Path, body: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, format!("#!/bin/sh\n{body}\n")).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("executable");
}
