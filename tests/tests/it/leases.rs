//! Applying for, renewing and releasing leases.

use crate::support::{applied, commit, read, read_back};
use anyhow::{Result, ensure};
use chainpool_agent_memory::ledger;
use chainpool_api::{
    Bundle, ClusterState, HealthChange, Lease, LeaseState, Operation, Page, Renew, Role, Timestamp,
};
use chainpool_orchestrator::{Caller, CommitHook};
use chainpool_tests::{Api, ApiError, Bed, MemoryBed, MemoryOptions, Options, within};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_leased_cluster_commits_and_a_released_cluster_is_reset() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let clusters = bed.fill().await?;
    ensure!(clusters.len() == 1 && clusters[0].offered, "{clusters:?}");
    let proof = clusters[0].proof.clone().expect("a ready cluster has a proof");
    ensure!(proof.written_to != proof.read_from, "{proof:?}");

    let (lease, old) = applied(&bed).await?;
    commit(&old, 0, "tenant", "first").await?;
    read_back(&old, 1, "tenant", "first").await?;

    let released = bed.release(&lease).await?;
    ensure!(released.state == LeaseState::Released, "{released:?}");

    let (_, new) = applied(&bed).await?;
    ensure!(
        read(&new, 0, "tenant").await?.is_none(),
        "the new chain has the previous tenant's key"
    );
    ensure!(new.chain_id != old.chain_id, "the chain id was reused");
    ensure!(
        new.files["genesis.json"] != old.files["genesis.json"],
        "the genesis was reused"
    );
    let identities = |bundle: &Bundle| {
        bundle
            .nodes
            .iter()
            .flat_map(|n| n.identities.values().cloned())
            .collect::<BTreeSet<_>>()
    };
    ensure!(
        identities(&new).is_disjoint(&identities(&old)),
        "an identity was reused"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn repeating_an_apply_returns_the_same_lease_unless_multiple_are_allowed() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 2,
        nodes: 1,
        ..MemoryOptions::default()
    })
    .await?;
    bed.fill().await?;
    let first: Lease = bed.api.post("/leases", json!({})).await?;
    let again: Lease = bed.api.post("/leases", json!({})).await?;
    ensure!(first.id == again.id, "a repeated apply leased another cluster");
    let second: Lease = bed.api.post("/leases", json!({"allow_multiple": true})).await?;
    ensure!(
        second.cluster_id != first.cluster_id,
        "one cluster was leased twice"
    );
    let refused = bed
        .api
        .refused(Method::POST, "/leases", Some(json!({"allow_multiple": true})))
        .await?;
    ensure!(
        refused.status == StatusCode::CONFLICT && refused.problem.code == "nothing_free",
        "{refused:?}"
    );
    ensure!(refused.problem.message.contains("2 leased"), "{refused:?}");
    let other = bed
        .api
        .refused(Method::POST, "/leases", Some(json!({"size": 9})))
        .await?;
    ensure!(
        other.problem.code == "nothing_matches" && other.problem.message.contains(ledger::TYPE),
        "{other:?}"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_combination_of_filter_fields_matches() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        nodes: 1,
        ..MemoryOptions::default()
    })
    .await?;
    bed.fill().await?;
    let fields = [
        ("type", json!(ledger::TYPE)),
        ("preset", json!("default")),
        ("version", json!("1")),
        ("size", json!(1)),
        ("consensus", json!("votes")),
        ("host", json!("h1")),
    ];
    for subset in 0u32..(1 << fields.len()) {
        let filter: serde_json::Map<String, Value> = (0..)
            .zip(&fields)
            .filter(|(bit, _)| subset & (1 << bit) != 0)
            .map(|(_, (k, v))| ((*k).to_owned(), v.clone()))
            .collect();
        let mut wrong = filter.clone();
        wrong.insert("labels".to_owned(), json!({"no": "where"}));
        bed.api
            .refused(Method::POST, "/leases", Some(Value::Object(wrong)))
            .await?;
        if subset == (1 << fields.len()) - 1 {
            let lease: Lease = bed.api.post("/leases", Value::Object(filter)).await?;
            ensure!(lease.state == LeaseState::Active);
        }
    }
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_can_be_renewed_and_its_expiry_resets_the_cluster() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        nodes: 1,
        ..MemoryOptions::default()
    })
    .await?;
    bed.fill().await?;
    let lease: Lease = bed.api.post("/leases", json!({"ttl_seconds": 3600})).await?;
    let renewed: Lease = bed
        .api
        .post(&format!("/leases/{}/renew", lease.id), json!({"ttl_seconds": 1}))
        .await?;
    ensure!(renewed.expires_at < lease.expires_at);
    let ended = within(Duration::from_secs(20), "the expiry of the lease", async || {
        let now: Lease = bed.api.get(&format!("/leases/{}", lease.id)).await?;
        Ok(if now.state == LeaseState::Active {
            Err("still active".to_owned())
        } else {
            Ok(now)
        })
    })
    .await?;
    ensure!(ended.state == LeaseState::Expired, "{ended:?}");
    bed.wait_for_cluster(lease.cluster_id, "the reset cluster", |c| {
        c.state == ClusterState::Ready && c.generation == 2 && c.offered
    })
    .await?;
    bed.end().await
}

