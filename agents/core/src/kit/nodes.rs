//! A node comes to be what its spec says.

use super::{
    Kept, Promise, Stand,
    program::Step,
    promise, promised,
    stand::{RUN, hashed, values},
};
use crate::{NodeState, ObjectKind, Scope, Secret, SpecHash, Variable};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "create",
        create,
        "a node is made, runs its command and is seen running with its hash"
    ),
    promise!(
        "adopt",
        adopt,
        "a node that is right is adopted: same objects, same life"
    ),
    promise!(
        "replace",
        replace,
        "a node whose hash is another is replaced, and another one's neighbour is not"
    ),
    promise!(
        "made-at-once",
        made_at_once,
        "the same node made by two calls at once is one"
    ),
    promise!(
        "variables",
        variables,
        "plain and secret variables reach the node"
    ),
    promise!(
        "read-only-root",
        read_only_root,
        "a read-only root takes no write"
    ),
];

async fn create(stand: &Stand<'_>) -> Kept {
    let node = stand.node("v0", &[Step::Say("hello".into()), Step::Stay]);
    let key = stand.up(&node).await?;
    stand.says(&key, &node, "hello").await?;
    let seen = stand.agent.observe(Scope::Cluster(key.cluster)).await?;
    let found = seen.node(1, &node.name);
    let right = found.is_some_and(|o| {
        o.hash.as_ref() == Some(&node.hash) && o.cluster == key.cluster && o.generation == 1
    });
    promised!(
        right && seen.node_state(1, &node.name) == NodeState::Running,
        "{found:?}"
    );
    Ok(())
}

async fn adopt(stand: &Stand<'_>) -> Kept {
    let (key, node, network) = (
        stand.key(),
        stand.node("v0", &[Step::Count("/data/lives".into()), Step::Stay]),
        stand.ground.network(),
    );
    stand.agent.ensure_network(&key, &network).await?;
    stand.start(&key, &node).await?;
    let (objects, life) = (stand.objects(Scope::Host).await?, stand.life(&key, &node).await?);
    stand.agent.ensure_network(&key, &network).await?;
    stand.start(&key, &node).await?;
    promised!(stand.life(&key, &node).await? == life, "it has another life");
    let now = stand.objects(Scope::Host).await?;
    promised!(now == objects, "{objects:?} became {now:?}");
    let said = stand.says(&key, &node, "life 1").await?;
    promised!(!said.contains("life 2"), "it was started twice: {said}");
    Ok(())
}

async fn replace(stand: &Stand<'_>) -> Kept {
    let first = stand.node("v0", &[Step::Say("first".into()), Step::Stay]);
    let beside = stand.node("v1", &[Step::Stay]);
    let key = stand.up(&first).await?;
    stand.start(&key, &beside).await?;
    let (life, untouched) = (stand.life(&key, &first).await?, stand.life(&key, &beside).await?);
    let second = stand.node("v0", &[Step::Say("second".into()), Step::Stay]);
    stand.start(&key, &second).await?;
    stand.says(&key, &second, "second").await?;
    promised!(stand.life(&key, &second).await? != life, "it has the same life");
    promised!(
        stand.life(&key, &beside).await? == untouched,
        "its neighbour has another life"
    );
    let nodes: Vec<_> = stand
        .objects(Scope::Host)
        .await?
        .into_iter()
        .filter(|o| o.kind == ObjectKind::Node)
        .collect();
    promised!(nodes.len() == 2, "{nodes:?}");
    // The hash decides, whatever else is the same.
    let mut third = second.clone();
    third.hash = SpecHash("0123456789abcdef0123456789abcdef".into());
    stand.start(&key, &third).await?;
    let seen = stand.agent.observe(Scope::Cluster(key.cluster)).await?;
    promised!(
        seen.node(1, &third.name)
            .is_some_and(|o| o.hash.as_ref() == Some(&third.hash)),
        "its hash is not the wanted one"
    );
    Ok(())
}

async fn made_at_once(stand: &Stand<'_>) -> Kept {
    let (key, node) = (stand.key(), stand.node("v0", &[Step::Stay]));
    stand.network(&key).await?;
    let ensure = async || stand.ensure(&key, &node, &RUN).await;
    let (a, b) = tokio::join!(
        stand.insist("one of two", ensure),
        stand.insist("the other of two", ensure)
    );
    a?;
    b?;
    stand.running(&key, &node).await?;
    let nodes = stand
        .objects(Scope::Host)
        .await?
        .into_iter()
        .filter(|o| o.kind == ObjectKind::Node)
        .count();
    promised!(nodes == 1, "there are {nodes}");
    Ok(())
}

async fn variables(stand: &Stand<'_>) -> Kept {
    let mut node = stand.node(
        "v0",
        &[
            Step::Variable("OPEN".into()),
            Step::Variable("HIDDEN".into()),
            Step::Say("told".into()),
            Step::Stay,
        ],
    );
    let hidden = r#"two words, a "quote" and a $sign"#;
    node.env.insert("OPEN".into(), Variable::Plain("plain".into()));
    node.env
        .insert("HIDDEN".into(), Variable::Secret(Secret::new(hidden.into())));
    let node = hashed(node);
    let key = stand.up(&node).await?;
    let said = stand.says(&key, &node, "told").await?;
    promised!(
        values(&said, "variable OPEN") == ["plain"] && values(&said, "variable HIDDEN") == [hidden],
        "{said}"
    );
    Ok(())
}

async fn read_only_root(stand: &Stand<'_>) -> Kept {
    let node = hashed(crate::NodeSpec {
        read_only_root: true,
        ..stand.node("v0", &[Step::Root, Step::Stay])
    });
    let key = stand.up(&node).await?;
    let said = stand.says(&key, &node, "root ").await?;
    promised!(said.contains("root held"), "{said}");
    let open = stand.node("v1", &[Step::Root, Step::Stay]);
    stand.start(&key, &open).await?;
    stand.says(&key, &open, "root open").await?;
    Ok(())
}
