//! Files and variables are in a node before its first start.

use crate::yard::{RUN, STAY, Yard, file, key, node, second};
use anyhow::{Result, ensure};
use chainpool_agent::{Agent, File, Secret, Variable};
use k8s_openapi::api::core::v1::Pod;

pub(crate) async fn files_have_their_modes_and_owners(yard: &Yard<'_>) -> Result<()> {
    let mut node = node(
        "v0",
        &format!(
            "id; stat -c '%n %a %u %g' /data/key /data/deep/er/app /etc/node/outside; cat /etc/node/outside /data/key; echo told; {STAY}"
        ),
    );
    node.read_only_root = false;
    node.files = vec![
        File {
            mode: 0o400,
            secret: true,
            ..file("/data/key", "key-of-v0\n")
        },
        file("/data/deep/er/app", "app"),
        // Another owner than the node's user, whom nobody without root can give a file to.
        File {
            owner: (0, 0),
            mode: 0o644,
            ..file("/etc/node/outside", "outside\n")
        },
    ];
    let key = key();
    yard.start(&key, &node).await?;
    let said = yard.says(&key, &node, "told").await?;
    for line in [
        "uid=1000 gid=1001",
        "/data/key 400 1000 1001",
        "/data/deep/er/app 640 1000 1001",
        "/etc/node/outside 644 1000 1001",
        "outside\n",
        "key-of-v0\n",
    ] {
        ensure!(said.contains(line), "{line:?} is not in {said}");
    }
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn a_once_file_is_as_the_node_left_it(yard: &Yard<'_>) -> Result<()> {
    let mut node = node(
        "v0",
        &format!(
            "cat /data/state /data/app; echo height-9 > /data/state; echo mine > /data/app; echo told; {STAY}"
        ),
    );
    node.files = vec![
        File {
            once: true,
            ..file("/data/state", "height-0\n")
        },
        file("/data/app", "app-1\n"),
    ];
    let key = key();
    yard.start(&key, &node).await?;
    let said = yard.says(&key, &node, "told").await?;
    ensure!(said.starts_with("height-0\napp-1\n"), "{said}");
    let mut node = second(node);
    node.files = vec![
        File {
            once: true,
            ..file("/data/state", "height-1\n")
        },
        file("/data/app", "app-2\n"),
    ];
    yard.ensure(&key, &node, &RUN).await?;
    let said = yard.says(&key, &node, "told").await?;
    ensure!(said.starts_with("height-9\napp-2\n"), "{said}");
    // At a restart too.
    let life = yard.agent.incarnation(&key, &node.name).await?;
    yard.ensure(&key, &node, &chainpool_agent::Power::On { after: life })
        .await?;
    let said = yard.says(&key, &node, "told").await?;
    ensure!(said.starts_with("height-9\napp-2\n"), "{said}");
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn a_file_of_some_megabytes_arrives_whole(yard: &Yard<'_>) -> Result<()> {
    let mut node = node(
        "v0",
        &format!("wc -c < /data/large; tail -c 4 /data/large; echo; echo told; {STAY}"),
    );
    let mut content = vec![b'a'; 2_500_000];
    content.extend(b"last");
    node.files = vec![file("/data/large", content)];
    let key = key();
    yard.start(&key, &node).await?;
    let said = yard.says(&key, &node, "told").await?;
    ensure!(said.starts_with("2500004\nlast\n"), "{said}");
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn secret_variables_reach_the_node_and_not_its_pod(yard: &Yard<'_>) -> Result<()> {
    let mut node = node("v0", &format!("echo \"got $WORD and $OPEN\"; {STAY}"));
    node.env.insert(
        "WORD".into(),
        Variable::Secret(Secret::new("hidden $(OPEN) $$".into())),
    );
    node.env
        .insert("OPEN".into(), Variable::Plain("a $(WORD) and $$".into()));
    let key = key();
    yard.start(&key, &node).await?;
    yard.says(&key, &node, "got hidden $(OPEN) $$ and a $(WORD) and $$\n")
        .await?;
    let pod = yard.api::<Pod>(&key).get("v0-0").await?;
    ensure!(
        !serde_json::to_string(&pod)?.contains("hidden"),
        "the pod shows the secret"
    );
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}
