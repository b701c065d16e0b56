//! The dashboard in a real browser: what a person does, at the width of a desk and of a hand.

use anyhow::{Context, Result, ensure};
use chainpool_api::{Lease, LeaseState, Page, ResetLink};
use chainpool_tests::{Bed, Browser, Options, within};
use serde_json::{Value, json};
use std::time::Duration;

const WIDTHS: [(u32, u32); 2] = [(1280, 900), (390, 844)];

/// A browser in which the administrator has signed in by a one-time link.
async fn signed_in(bed: &Bed) -> Result<Browser> {
    let link: ResetLink = bed.api.ask("/accounts/admin/reset-link").await?;
    let browser = Browser::open().await?;
    browser.size(1280, 900).await?;
    browser.go(&format!("{}/welcome/{}", bed.base, link.link)).await?;
    browser.fill("#password", "correct horse battery").await?;
    browser.fill("#password_again", "correct horse battery").await?;
    browser.click("main button.primary").await?;
    browser.says("Nothing needs you").await?;
    Ok(browser)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_fits_its_window_and_writes_nothing_to_the_console() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        validators: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.filled().await?.remove(0);
    let operations: Value = bed.api.get("/operations?limit=1").await?;
    let operation = operations["items"][0]["id"]
        .as_str()
        .context("an operation")?
        .to_owned();
    let lease: Lease = bed.api.post("/leases", json!({})).await?;
    let browser = signed_in(&bed).await?;
    let pages = [
        "/status".to_owned(),
        "/hosts".to_owned(),
        "/hosts/new".to_owned(),
        "/hosts/h1".to_owned(),
        "/hosts/h1/edit".to_owned(),
        "/clusters".to_owned(),
        "/clusters/new".to_owned(),
        format!("/clusters/{}", cluster.name),
        format!("/clusters/{}/logs", cluster.name),
        "/leases".to_owned(),
        format!("/leases/{}", lease.id),
        format!("/leases/{}/release", lease.id),
        "/operations".to_owned(),
        format!("/operations/{operation}"),
        "/network-types".to_owned(),
        "/account".to_owned(),
        "/admin".to_owned(),
        format!("/search?q={}", cluster.name),
    ];
    for (width, height) in WIDTHS {
        browser.size(width, height).await?;
        for page in &pages {
            browser.go(&format!("{}{page}", bed.base)).await?;
            browser
                .is_sound()
                .await
                .with_context(|| format!("{page} at {width} px"))?;
        }
    }
    drop(browser);
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_applies_connects_and_releases_and_sees_the_pool_heal_without_reloading() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        validators: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.filled().await?.remove(0);
    let browser = signed_in(&bed).await?;

    let cluster = bed.cluster_when(cluster.id, "offered", |now| now.offered).await?;
    browser.go(&format!("{}/leases", bed.base)).await?;
    browser.click("#apply button.primary").await?;
    browser.says("Commit a transaction").await?;
    browser.says(&cluster.chain_id).await?;
    let leases: Page<Lease> = bed.api.get("/leases?state=active").await?;
    ensure!(
        leases.items.len() == 1 && browser.url().await?.contains(&leases.items[0].id.to_string()),
        "{leases:?}"
    );

    let watching = Browser::open().await?;
    watching.go(&format!("{}/sign-in", bed.base)).await?;
    watching.fill("#account", "admin").await?;
    watching.fill("#password", "correct horse battery").await?;
    watching.click("main button.primary").await?;
    watching.says("Pool by type").await?;
    watching
        .go(&format!("{}/clusters/{}", bed.base, cluster.name))
        .await?;
    watching.says("healthy").await?;
    watching.run("window.sameDocument = true").await?;

    browser.click("a[href$='/release'][data-ask]").await?;
    browser.says("Deletes for good").await?;
    ensure!(
        browser
            .run("return document.querySelector('dialog[open] button.danger').disabled")
            .await?
            == true,
        "nothing was typed yet"
    );
    browser.fill("dialog[open] #typed", &cluster.name).await?;
    browser.click("dialog[open] button.danger").await?;
    within(Duration::from_secs(30), "the release", async || {
        let lease: Lease = bed.api.get(&format!("/leases/{}", leases.items[0].id)).await?;
        Ok(if lease.state == LeaseState::Released {
            Ok(())
        } else {
            Err(format!("{lease:?}"))
        })
    })
    .await?;
    browser.says("Apply for another").await?;

    let next = format!(
        "{}-2",
        cluster
            .chain_id
            .strip_suffix("-1")
            .context("it is the first generation")?
    );
    watching.says(&next).await?;
    watching.says("healthy").await?;
    ensure!(
        watching.run("return window.sameDocument").await? == true,
        "the page was loaded again"
    );
    watching.is_sound().await?;
    drop((browser, watching));
    bed.end().await
}
