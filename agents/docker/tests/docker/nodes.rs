//! A node converges to its spec: engine-specific tests. The kit tests what holds on every platform.

use crate::fixture::{RUN, STAY, file, key, network, node, with_fixture};
use anyhow::{Context, ensure};
use chainpool_agent::{
    Agent, Error, File, ImageRef, Labels, LogType, NodeSpec, NodeState, Power, SpecHash, Variable, Volumes,
    node_object_name,
};
use std::time::Duration;

/// Prints the files on its disk, then keeps running.
fn lister(name: &str) -> NodeSpec {
    let list =
        "busybox find /data /etc/node -exec busybox stat -c '%n %a %u %g %s' {} +; busybox id; echo done; ";
    node(name, &format!("{list}{STAY}"))
}

fn once(path: &str, content: &str) -> File {
    File {
        once: true,
        ..file(path, content)
    }
}

#[test]
fn a_nodes_files_have_their_modes_and_owners() {
    with_fixture(async |fixture| {
        let key = key();
        let mut node = lister("v0");
        node.files = vec![
            file("/data/config/genesis.json", "12345"),
            once("/data/state", "0"),
            file("/etc/node/more", "x"),
        ];
        node.files[0].mode = 0o400;
        fixture.start(&key, &node).await?;
        fixture.wait_for_output(&key, &node, "done").await?;
        let output = fixture.output(&key, &node).await?;
        for line in [
            "/data 755 1000 1001",
            "/data/config 755 1000 1001",
            "/data/config/genesis.json 400 1000 1001 5",
            "/data/state 640 1000 1001 1",
            "/etc/node 755 0 0",
            "/etc/node/more 640 1000 1001 1",
            "uid=1000 gid=1001",
        ] {
            ensure!(output.contains(line), "{line:?} is not in\n{output}");
        }
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_container_has_its_limits_and_labels() {
    with_fixture(async |fixture| {
        let key = key();
        let mut node = node("v0", STAY);
        node.env.insert("A".into(), Variable::Plain("b".into()));
        fixture.start(&key, &node).await?;
        let found = fixture.inspect(&key, &node).await?;
        let host = found.host_config.context("host config")?;
        ensure!(
            host.memory == Some(32 << 20) && host.memory_swap == host.memory && host.pids_limit == Some(64),
            "{host:?}"
        );
        ensure!(
            host.cap_drop == Some(vec!["ALL".into()])
                && host.security_opt == Some(vec!["no-new-privileges".into()]),
            "{host:?}"
        );
        ensure!(
            host.privileged != Some(true)
                && host.restart_policy.and_then(|p| p.name).map(|n| n.to_string())
                    == Some("unless-stopped".into())
        );
        let log = host.log_config.context("log")?;
        ensure!(log.typ.as_deref() == Some("local"), "{log:?}");
        let log = log.config.context("log options")?;
        ensure!(log["max-size"] == "10000000" && log["max-file"] == "3", "{log:?}");
        let config = found.config.context("config")?;
        ensure!(config.hostname.as_deref() == Some("v0") && config.stop_signal.as_deref() == Some("SIGTERM"));
        ensure!(config.env.context("env")?.contains(&"A=b".to_owned()));
        let labels = Labels::from_map(&config.labels.context("labels")?).context("our labels")?;
        ensure!(
            labels
                == Labels::of_cluster(fixture.instance, &key)
                    .node(&node.name)
                    .hash(&node.hash)
        );
        let networks = found
            .network_settings
            .and_then(|n| n.networks)
            .context("networks")?;
        let endpoint = &networks[&chainpool_agent::network_name(&key)];
        ensure!(
            endpoint
                .aliases
                .as_ref()
                .is_some_and(|a| a.contains(&"v0".to_owned())),
            "{endpoint:?}"
        );
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_syslog_node_sends_its_output_to_the_server() {
    with_fixture(async |fixture| {
        let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
        let key = key();
        let mut node = node("v0", &format!("echo hello from here; {STAY}"));
        node.log.kind = LogType::Syslog;
        node.log.server = Some(format!("udp://{}", server.local_addr()?));
        fixture.start(&key, &node).await?;
        let mut buffer = [0; 2048];
        let length = tokio::time::timeout(Duration::from_secs(30), server.recv(&mut buffer)).await??;
        let text = String::from_utf8_lossy(&buffer[..length]);
        ensure!(
            text.contains("hello from here") && text.contains(&node_object_name(&key, &node.name)),
            "{text}"
        );
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_node_that_was_never_started_gets_its_files_again() {
    with_fixture(async |fixture| {
        let key = key();
        let mut bare = node("v0", &format!("busybox cat /data/a; echo done; {STAY}"));
        fixture.agent.ensure_network(&key, &network()).await?;
        // The state after a crash between create and upload: the container exists, its files do not.
        fixture.ensure(&key, &bare, &Power::Off).await?;
        ensure!(fixture.state(&key, &bare).await? == NodeState::Created);
        let id = fixture.inspect(&key, &bare).await?.id;
        bare.files = vec![file("/data/a", "here it is\n")];
        fixture.ensure(&key, &bare, &RUN).await?;
        ensure!(fixture.inspect(&key, &bare).await?.id == id, "it was recreated");
        fixture.wait_for_output(&key, &bare, "done").await?;
        ensure!(fixture.output(&key, &bare).await?.starts_with("here it is\n"));
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_node_cut_off_anywhere_converges() {
    with_fixture(async |fixture| {
        let key = key();
        let mut node = node(
            "v0",
            &format!("busybox cat /data/state /data/config/app; echo done; {STAY}"),
        );
        node.files = vec![
            once("/data/state", "whole\n"),
            file("/data/config/app", &"app\n".repeat(20_000)),
        ];
        fixture.agent.ensure_network(&key, &network()).await?;
        for _ in 0..12 {
            for _ in 0..rand::random_range(1..4) {
                let cut = Duration::from_micros(rand::random_range(0..400_000));
                if let Ok(done) = tokio::time::timeout(cut, fixture.ensure(&key, &node, &RUN)).await {
                    done?;
                }
            }
            fixture.ensure(&key, &node, &RUN).await?;
            ensure!(fixture.state(&key, &node).await? == NodeState::Running);
            fixture.wait_for_output(&key, &node, "done").await?;
            let output = fixture.output(&key, &node).await?;
            ensure!(
                output.starts_with("whole\napp\n") && output.lines().count() >= 20_002,
                "{} lines: {output:.40}",
                output.lines().count()
            );
            let (containers, networks, volumes) = fixture.ours().await?;
            ensure!((containers.len(), networks.len(), volumes.len()) == (1, 1, 1));
            fixture.agent.drop_node(&key, &node.name, Volumes::Purge).await?;
        }
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_removed_image_is_named() {
    with_fixture(async |fixture| {
        let (key, node) = (key(), node("v0", STAY));
        let gone = ImageRef {
            name: "chainpool-test/gone:1".into(),
            pinned: format!("sha256:{}", "0".repeat(64)),
        };
        let error = fixture
            .agent
            .ensure_node(&key, &node, &gone, &RUN)
            .await
            .expect_err("no image");
        ensure!(
            matches!(&error, Error::Refused(text) if text.contains("chainpool-test/gone:1")),
            "{error}"
        );
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_wrong_program_is_refused_with_the_engines_message() {
    with_fixture(async |fixture| {
        let (key, mut node) = (key(), node("v0", STAY));
        node.command = vec!["/no/such/program".into()];
        let error = fixture.start(&key, &node).await.expect_err("no program");
        let error = error.downcast::<Error>()?;
        ensure!(
            matches!(&error, Error::Refused(text) if text.contains("/no/such/program")),
            "{error}"
        );
        // Corrected, it replaces the container that never ran.
        node.command = vec!["/bin/busybox".into(), "sleep".into(), "100".into()];
        node.hash = SpecHash("second".into());
        fixture.ensure(&key, &node, &RUN).await?;
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
