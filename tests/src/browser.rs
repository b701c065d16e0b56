//! A real browser: headless Chromium, driven through chromedriver by the W3C `WebDriver` protocol.
//!
//! The six commands that the tests need are spoken here: the crates that know all of the protocol would add several
//! dozen dependencies to every build of the tests.

use crate::{claim::apart, within};
use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const PATIENCE: Duration = Duration::from_mins(1);
/// What the protocol calls an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One window of a fresh browser. Dropped, the browser is told to end, which outlives a driver that is merely killed, then the driver.
pub struct Browser {
    http: reqwest::Client,
    session: String,
    _profile: TempDir,
    _driver: Child,
}

impl Browser {
    /// Starts a driver on a free port and a browser with an empty profile.
    pub async fn open() -> Result<Self> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("chromedriver cannot be started; make setup-test installs it")?;
        let mut said = BufReader::new(driver.stdout.take().context("its output is piped")?).lines();
        let port = loop {
            let line = said
                .next_line()
                .await?
                .context("chromedriver ended before it listened")?;
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // Nobody reads on: what else it says must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        let profile = TempDir::new()?;
        let mut arguments: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let options = json!({"args": arguments});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}});
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let base = format!("http://127.0.0.1:{port}/session");
        let begun = call(&http, Method::POST, &base, Some(wanted)).await?;
        let id = begun["sessionId"].as_str().context("a session has an id")?;
        Ok(Self {
            session: format!("{base}/{id}"),
            http,
            _profile: profile,
            _driver: driver,
        })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        call(&self.http, method, &format!("{}/{path}", self.session), body).await
    }

    /// Makes the window so wide and high.
    pub async fn size(&self, width: u32, height: u32) -> Result<()> {
        self.ask(
            Method::POST,
            "window/rect",
            Some(json!({"width": width, "height": height})),
        )
        .await
        .map(drop)
    }

    /// Opens an address and waits until it is loaded.
    pub async fn go(&self, url: &str) -> Result<()> {
        // Other tests make networks on this machine, in whose moment the browser gives up.
        self.unless("net::ERR_NETWORK_CHANGED", async || {
            self.ask(Method::POST, "url", Some(json!({"url": url})))
                .await
                .map(drop)
        })
        .await
    }

    /// The address that is open.
    pub async fn url(&self) -> Result<String> {
        Ok(self
            .ask(Method::GET, "url", None)
            .await?
            .as_str()
            .context("an address is text")?
            .to_owned())
    }

    /// Runs a script's body in the page; gives what it returns.
    pub async fn run(&self, script: &str) -> Result<Value> {
        self.ask(
            Method::POST,
            "execute/sync",
            Some(json!({"script": script, "args": []})),
        )
        .await
    }

    /// What a person reads on the page.
    pub async fn text(&self) -> Result<String> {
        Ok(self
            .run("return document.body.innerText")
            .await?
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Clicks the first visible element that matches, as a person would.
    pub async fn click(&self, selector: &str) -> Result<()> {
        self.act(selector, "click", json!({})).await
    }

    /// Types into the first element that matches.
    pub async fn fill(&self, selector: &str, text: &str) -> Result<()> {
        self.act(selector, "value", json!({"text": text})).await
    }

    /// Does something with the first visible element that matches. The page may put another in its place between look and act.
    async fn act(&self, selector: &str, what: &str, body: Value) -> Result<()> {
        self.unless("stale element reference", async || {
            let element = self.find(selector).await?;
            let path = format!("element/{element}/{what}");
            self.ask(Method::POST, &path, Some(body.clone()))
                .await
                .with_context(|| selector.to_owned())
                .map(drop)
        })
        .await
    }

    /// Does something, again where it fails with this word.
    async fn unless(&self, word: &str, act: impl AsyncFn() -> Result<()>) -> Result<()> {
        within(PATIENCE, &format!("nothing of {word:?}"), async || {
            match act().await.map_err(|e| (format!("{e:#}"), e)) {
                Ok(()) => Ok(Ok(())),
                Err((said, _)) if said.contains(word) => Ok(Err(said)),
                Err((_, error)) => Err(error),
            }
        })
        .await
    }

    async fn find(&self, selector: &str) -> Result<String> {
        within(PATIENCE, &format!("an element {selector}"), async || {
            let quoted = Value::from(selector).to_string();
            let visible = format!("return [...document.querySelectorAll({quoted})].find((each) => each.checkVisibility()) ?? null");
            let found = self.run(&visible).await?;
            Ok(found[ELEMENT].as_str().map(str::to_owned).ok_or_else(|| format!("not at {}", self.session)))
        })
        .await
    }

    /// Waits until the page says something.
    pub async fn says(&self, words: &str) -> Result<()> {
        within(PATIENCE, &format!("{words:?} on the page"), async || {
            let text = self.text().await?;
            Ok(if text.contains(words) { Ok(()) } else { Err(text) })
        })
        .await
    }

    /// Fails when the page wrote an error or a warning to the console, or is wider than the window.
    pub async fn is_sound(&self) -> Result<()> {
        let url = self.url().await?;
        let over = self
            .run("return document.documentElement.scrollWidth - window.innerWidth")
            .await?;
        ensure!(
            over.as_i64().is_some_and(|over| over <= 0),
            "{url} is {over} px wider than its window"
        );
        let log = self
            .ask(Method::POST, "se/log", Some(json!({"type": "browser"})))
            .await?;
        let loud = |entry: &&Value| {
            matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING"))
                // Other tests make networks on this machine, and the browser then opens its connections anew.
                && !entry["message"].as_str().is_some_and(|message| message.contains("net::ERR_NETWORK_CHANGED"))
        };
        let loud: Vec<&Value> = log
            .as_array()
            .context("the log is a list")?
            .iter()
            .filter(loud)
            .collect();
        ensure!(loud.is_empty(), "{url} wrote to the console: {loud:?}");
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let ending = async {
            call(
                &reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?,
                Method::DELETE,
                &self.session,
                None,
            )
            .await
        };
        if let Err(error) = apart(ending) {
            eprintln!("a browser may go on: {error:#}");
        }
    }
}

async fn call(http: &reqwest::Client, method: Method, url: &str, body: Option<Value>) -> Result<Value> {
    let mut request = http.request(method, url);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer: Value = request.send().await?.json().await?;
    let value = answer["value"].clone();
    if let Some(error) = value.get("error").and_then(Value::as_str) {
        bail!("{error}: {}", value["message"].as_str().unwrap_or_default());
    }
    Ok(value)
}