/// Two leases are due. Both are renewed while the first one is being expired: a lease whose renewal succeeded
/// stays active.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_renewed_after_the_expiry_scan_stays_active() -> Result<()> {
    let (armed, (reached, at_gate), (open, gate)) =
        (Arc::new(AtomicBool::new(false)), mpsc::channel(), mpsc::channel());
    let (arm, ends) = (Arc::clone(&armed), (Mutex::new(reached), Mutex::new(gate)));
    let hook: CommitHook = Arc::new(move |point, committed| {
        if point == "operation accepted" && !committed && armed.swap(false, Ordering::SeqCst) {
            let (reached, gate) = (
                ends.0.lock().expect("not poisoned"),
                ends.1.lock().expect("not poisoned"),
            );
            tokio::task::block_in_place(|| {
                reached
                    .send(())
                    .and_then(|()| gate.recv().map_err(|_| mpsc::SendError(())))
                    .expect("a gate");
            });
        }
    });
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 2,
        nodes: 1,
        watchdog: false,
        hook: Some(hook),
        ..MemoryOptions::default()
    })
    .await?;
    bed.fill().await?;
    let mut leases = Vec::new();
    for _ in 0..2 {
        let lease: Lease = bed
            .api
            .post("/leases", json!({"allow_multiple": true, "ttl_seconds": 3600}))
            .await?;
        leases.push(
            bed.api
                .post::<Lease>(&format!("/leases/{}/renew", lease.id), json!({"ttl_seconds": 1}))
                .await?,
        );
    }
    within(Duration::from_secs(20), "both leases to be due", async || {
        Ok(
            if leases
                .iter()
                .all(|lease| lease.expires_at.is_some_and(|at| at < Timestamp::now()))
            {
                Ok(())
            } else {
                Err(String::new())
            },
        )
    })
    .await?;

    arm.store(true, Ordering::SeqCst);
    let orchestrator = bed.orchestrator.clone();
    let expiry = tokio::spawn(async move { orchestrator.expire_leases().await });
    tokio::task::spawn_blocking(move || at_gate.recv()).await??;
    let admin = Caller {
        account_id: uuid::Uuid::nil(),
        account: "admin".to_owned(),
        role: Role::Admin,
        lease_any: true,
        credential: None,
        request_id: None,
        key: None,
    };
    let renew = |lease: &Lease| {
        bed.orchestrator.lease_renew(
            &admin,
            lease.id,
            Renew {
                ttl_seconds: Some(3600),
            },
        )
    };
    let mut renewals: Vec<_> = leases.iter().map(|lease| Box::pin(renew(lease))).collect();
    // The renewals now wait for the database, before the second lease is expired.
    for renewal in &mut renewals {
        ensure!(
            futures::poll!(renewal.as_mut()).is_pending(),
            "a lease was renewed while another one was being expired"
        );
    }
    open.send(())?;
    let answers = futures::future::join_all(renewals).await;
    expiry.await??;
    bed.orchestrator.expire_leases().await?;
    for (lease, renewed) in leases.iter().zip(&answers) {
        let now: Lease = bed.api.get(&format!("/leases/{}", lease.id)).await?;
        let expected = if renewed.is_ok() {
            LeaseState::Active
        } else {
            LeaseState::Expired
        };
        ensure!(now.state == expected, "{renewed:?} and then {now:?}");
    }
    ensure!(
        answers.iter().filter(|answer| answer.is_ok()).count() == 1,
        "{answers:?}"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_can_release_and_other_users_see_nothing() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        nodes: 1,
        ..MemoryOptions::default()
    })
    .await?;
    let cluster = bed.fill().await?.remove(0);
    let (ann, bob) = (bed.user("ann", "user").await?, bed.user("bob", "user").await?);
    let lease: Lease = ann.post("/leases", json!({})).await?;
    for (method, path) in [
        (Method::DELETE, format!("/leases/{}", lease.id)),
        (Method::GET, format!("/leases/{}/bundle", lease.id)),
        (Method::GET, format!("/clusters/{}", cluster.id)),
        (Method::POST, format!("/clusters/{}/stop", cluster.id)),
    ] {
        let refused = bob.refused(method.clone(), &path, None).await?;
        ensure!(
            refused.status == StatusCode::NOT_FOUND,
            "{method} {path}: {refused:?}"
        );
    }
    let refused = bob
        .refused(Method::POST, "/leases", Some(json!({"holder": "ann"})))
        .await?;
    ensure!(refused.status == StatusCode::FORBIDDEN, "{refused:?}");
    let restart: Operation = ann
        .post_empty(&format!("/clusters/{}/restart", cluster.id))
        .await?;
    bed.wait_succeeded(&restart).await?;
    let history = async |api: &Api| {
        let page: Page<HealthChange> = api.get(&format!("/clusters/{}/health", cluster.id)).await?;
        anyhow::Ok(
            page.items
                .into_iter()
                .map(|change| change.reason)
                .collect::<Vec<_>>(),
        )
    };
    let restarted = |reasons: &[String]| reasons.iter().any(|reason| reason.contains("cluster restart"));
    ensure!(restarted(&history(&ann).await?), "{:?}", history(&ann).await?);
    let _: Lease = ann.delete(&format!("/leases/{}", lease.id)).await?;
    // The next holder does not see the health history of ann's lease.
    bed.wait_for_cluster(cluster.id, "the reset cluster", |c| {
        c.state == ClusterState::Ready && c.generation == 2 && c.offered
    })
    .await?;
    let _: Lease = bob.post("/leases", json!({})).await?;
    let (visible, full) = (history(&bob).await?, history(&bed.api).await?);
    ensure!(
        !visible.is_empty() && !restarted(&visible) && restarted(&full),
        "{visible:?} of {full:?}"
    );
    bed.end().await
}

