//! Keys and chain ids are unique across clusters and generations.

use anyhow::{Result, ensure};
use chainpool_api::Lease;
use chainpool_tests::{Bed, Options};
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn identities_and_chain_ids_are_never_reused() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 3,
        validators: 2,
        ..Options::default()
    })
    .await?;
    bed.fill().await?;
    let mut seen = BTreeSet::new();
    for round in 0..2 {
        let mut leases = Vec::new();
        for _ in 0..3 {
            bed.wait_all_offered().await?;
            let lease: Lease = bed.api.post("/leases", json!({"allow_multiple": true})).await?;
            let bundle: chainpool_api::Bundle = bed.api.get(&format!("/leases/{}/bundle", lease.id)).await?;
            ensure!(
                seen.insert(bundle.chain_id.clone()),
                "chain id {} was reused in round {round}",
                bundle.chain_id
            );
            for identity in bundle.nodes.iter().flat_map(|n| n.identities.values()) {
                ensure!(
                    seen.insert(identity.clone()),
                    "identity {identity} was reused in round {round}"
                );
            }
            leases.push(lease);
        }
        for lease in leases {
            bed.release(&lease).await?;
        }
    }
    bed.end().await
}
