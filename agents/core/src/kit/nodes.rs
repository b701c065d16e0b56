//! A node converges to its spec.

use super::{
    fixture::{Fixture, RUN, hashed, values},
    outcome::{TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{NodeState, ObjectKind, Scope, Secret, SpecHash, Variable};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "create",
        create,
        "a node is created, runs its command and is observed running with its hash"
    ),
    promise!(
        "adopt",
        adopt,
        "a matching node is adopted: same objects, same incarnation"
    ),
    promise!(
        "replace",
        replace,
        "a node with another hash is replaced, and its neighbour is not"
    ),
    promise!(
        "concurrent-create",
        concurrent_create,
        "two concurrent calls for the same node create one"
    ),
    promise!(
        "variables",
        variables,
        "plain and secret variables reach the node"
    ),
    promise!(
        "read-only-root",
        read_only_root,
        "a read-only root rejects writes"
    ),
];

async fn create(fixture: &Fixture<'_>) -> TestResult {
    let node = fixture.node("v0", &[Step::Say("hello".into()), Step::Stay]);
    let key = fixture.start_cluster(&node).await?;
    fixture.wait_for_output(&key, &node, "hello").await?;
    let seen = fixture.agent.observe(Scope::Cluster(key.cluster)).await?;
    let found = seen.node(1, &node.name);
    let right = found.is_some_and(|o| {
        o.hash.as_ref() == Some(&node.hash) && o.cluster == key.cluster && o.generation == 1
    });
    check!(
        right && seen.node_state(1, &node.name) == NodeState::Running,
        "{found:?}"
    );
    Ok(())
}

async fn adopt(fixture: &Fixture<'_>) -> TestResult {
    let (key, node, network) = (
        fixture.key(),
        fixture.node("v0", &[Step::Count("/data/starts".into()), Step::Stay]),
        fixture.platform.network(),
    );
    fixture.agent.ensure_network(&key, &network).await?;
    fixture.start(&key, &node).await?;
    let (objects, incarnation) = (
        fixture.objects(Scope::Host).await?,
        fixture.incarnation(&key, &node).await?,
    );
    fixture.agent.ensure_network(&key, &network).await?;
    fixture.start(&key, &node).await?;
    check!(
        fixture.incarnation(&key, &node).await? == incarnation,
        "it has a new incarnation"
    );
    let now = fixture.objects(Scope::Host).await?;
    check!(now == objects, "{objects:?} became {now:?}");
    let output = fixture.wait_for_output(&key, &node, "life 1").await?;
    check!(!output.contains("life 2"), "it was started twice: {output}");
    Ok(())
}

async fn replace(fixture: &Fixture<'_>) -> TestResult {
    let first = fixture.node("v0", &[Step::Say("first".into()), Step::Stay]);
    let beside = fixture.node("v1", &[Step::Stay]);
    let key = fixture.start_cluster(&first).await?;
    fixture.start(&key, &beside).await?;
    let (incarnation, untouched) = (
        fixture.incarnation(&key, &first).await?,
        fixture.incarnation(&key, &beside).await?,
    );
    let second = fixture.node("v0", &[Step::Say("second".into()), Step::Stay]);
    fixture.start(&key, &second).await?;
    fixture.wait_for_output(&key, &second, "second").await?;
    check!(
        fixture.incarnation(&key, &second).await? != incarnation,
        "it has the same incarnation"
    );
    check!(
        fixture.incarnation(&key, &beside).await? == untouched,
        "its neighbour has a new incarnation"
    );
    let nodes: Vec<_> = fixture
        .objects(Scope::Host)
        .await?
        .into_iter()
        .filter(|o| o.kind == ObjectKind::Node)
        .collect();
    check!(nodes.len() == 2, "{nodes:?}");
    // The hash alone decides.
    let mut third = second.clone();
    third.hash = SpecHash("0123456789abcdef0123456789abcdef".into());
    fixture.start(&key, &third).await?;
    let seen = fixture.agent.observe(Scope::Cluster(key.cluster)).await?;
    check!(
        seen.node(1, &third.name)
            .is_some_and(|o| o.hash.as_ref() == Some(&third.hash)),
        "its hash is not the expected one"
    );
    Ok(())
}

async fn concurrent_create(fixture: &Fixture<'_>) -> TestResult {
    let (key, node) = (fixture.key(), fixture.node("v0", &[Step::Stay]));
    fixture.network(&key).await?;
    let ensure = async || fixture.ensure(&key, &node, &RUN).await;
    let (a, b) = tokio::join!(
        fixture.retry("first of two calls", ensure),
        fixture.retry("second of two calls", ensure)
    );
    a?;
    b?;
    fixture.wait_until_running(&key, &node).await?;
    let nodes = fixture
        .objects(Scope::Host)
        .await?
        .into_iter()
        .filter(|o| o.kind == ObjectKind::Node)
        .count();
    check!(nodes == 1, "{nodes} nodes exist");
    Ok(())
}

async fn variables(fixture: &Fixture<'_>) -> TestResult {
    let mut node = fixture.node(
        "v0",
        &[
            Step::Variable("OPEN".into()),
            Step::Variable("HIDDEN".into()),
            Step::Say("done".into()),
            Step::Stay,
        ],
    );
    let hidden = r#"two words, a "quote" and a $sign"#;
    node.env.insert("OPEN".into(), Variable::Plain("plain".into()));
    node.env
        .insert("HIDDEN".into(), Variable::Secret(Secret::new(hidden.into())));
    let node = hashed(node);
    let key = fixture.start_cluster(&node).await?;
    let output = fixture.wait_for_output(&key, &node, "done").await?;
    check!(
        values(&output, "variable OPEN") == ["plain"] && values(&output, "variable HIDDEN") == [hidden],
        "{output}"
    );
    Ok(())
}

async fn read_only_root(fixture: &Fixture<'_>) -> TestResult {
    let node = hashed(crate::NodeSpec {
        read_only_root: true,
        ..fixture.node("v0", &[Step::Root, Step::Stay])
    });
    let key = fixture.start_cluster(&node).await?;
    let output = fixture.wait_for_output(&key, &node, "root ").await?;
    check!(output.contains("root held"), "{output}");
    let open = fixture.node("v1", &[Step::Root, Step::Stay]);
    fixture.start(&key, &open).await?;
    fixture.wait_for_output(&key, &open, "root open").await?;
    Ok(())
}