/// 1,000 concurrent applies by 200 users for 50 clusters, checked by the responses alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_concurrent_applies_give_each_cluster_to_one_holder() -> Result<()> {
    const CLUSTERS: usize = 50;
    const USERS: usize = 200;
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 50,
        nodes: 1,
        ..MemoryOptions::default()
    })
    .await?;
    bed.fill().await?;
    let admin: Value = bed
        .api
        .post("/tokens", json!({"name": "many", "lease_any": true}))
        .await?;
    let api = bed.api.with_token(admin["secret"].as_str().unwrap_or_default());
    let apply = |n: usize| {
        let api = api.clone();
        let holder = format!("user-{n}");
        tokio::spawn(async move {
            let body = json!({"holder": holder});
            (
                holder,
                api.post::<Lease>("/leases", body)
                    .await
                    .map_err(anyhow::Error::downcast::<ApiError>),
            )
        })
    };
    let (mut by_holder, mut refused): (BTreeMap<String, BTreeSet<(uuid::Uuid, uuid::Uuid)>>, usize) =
        (BTreeMap::new(), 0);
    let mut answers = Vec::new();
    // All users at once, five times. More concurrent requests would time out on a busy machine.
    for _ in 0..5 {
        answers.extend(futures::future::join_all((0..USERS).map(apply)).await);
    }
    for answer in answers {
        match answer? {
            (holder, Ok(lease)) => {
                ensure!(
                    lease.holder == format!("admin/{holder}"),
                    "{holder} got the lease of {}",
                    lease.holder
                );
                by_holder
                    .entry(holder)
                    .or_default()
                    .insert((lease.id, lease.cluster_id));
            }
            (_, Err(Ok(refusal))) => {
                ensure!(refusal.status == StatusCode::CONFLICT, "{refusal:?}");
                refused += 1;
            }
            (_, Err(Err(error))) => return Err(error),
        }
    }
    ensure!(
        by_holder.values().all(|leases| leases.len() == 1),
        "a repeated apply returned another lease"
    );
    let leases: BTreeSet<_> = by_holder.values().flatten().map(|(lease, _)| lease).collect();
    let clusters: BTreeSet<_> = by_holder.values().flatten().map(|(_, cluster)| cluster).collect();
    ensure!(
        leases.len() == CLUSTERS && clusters.len() == CLUSTERS && by_holder.len() == CLUSTERS,
        "{} leases on {} clusters",
        leases.len(),
        clusters.len()
    );
    ensure!(
        refused >= (USERS - CLUSTERS) * 5 - 5,
        "{refused} applies were refused"
    );
    for lease in leases {
        let _: Operation = {
            let released: Lease = bed.api.delete(&format!("/leases/{lease}")).await?;
            bed.api
                .get(&format!(
                    "/operations/{}",
                    released.operation_id.expect("a release starts a reset")
                ))
                .await?
        };
    }
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_idempotency_key_returns_the_same_lease_and_rejects_another_body() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 2,
        nodes: 1,
        ..MemoryOptions::default()
    })
    .await?;
    bed.fill().await?;
    let key = [("idempotency-key", "k1")];
    let body = json!({"allow_multiple": true});
    let (_, first) = bed
        .api
        .raw(Method::POST, "/leases", Some(body.clone()), &key)
        .await?;
    let (_, again) = bed.api.raw(Method::POST, "/leases", Some(body), &key).await?;
    let id = |text: &str| serde_json::from_str::<Lease>(text).map(|l| l.id);
    ensure!(id(&first)? == id(&again)?, "the same key leased two clusters");
    let other = bed
        .api
        .raw(Method::POST, "/leases", Some(json!({})), &key)
        .await
        .expect_err("another body")
        .downcast::<ApiError>()?;
    ensure!(other.status == StatusCode::UNPROCESSABLE_ENTITY, "{other:?}");
    bed.end().await
}
