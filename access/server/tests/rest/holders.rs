//! Named holders of a token: their account, and access to their leases.

use crate::{app::App, fixture::Fixture};
use chainpool_api::{Cluster, Lease, Page};
use http::{Method, StatusCode};
use serde_json::json;

/// Number of items listed at a path.
async fn count<T: serde::de::DeserializeOwned>(app: &App, token: &str, path: &str) -> usize {
    app.get(token, path)
        .await
        .read::<Page<T>>(StatusCode::OK)
        .items
        .len()
}

#[tokio::test]
async fn a_token_accesses_only_the_holders_of_its_own_account() {
    let fixture = Fixture::new().await;
    let app = fixture.open().await;
    let [portal, shop] =
        ["program of portal", "program of shop"].map(|caller| fixture.token(caller).unwrap());
    for name in ["dave", "portal/dave"] {
        let again: Lease = app
            .post(portal, "/api/v1/leases", json!({ "holder": name }))
            .await
            .read(StatusCode::OK);
        assert_eq!(
            (again.holder.as_str(), again.cluster.as_str()),
            ("portal/dave", "topaz"),
            "requested for {name}"
        );
        for (token, expected) in [(portal, 1), (shop, 0)] {
            assert_eq!(
                count::<Lease>(&app, token, &format!("/api/v1/leases?holder={name}")).await,
                expected
            );
            assert_eq!(
                count::<Cluster>(&app, token, &format!("/api/v1/clusters?holder={name}")).await,
                expected
            );
        }
    }
    assert_eq!(
        count::<Lease>(&app, portal, "/api/v1/leases").await,
        1,
        "portal must not see annabel's lease"
    );
    // The same name from another account is another holder.
    let other: Lease = app
        .post(shop, "/api/v1/leases", json!({ "holder": "dave" }))
        .await
        .read(StatusCode::CREATED);
    assert_eq!(
        (other.holder.as_str(), other.cluster.as_str()),
        ("shop/dave", "spare")
    );
    let path = format!("/api/v1/leases/{}", other.id);
    app.get(portal, &format!("{path}/bundle"))
        .await
        .problem(404, "lease_not_found");
    app.post(portal, &format!("{path}/renew"), json!({ "ttl_seconds": 1 }))
        .await
        .problem(404, "lease_not_found");
    app.call(portal, Method::DELETE, &path, None)
        .await
        .problem(404, "lease_not_found");
    let kept = app
        .call(&app.admin, Method::DELETE, "/api/v1/accounts/shop", None)
        .await;
    kept.problem(409, "account_holds");
}

#[tokio::test]
async fn a_local_account_cannot_access_leases_of_a_holder_with_its_name() {
    let fixture = Fixture::new().await;
    let app = fixture.open().await;
    let dave = fixture.token("dave").unwrap();
    assert_eq!(count::<Lease>(&app, dave, "/api/v1/leases").await, 0);
    let own: Lease = app
        .post(dave, "/api/v1/leases", json!({}))
        .await
        .read(StatusCode::CREATED);
    assert_eq!(
        (own.holder.as_str(), own.cluster.as_str()),
        ("dave", "spare"),
        "dave got the cluster leased by portal"
    );
    for name in ["portal/dave", "annabel"] {
        app.post(dave, "/api/v1/leases", json!({ "holder": name }))
            .await
            .problem(403, "forbidden");
        assert_eq!(
            count::<Lease>(&app, dave, &format!("/api/v1/leases?holder={name}")).await,
            0
        );
    }
    let portal = fixture.token("program of portal").unwrap();
    app.get(portal, &format!("/api/v1/leases/{}", own.id))
        .await
        .problem(404, "lease_not_found");
}
