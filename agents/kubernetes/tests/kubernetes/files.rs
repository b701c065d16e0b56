//! Files and variables of nodes.

use crate::fixture::{Fixture, RUN, STAY, file, key, node, second};
use anyhow::{Result, ensure};
use chainpool_agent::{Agent, File, Secret, Variable};
use k8s_openapi::api::core::v1::Pod;

pub(crate) async fn files_have_their_modes_and_owners(fixture: &Fixture<'_>) -> Result<()> {
    let mut node = node(
        "v0",
        &format!(
            "id; stat -c '%n %a %u %g' /data/key /data/deep/er/app /etc/node/outside; cat /etc/node/outside /data/key; echo done; {STAY}"
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
        // Another owner than the node's user: cannot be set without root.
        File {
            owner: (0, 0),
            mode: 0o644,
            ..file("/etc/node/outside", "outside\n")
        },
    ];
    let key = key();
    fixture.start(&key, &node).await?;
    let log = fixture.wait_for_log(&key, &node, "done").await?;
    for line in [
        "uid=1000 gid=1001",
        "/data/key 400 1000 1001",
        "/data/deep/er/app 640 1000 1001",
        "/etc/node/outside 644 1000 1001",
        "outside\n",
        "key-of-v0\n",
    ] {
        ensure!(log.contains(line), "{line:?} is not in {log}");
    }
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn a_once_file_is_not_overwritten(fixture: &Fixture<'_>) -> Result<()> {
    let mut node = node(
        "v0",
        &format!(
            "cat /data/state /data/app; echo height-9 > /data/state; echo mine > /data/app; echo done; {STAY}"
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
    fixture.start(&key, &node).await?;
    let log = fixture.wait_for_log(&key, &node, "done").await?;
    ensure!(log.starts_with("height-0\napp-1\n"), "{log}");
    let mut node = second(node);
    node.files = vec![
        File {
            once: true,
            ..file("/data/state", "height-1\n")
        },
        file("/data/app", "app-2\n"),
    ];
    fixture.ensure(&key, &node, &RUN).await?;
    let log = fixture.wait_for_log(&key, &node, "done").await?;
    ensure!(log.starts_with("height-9\napp-2\n"), "{log}");
    // After a restart too.
    let incarnation = fixture.agent.incarnation(&key, &node.name).await?;
    fixture
        .ensure(&key, &node, &chainpool_agent::Power::On { after: incarnation })
        .await?;
    let log = fixture.wait_for_log(&key, &node, "done").await?;
    ensure!(log.starts_with("height-9\napp-2\n"), "{log}");
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn a_large_file_is_placed_completely(fixture: &Fixture<'_>) -> Result<()> {
    let mut node = node(
        "v0",
        &format!("wc -c < /data/large; tail -c 4 /data/large; echo; echo done; {STAY}"),
    );
    let mut content = vec![b'a'; 2_500_000];
    content.extend(b"last");
    node.files = vec![file("/data/large", content)];
    let key = key();
    fixture.start(&key, &node).await?;
    let log = fixture.wait_for_log(&key, &node, "done").await?;
    ensure!(log.starts_with("2500004\nlast\n"), "{log}");
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn secret_variables_are_absent_from_the_pod_spec(fixture: &Fixture<'_>) -> Result<()> {
    let mut node = node("v0", &format!("echo \"got $WORD and $OPEN\"; {STAY}"));
    node.env.insert(
        "WORD".into(),
        Variable::Secret(Secret::new("hidden $(OPEN) $$".into())),
    );
    node.env
        .insert("OPEN".into(), Variable::Plain("a $(WORD) and $$".into()));
    let key = key();
    fixture.start(&key, &node).await?;
    fixture
        .wait_for_log(&key, &node, "got hidden $(OPEN) $$ and a $(WORD) and $$\n")
        .await?;
    let pod = fixture.api::<Pod>(&key).get("v0-0").await?;
    ensure!(
        !serde_json::to_string(&pod)?.contains("hidden"),
        "the pod shows the secret"
    );
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}
