use super::*;
use crate::Store;
use crate::{ClusterRow, testing};
use futures::{StreamExt, stream::FuturesUnordered};
use tempfile::TempDir;

/// A store with two free clusters.
async fn two_free() -> (TempDir, Store, Vec<ClusterRow>) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    let free = testing::free_clusters(&store, &["c1", "c2"]).await;
    (folder, store, free)
}

#[tokio::test]
async fn a_holder_is_identified_together_with_the_applying_account() {
    let (_folder, store, _) = two_free().await;
    let request = |author: &str| ApplyRequest {
        holder: "dave".into(),
        author: author.into(),
        single: true,
        ..ApplyRequest::default()
    };
    let of_portal = store.apply(request("portal")).await.unwrap().unwrap();
    let of_dave = store.apply(request("dave")).await.unwrap().unwrap();
    assert_ne!(
        of_portal.lease.cluster_id, of_dave.lease.cluster_id,
        "dave got the lease of portal"
    );
    let again = store.apply(request("dave")).await.unwrap().unwrap();
    assert_eq!((again.lease.id, again.created), (of_dave.lease.id, false));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_holder_keeps_a_lease_stored_under_its_bare_name() {
    let (_folder, store, _) = two_free().await;
    let before = ApplyRequest {
        holder: "dave".into(),
        author: "portal".into(),
        single: true,
        ..ApplyRequest::default()
    };
    let created = store.apply(before.clone()).await.unwrap().unwrap();
    let now = ApplyRequest {
        holder: "portal/dave".into(),
        former_holder: Some("dave".into()),
        ..before
    };
    let same = store.apply(now.clone()).await.unwrap().unwrap();
    assert_eq!((same.lease.id, same.created), (created.lease.id, false));
    // The same bare name under another account is another holder.
    let other = ApplyRequest {
        holder: "shop/dave".into(),
        author: "shop".into(),
        ..now
    };
    assert_ne!(
        store.apply(other).await.unwrap().unwrap().lease.id,
        created.lease.id
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_created_lease_comes_with_its_related_names() {
    let (_folder, store, free) = two_free().await;
    let request = ApplyRequest {
        holder: "ann".into(),
        author: "ann".into(),
        single: true,
        ..ApplyRequest::default()
    };
    let created = store.apply(request.clone()).await.unwrap().unwrap();
    let taken = free
        .iter()
        .find(|row| row.id == created.lease.cluster_id)
        .unwrap();
    let names = LeaseNames {
        cluster: taken.name.clone(),
        network_type: "cometbft".into(),
        host: "h1".into(),
    };
    assert_eq!((created.created, created.names), (true, Some(names)));

    let again = store.apply(request.clone()).await.unwrap().unwrap();
    assert_eq!(
        (again.lease.id, again.created, again.names),
        (created.lease.id, false, None)
    );

    let other = store
        .apply(ApplyRequest {
            single: false,
            ..request.clone()
        })
        .await
        .unwrap()
        .unwrap();
    assert_ne!(other.lease.cluster_id, created.lease.cluster_id);
    assert!(
        store
            .apply(ApplyRequest {
                single: false,
                ..request
            })
            .await
            .unwrap()
            .is_none(),
        "two clusters cannot be three leases"
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_parameter_filter_matches_clusters_with_these_parameters() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    let now = Timestamp::now();
    let host = testing::host(now);
    let mut tx = store.begin().await.unwrap();
    let quick = serde_json::json!({"block_interval_ms": 500, "empty_blocks": true, "channels": ["a", "b"]});
    let slow = serde_json::json!({"block_interval_ms": 2000, "empty_blocks": false, "channels": []});
    for (name, parameters) in [("quick", quick), ("slow", slow)] {
        tx.cluster_insert(
            ClusterRow {
                parameters: Json(parameters),
                ..testing::free(&host, name, now)
            },
            Vec::new(),
        )
        .await
        .unwrap();
    }
    tx.host_insert(host).await.unwrap();
    tx.commit("test").await.unwrap();

    let request = |parameters: &[(&str, &str)]| ApplyRequest {
        holder: "ann".into(),
        author: "ann".into(),
        single: true,
        parameters: parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..ApplyRequest::default()
    };
    for nothing in [
        [("block_interval_ms", "300")],
        [("block_interval_ms", "\"500\"")],
        [("empty_blocks", "1")],
        [("absent", "null")],
    ] {
        assert!(
            store.apply(request(&nothing)).await.unwrap().is_none(),
            "{nothing:?}"
        );
    }
    let slow = store
        .apply(request(&[
            ("block_interval_ms", "2000"),
            ("empty_blocks", "false"),
        ]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(slow.names.unwrap().cluster, "slow");
    let quick = store
        .apply(request(&[("channels", "[\"a\", \"b\"]")]))
        .await
        .unwrap()
        .unwrap();
    assert!(quick.created && quick.names.unwrap().cluster == "quick");
    let again = store
        .apply(request(&[("channels", "[\"a\", \"b\"]")]))
        .await
        .unwrap()
        .unwrap();
    assert!(!again.created && again.lease.id == quick.lease.id);
    store.close().await.unwrap();
}

#[tokio::test]
async fn concurrent_applies_do_not_exceed_the_lease_limit() {
    let (_folder, store, _) = two_free().await;
    let request = ApplyRequest {
        holder: "ann".into(),
        author: "ann".into(),
        lease_limit: Some(1),
        ..ApplyRequest::default()
    };
    let nothing = ApplyRequest {
        size: Some(99),
        ..request.clone()
    };
    // In one batch; an apply without a match does not count.
    let (none, one, two) = tokio::join!(
        store.apply(nothing),
        store.apply(request.clone()),
        store.apply(request.clone())
    );
    assert!(none.unwrap().is_none());
    assert_eq!(
        [one.unwrap(), two.unwrap()].into_iter().flatten().count(),
        1,
        "at once"
    );
    assert!(store.apply(request.clone()).await.unwrap().is_none(), "later");
    assert_eq!(store.read().own_leases("ann", 20).await.unwrap(), 1);
    let other = ApplyRequest {
        author: "bob".into(),
        holder: "bob".into(),
        single: true,
        ..request
    };
    assert!(store.apply(other.clone()).await.unwrap().unwrap().created);
    assert!(
        !store.apply(other).await.unwrap().unwrap().created,
        "it already has that one"
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn leases_for_other_holders_do_not_count_towards_the_limit() {
    let (_folder, store, _) = two_free().await;
    let for_other = ApplyRequest {
        holder: "ann/dave".into(),
        author: "ann".into(),
        ..ApplyRequest::default()
    };
    store.apply(for_other).await.unwrap().unwrap();
    let own = ApplyRequest {
        holder: "ann".into(),
        author: "ann".into(),
        lease_limit: Some(1),
        ..ApplyRequest::default()
    };
    assert!(store.apply(own).await.unwrap().unwrap().created);
    store.close().await.unwrap();
}

/// As during a fillup: the journals of many operations wait for the writer.
#[tokio::test]
async fn an_apply_waits_for_at_most_one_background_transaction_however_many_wait() {
    const WAITING: usize = 50;
    let (_folder, store, _) = two_free().await;
    let mut events = store.events();
    let running = store.begin_background().await.unwrap();
    let background = async |_| {
        let mut tx = store.begin_background().await.unwrap();
        tx.changed(Noun::Host, Uuid::now_v7());
        tx.commit("test").await.unwrap();
    };
    let mut waiting: FuturesUnordered<_> = (0..WAITING).map(background).collect();
    let mut apply = Box::pin(store.apply(ApplyRequest::default()));
    assert!(futures::poll!(waiting.next()).is_pending());
    assert!(futures::poll!(apply.as_mut()).is_pending());
    // The task of the applies takes the request and waits for the writer.
    tokio::task::yield_now().await;
    drop(running);
    let background = async { while waiting.next().await.is_some() {} };
    let ((), applied) = tokio::join!(background, apply);
    assert!(applied.unwrap().is_some());
    let mut nouns = Vec::new();
    while let Ok(next) = events.try_recv() {
        nouns.push(next.event.noun);
    }
    let before = nouns.iter().position(|noun| *noun == Noun::Lease);
    assert!(before.is_some_and(|before| before <= 1), "{before:?}");
    assert_eq!(nouns.iter().filter(|noun| **noun == Noun::Host).count(), WAITING);
    store.close().await.unwrap();
}
