//! The playground in a real browser: Lisa pays in one tab, David sees it in another, and nothing leaves the machine.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::Deserialize;
use tests::{Dev, Nats, PATIENCE};

/// What the browser saw.
#[derive(Debug, Deserialize)]
struct Seen {
    tabs: Vec<String>,
    requests: Vec<String>,
    /// By their names, as they were sent.
    mutations: Vec<String>,
    complaints: Vec<String>,
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn chromium() -> PathBuf {
    let given = env::var_os("CHROMIUM").map(PathBuf::from).or_else(|| on_path("chromium"));
    given.expect("there is no chromium to test the playground in: 'apt-get install chromium', or name one in CHROMIUM")
}

/// Drives a browser through `web/browse.js`, which leaves its screenshots in `target/tmp`.
async fn browse(url: &str) -> Seen {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/browse.js");
    assert!(script.with_file_name("node_modules").exists(), "web/node_modules is missing: run './just web'");
    let node = on_path("node").expect("there is no node to drive the browser with: install Node 20.19 or newer");
    let mut command = tokio::process::Command::new(node);
    command.arg(script).arg(url).arg(chromium()).arg(env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(3 * PATIENCE, command.output()).await.expect("the browser is through").expect("node runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("what it saw")
}

#[tokio::test(flavor = "multi_thread")]
async fn pay_in_one_tab_and_see_the_live_balance_in_another() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path(), &[]).await.expect("dev is up");
    let url = format!("http://{}/", dev.address);
    let page = reqwest::get(&url).await.expect("an answer").text().await.expect("a page");
    assert!(page.contains("id=\"playground\""), "the playground is not in the binary: './just test' builds it");

    let seen = browse(&url).await;
    assert_eq!(seen.tabs, ["Register", "OpenAccount", "Deposit", "Pay", "WatchBalance", "Overview"]);
    let own = [url.clone(), url.replace("http", "ws"), "data:".to_owned(), format!("blob:{url}")];
    let elsewhere: Vec<_> = seen.requests.iter().filter(|request| !own.iter().any(|own| request.starts_with(own.as_str()))).collect();
    assert!(elsewhere.is_empty(), "asked elsewhere: {elsewhere:?}");
    assert!(seen.requests.iter().any(|request| request.starts_with("ws:")), "balances come over a websocket");
    assert_eq!(seen.mutations, ["Pay", "Pay", "Pay", "Pay", "Register", "OpenAccount", "Deposit"], "no other than those that were run");
    assert!(seen.complaints.is_empty(), "the browser complained: {:?}", seen.complaints);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_for_the_page_of_dev_alone() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(&data.path().join("dev"), &[]).await.expect("dev is up");
    let asked = reqwest::Client::new().get(format!("http://{}/playground.json", dev.address)).header("origin", "http://elsewhere.example");
    let answer = asked.send().await.expect("an answer");
    assert!(!answer.headers().contains_key("access-control-allow-origin"), "a page from elsewhere reads tokens");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let demo = answer.json::<serde_json::Value>().await.expect("JSON")["demo"].take();
    assert!(demo["lisa"]["token"].is_string() && demo["david"]["iban"].is_string() && demo["operator"]["token"].is_string(), "{demo}");

    let nats = Nats::start().expect("nats-server");
    let serve = Dev::serve(&nats, &data.path().join("serve"), &[]).await.expect("serve is up");
    let answer = reqwest::get(format!("http://{}/playground.json", serve.address)).await.expect("an answer");
    assert_eq!(answer.text().await.expect("text"), r#"{"demo":null}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_are_kept_and_the_page_may_ask_nobody_else() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path(), &["--no-demo"]).await.expect("dev is up");
    let page = reqwest::get(format!("http://{}/", dev.address)).await.expect("an answer");
    let header = |answer: &reqwest::Response, name: &str| answer.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(header(&page, "cache-control"), "no-cache");
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    let policy = header(&page, "content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("http") && !policy.contains('*'), "{policy}");

    let page = page.text().await.expect("a page");
    let assets: Vec<_> = page.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(assets.len() > 2, "{page}");
    for asset in assets {
        let answer = reqwest::get(format!("http://{}{asset}", dev.address)).await.expect("an answer");
        assert!(header(&answer, "cache-control").contains("immutable"), "{asset}");
        let expected = match asset.rsplit_once('.').expect("an extension").1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("what is .{other}?"),
        };
        assert_eq!(header(&answer, "content-type"), expected, "{asset}");
    }
    let missing = reqwest::get(format!("http://{}/assets/..%2Findex.html", dev.address)).await.expect("an answer");
    assert_eq!(missing.status(), 404);
}
