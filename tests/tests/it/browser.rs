//! The dashboard in a real browser, at desktop and phone width.

use anyhow::{Context, Result, ensure};
use chainpool_api::{Lease, LeaseState, Page, ResetLink};
use chainpool_tests::{Bed, Browser, Options, within};
use serde_json::{Value, json};
use std::time::Duration;

const WIDTHS: [(u32, u32); 2] = [(1280, 900), (390, 844)];

/// Opens a browser and signs the administrator in by a one-time link.
async fn signed_in(bed: &Bed) -> Result<Browser> {
    let link: ResetLink = bed.api.post_empty("/accounts/admin/reset-link").await?;
    let browser = Browser::open().await?;
    browser.resize(1280, 900).await?;
    browser
        .goto(&format!("{}/welcome/{}", bed.base, link.link))
        .await?;
    browser.fill("#password", "correct horse battery").await?;
    browser.fill("#password_again", "correct horse battery").await?;
    browser.click("main button.primary").await?;
    browser.wait_for_text("No problems.").await?;
    Ok(browser)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_fits_its_window_and_logs_nothing_to_the_console() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        validators: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.fill().await?.remove(0);
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
        browser.resize(width, height).await?;
        for page in &pages {
            browser.goto(&format!("{}{page}", bed.base)).await?;
            browser
                .check_page()
                .await
                .with_context(|| format!("{page} at {width} px"))?;
        }
    }
    drop(browser);
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_leases_connects_and_releases_and_the_page_updates_without_a_reload() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        validators: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.fill().await?.remove(0);
    let browser = signed_in(&bed).await?;

    let cluster = bed
        .wait_for_cluster(cluster.id, "offered", |now| now.offered)
        .await?;
    browser.goto(&format!("{}/leases", bed.base)).await?;
    browser.click("#apply button.primary").await?;
    browser.wait_for_text("Commit a transaction").await?;
    browser.wait_for_text(&cluster.chain_id).await?;
    let leases: Page<Lease> = bed.api.get("/leases?state=active").await?;
    ensure!(
        leases.items.len() == 1 && browser.url().await?.contains(&leases.items[0].id.to_string()),
        "{leases:?}"
    );

    let watching = Browser::open().await?;
    watching.goto(&format!("{}/sign-in", bed.base)).await?;
    watching.fill("#account", "admin").await?;
    watching.fill("#password", "correct horse battery").await?;
    watching.click("main button.primary").await?;
    watching.wait_for_text("Pool by type").await?;
    watching
        .goto(&format!("{}/clusters/{}", bed.base, cluster.name))
        .await?;
    watching.wait_for_text("healthy").await?;
    watching.run("window.sameDocument = true").await?;

    browser.click("a[href$='/release'][data-ask]").await?;
    browser.wait_for_text("Deletes permanently").await?;
    ensure!(
        browser
            .run("return document.querySelector('dialog[open] button.danger').disabled")
            .await?
            == true,
        "the button is enabled before the name is typed"
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
    browser.wait_for_text("Lease another cluster").await?;

    let next = format!(
        "{}-2",
        cluster
            .chain_id
            .strip_suffix("-1")
            .context("the chain id does not end with generation 1")?
    );
    watching.wait_for_text(&next).await?;
    watching.wait_for_text("healthy").await?;
    ensure!(
        watching.run("return window.sameDocument").await? == true,
        "the page was reloaded"
    );
    watching.check_page().await?;
    drop((browser, watching));
    bed.end().await
}
