//! A kind of platform that only its own crate names.

use anyhow::{Result, ensure};
use chainpool_agent_memory::KIND;
use chainpool_api::{Host, Page};
use chainpool_tests::{MemoryBed, MemoryOptions};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_is_known_from_its_own_crate_and_its_registration() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions::default()).await?;
    let listed = async |kind: &str| bed.api.get::<Page<Host>>(&format!("/hosts?type={kind}")).await;
    let hosts = listed(KIND.as_str()).await?.items;
    ensure!(
        hosts.len() == 1 && hosts[0].platform.as_str() == KIND.as_str(),
        "{hosts:?}"
    );

    // Its name in a request is accepted; a platform without an agent is refused, with the available ones.
    let with = |field: &str, value: &str| {
        let mut body = bed.host_body("h2");
        body["type"] = json!(KIND.as_str());
        body[field] = json!(value);
        body
    };
    let refused = async |body| bed.api.refused(Method::POST, "/hosts", Some(body)).await;
    let again = refused(with("name", "h2")).await?;
    ensure!(again.problem.code == "engine_exists", "{again:?}");
    for kind in ["docker", "unknown"] {
        let why = format!("no agent for {kind} is available; available: {KIND}");
        let fields = refused(with("type", kind)).await?.problem.fields;
        ensure!(fields.get("type") == Some(&why), "{fields:?}");
        let error = bed
            .api
            .refused(Method::GET, &format!("/hosts?type={kind}"), None)
            .await?;
        ensure!(error.problem.fields.get("type") == Some(&why), "{error:?}");
    }

    // It takes none of the settings that only some kinds take.
    let fields = refused(with("kubeconfig", "{}")).await?.problem.fields;
    let why = format!("not supported on {KIND} hosts; omit it");
    ensure!(fields.get("kubeconfig") == Some(&why), "{fields:?}");
    bed.end().await
}
