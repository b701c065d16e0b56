use super::*;
use crate::testing;
use tempfile::TempDir;

#[tokio::test]
async fn a_lease_that_was_made_comes_with_the_names_around_it() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    let free = testing::free_clusters(&store, &["c1", "c2"]).await;

    let order = ApplyOrder { holder: "ann".into(), author: "ann".into(), single: true, ..ApplyOrder::default() };
    let made = store.apply(order.clone()).await.unwrap().unwrap();
    let taken = free.iter().find(|row| row.id == made.lease.cluster_id).unwrap();
    let names = LeaseNames { cluster: taken.name.clone(), network_type: "cometbft".into(), host: "h1".into() };
    assert_eq!((made.made, made.names), (true, Some(names)));

    let again = store.apply(order.clone()).await.unwrap().unwrap();
    assert_eq!((again.lease.id, again.made, again.names), (made.lease.id, false, None));

    let other = store.apply(ApplyOrder { single: false, ..order.clone() }).await.unwrap().unwrap();
    assert_ne!(other.lease.cluster_id, made.lease.cluster_id);
    assert!(store.apply(ApplyOrder { single: false, ..order }).await.unwrap().is_none(), "two clusters cannot be three leases");
    store.close().await.unwrap();
}
