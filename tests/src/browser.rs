//! Headless Chromium, driven through chromedriver by the W3C `WebDriver` protocol.
//!
//! This module implements the six commands that the tests need. Crates with the full protocol would add
//! several dozen dependencies to every test build.

use crate::{instance_lock::block_on_new_runtime, within};
use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const TIMEOUT: Duration = Duration::from_mins(1);
/// The protocol's key of an element reference.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One window of a fresh browser. Dropping it ends the session first, because a browser outlives a killed
/// driver, and then the driver.
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
            .context("cannot start chromedriver; run `make setup-test` to install it")?;
        let mut output = BufReader::new(driver.stdout.take().context("its output is piped")?).lines();
        let port = loop {
            let line = output
                .next_line()
                .await?
                .context("chromedriver exited before it listened")?;
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // Drain the rest of the output, so that it does not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = output.next_line().await {} });
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
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        let base = format!("http://127.0.0.1:{port}/session");
        let started = call(&http, Method::POST, &base, Some(wanted)).await?;
        let id = started["sessionId"].as_str().context("a session has an id")?;
        Ok(Self {
            session: format!("{base}/{id}"),
            http,
            _profile: profile,
            _driver: driver,
        })
    }

    async fn command(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        call(&self.http, method, &format!("{}/{path}", self.session), body).await
    }

    /// Resizes the window.
    pub async fn resize(&self, width: u32, height: u32) -> Result<()> {
        self.command(
            Method::POST,
            "window/rect",
            Some(json!({"width": width, "height": height})),
        )
        .await
        .map(drop)
    }

    /// Opens an address and waits until it is loaded.
    pub async fn goto(&self, url: &str) -> Result<()> {
        // Other tests create networks on this machine, which aborts the browser's requests.
        self.retry_on("net::ERR_NETWORK_CHANGED", async || {
            self.command(Method::POST, "url", Some(json!({"url": url})))
                .await
                .map(drop)
        })
        .await
    }

    /// Returns the current address.
    pub async fn url(&self) -> Result<String> {
        Ok(self
            .command(Method::GET, "url", None)
            .await?
            .as_str()
            .context("an address is text")?
            .to_owned())
    }

    /// Runs a script's body in the page and returns its result.
    pub async fn run(&self, script: &str) -> Result<Value> {
        self.command(
            Method::POST,
            "execute/sync",
            Some(json!({"script": script, "args": []})),
        )
        .await
    }

    /// Returns the visible text of the page.
    pub async fn text(&self) -> Result<String> {
        Ok(self
            .run("return document.body.innerText")
            .await?
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Clicks the first visible element that matches.
    pub async fn click(&self, selector: &str) -> Result<()> {
        self.element_command(selector, "click", json!({})).await
    }

    /// Types into the first element that matches.
    pub async fn fill(&self, selector: &str, text: &str) -> Result<()> {
        self.element_command(selector, "value", json!({"text": text}))
            .await
    }

    /// Sends a command to the first visible element that matches. Retries if the page replaced the element
    /// meanwhile.
    async fn element_command(&self, selector: &str, command: &str, body: Value) -> Result<()> {
        self.retry_on("stale element reference", async || {
            let element = self.find(selector).await?;
            let path = format!("element/{element}/{command}");
            self.command(Method::POST, &path, Some(body.clone()))
                .await
                .with_context(|| selector.to_owned())
                .map(drop)
        })
        .await
    }

    /// Runs an action and retries it while it fails with this error.
    async fn retry_on(&self, error_text: &str, action: impl AsyncFn() -> Result<()>) -> Result<()> {
        within(
            TIMEOUT,
            &format!("an end of {error_text:?}"),
            async || match action().await.map_err(|e| (format!("{e:#}"), e)) {
                Ok(()) => Ok(Ok(())),
                Err((text, _)) if text.contains(error_text) => Ok(Err(text)),
                Err((_, error)) => Err(error),
            },
        )
        .await
    }

    async fn find(&self, selector: &str) -> Result<String> {
        within(TIMEOUT, &format!("an element {selector}"), async || {
            let quoted = Value::from(selector).to_string();
            let visible = format!("return [...document.querySelectorAll({quoted})].find((each) => each.checkVisibility()) ?? null");
            let found = self.run(&visible).await?;
            Ok(found[ELEMENT].as_str().map(str::to_owned).ok_or_else(|| format!("not at {}", self.session)))
        })
        .await
    }

    /// Waits until the page shows a text.
    pub async fn wait_for_text(&self, expected: &str) -> Result<()> {
        within(TIMEOUT, &format!("{expected:?} on the page"), async || {
            let text = self.text().await?;
            Ok(if text.contains(expected) {
                Ok(())
            } else {
                Err(text)
            })
        })
        .await
    }

    /// Fails if the page wrote an error or a warning to the console, or is wider than the window.
    pub async fn check_page(&self) -> Result<()> {
        let url = self.url().await?;
        let over = self
            .run("return document.documentElement.scrollWidth - window.innerWidth")
            .await?;
        ensure!(
            over.as_i64().is_some_and(|over| over <= 0),
            "{url} is {over} px wider than its window"
        );
        let log = self
            .command(Method::POST, "se/log", Some(json!({"type": "browser"})))
            .await?;
        let is_problem = |entry: &&Value| {
            matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING"))
                // Other tests create networks on this machine; the browser then reopens its connections.
                && !entry["message"].as_str().is_some_and(|message| message.contains("net::ERR_NETWORK_CHANGED"))
        };
        let problems: Vec<&Value> = log
            .as_array()
            .context("the log is a list")?
            .iter()
            .filter(is_problem)
            .collect();
        ensure!(problems.is_empty(), "{url} wrote to the console: {problems:?}");
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let end = async {
            call(
                &reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?,
                Method::DELETE,
                &self.session,
                None,
            )
            .await
        };
        if let Err(error) = block_on_new_runtime(end) {
            eprintln!("cannot end the browser session: {error:#}");
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
