use super::*;
use crate::{ClusterRow, testing};
use tempfile::TempDir;

/// A store with two free clusters.
async fn two_free() -> (TempDir, Store, Vec<ClusterRow>) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    let free = testing::free_clusters(&store, &["c1", "c2"]).await;
    (folder, store, free)
}

#[tokio::test]
async fn a_holder_is_one_only_together_with_the_account_that_applies() {
    let (_folder, store, _) = two_free().await;
    let order = |author: &str| ApplyOrder {
        holder: "dave".into(),
        author: author.into(),
        single: true,
        ..ApplyOrder::default()
    };
    let of_portal = store.apply(order("portal")).await.unwrap().unwrap();
    let of_dave = store.apply(order("dave")).await.unwrap().unwrap();
    assert_ne!(
        of_portal.lease.cluster_id, of_dave.lease.cluster_id,
        "dave was given what portal applied for"
    );
    let again = store.apply(order("dave")).await.unwrap().unwrap();
    assert_eq!((again.lease.id, again.made), (of_dave.lease.id, false));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_holder_whose_lease_was_stored_under_its_bare_name_is_given_the_same() {
    let (_folder, store, _) = two_free().await;
    let before = ApplyOrder {
        holder: "dave".into(),
        author: "portal".into(),
        single: true,
        ..ApplyOrder::default()
    };
    let made = store.apply(before.clone()).await.unwrap().unwrap();
    let now = ApplyOrder {
        holder: "portal/dave".into(),
        former_holder: Some("dave".into()),
        ..before
    };
    let same = store.apply(now.clone()).await.unwrap().unwrap();
    assert_eq!((same.lease.id, same.made), (made.lease.id, false));
    // Another account's holder of that bare name is another.
    let other = ApplyOrder {
        holder: "shop/dave".into(),
        author: "shop".into(),
        ..now
    };
    assert_ne!(store.apply(other).await.unwrap().unwrap().lease.id, made.lease.id);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_was_made_comes_with_the_names_around_it() {
    let (_folder, store, free) = two_free().await;
    let order = ApplyOrder {
        holder: "ann".into(),
        author: "ann".into(),
        single: true,
        ..ApplyOrder::default()
    };
    let made = store.apply(order.clone()).await.unwrap().unwrap();
    let taken = free.iter().find(|row| row.id == made.lease.cluster_id).unwrap();
    let names = LeaseNames {
        cluster: taken.name.clone(),
        network_type: "cometbft".into(),
        host: "h1".into(),
    };
    assert_eq!((made.made, made.names), (true, Some(names)));

    let again = store.apply(order.clone()).await.unwrap().unwrap();
    assert_eq!(
        (again.lease.id, again.made, again.names),
        (made.lease.id, false, None)
    );

    let other = store
        .apply(ApplyOrder {
            single: false,
            ..order.clone()
        })
        .await
        .unwrap()
        .unwrap();
    assert_ne!(other.lease.cluster_id, made.lease.cluster_id);
    assert!(
        store
            .apply(ApplyOrder {
                single: false,
                ..order
            })
            .await
            .unwrap()
            .is_none(),
        "two clusters cannot be three leases"
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_filter_by_parameters_takes_what_was_made_with_them() {
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

    let order = |parameters: &[(&str, &str)]| ApplyOrder {
        holder: "ann".into(),
        author: "ann".into(),
        single: true,
        parameters: parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..ApplyOrder::default()
    };
    for nothing in [
        [("block_interval_ms", "300")],
        [("block_interval_ms", "\"500\"")],
        [("empty_blocks", "1")],
        [("absent", "null")],
    ] {
        assert!(
            store.apply(order(&nothing)).await.unwrap().is_none(),
            "{nothing:?}"
        );
    }
    let slow = store
        .apply(order(&[("block_interval_ms", "2000"), ("empty_blocks", "false")]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(slow.names.unwrap().cluster, "slow");
    let quick = store
        .apply(order(&[("channels", "[\"a\", \"b\"]")]))
        .await
        .unwrap()
        .unwrap();
    assert!(quick.made && quick.names.unwrap().cluster == "quick");
    let again = store
        .apply(order(&[("channels", "[\"a\", \"b\"]")]))
        .await
        .unwrap()
        .unwrap();
    assert!(!again.made && again.lease.id == quick.lease.id);
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_account_has_no_more_leases_at_once_than_it_may() {
    let (_folder, store, _) = two_free().await;
    let order = ApplyOrder {
        holder: "ann".into(),
        author: "ann".into(),
        lease_limit: Some(1),
        ..ApplyOrder::default()
    };
    let nothing = ApplyOrder {
        size: Some(99),
        ..order.clone()
    };
    // In one batch; what matches nothing takes nobody's place.
    let (none, one, two) = tokio::join!(
        store.apply(nothing),
        store.apply(order.clone()),
        store.apply(order.clone())
    );
    assert!(none.unwrap().is_none());
    assert_eq!(
        [one.unwrap(), two.unwrap()].into_iter().flatten().count(),
        1,
        "at once"
    );
    assert!(store.apply(order.clone()).await.unwrap().is_none(), "later");
    assert_eq!(store.read().own_leases("ann", 20).await.unwrap(), 1);
    let other = ApplyOrder {
        author: "bob".into(),
        holder: "bob".into(),
        single: true,
        ..order
    };
    assert!(store.apply(other.clone()).await.unwrap().unwrap().made);
    assert!(
        !store.apply(other).await.unwrap().unwrap().made,
        "it has that one already"
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn leases_for_others_do_not_count_as_ones_own() {
    let (_folder, store, _) = two_free().await;
    let for_other = ApplyOrder {
        holder: "ann/dave".into(),
        author: "ann".into(),
        ..ApplyOrder::default()
    };
    store.apply(for_other).await.unwrap().unwrap();
    let own = ApplyOrder {
        holder: "ann".into(),
        author: "ann".into(),
        lease_limit: Some(1),
        ..ApplyOrder::default()
    };
    assert!(store.apply(own).await.unwrap().unwrap().made);
    store.close().await.unwrap();
}
