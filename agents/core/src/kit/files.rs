//! Files are in place before a node's first start, as specified.

use super::{
    fixture::{Fixture, hashed, values},
    outcome::{TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{File, NodeSpec, Secret};
use sha2::{Digest, Sha256};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "files",
        files,
        "files and secrets below a volume have their content, mode and owner, also with a read-only root"
    ),
    promise!(
        "file-outside-volumes",
        outside,
        "a file outside every volume has its content"
    ),
    promise!("file-large", large, "files of several MiB arrive complete"),
    promise!(
        "file-changed",
        changed,
        "a replaced node has its new files and all of the old volume"
    ),
    promise!(
        "file-once",
        once,
        "after a replacement, a once file is as the node left it"
    ),
];

fn file(path: &str, content: impl Into<Vec<u8>>) -> File {
    File {
        path: path.into(),
        content: Secret::new(content.into()),
        mode: 0o640,
        owner: (1000, 1001),
        secret: false,
        once: false,
    }
}

fn with_files(mut node: NodeSpec, files: Vec<File>) -> NodeSpec {
    node.files = files;
    hashed(node)
}

fn with_end(steps: &[Step]) -> Vec<Step> {
    steps
        .iter()
        .cloned()
        .chain([Step::Say("done".into()), Step::Stay])
        .collect()
}

async fn files(fixture: &Fixture<'_>) -> TestResult {
    let every_byte: Vec<u8> = (0..=255).collect();
    let list = vec![
        File {
            mode: 0o400,
            ..file("/data/config/deep/open", "12345")
        },
        File {
            mode: 0o600,
            secret: true,
            ..file("/data/config/secret", every_byte)
        },
        File {
            once: true,
            ..file("/data/state", "0")
        },
        File {
            mode: 0o750,
            ..file("/data/empty", "")
        },
    ];
    let steps: Vec<_> = list
        .iter()
        .flat_map(|f| [Step::Stat(f.path.clone()), Step::Digest(f.path.clone())])
        .collect();
    let mut node = fixture.node("v0", &with_end(&steps));
    node.read_only_root = true;
    let node = with_files(node, list);
    let key = fixture.start_cluster(&node).await?;
    let output = fixture.wait_for_output(&key, &node, "done").await?;
    for File {
        path,
        content,
        mode,
        owner: (user, group),
        ..
    } in &node.files
    {
        let stat = format!("{mode:o} {user} {group}");
        check!(
            values(&output, &format!("stat {path}")) == [stat.as_str()],
            "{path} is not {stat}: {output}"
        );
        let digest = hex::encode(Sha256::digest(content.expose()));
        check!(
            values(&output, &format!("digest {path}")) == [digest.as_str()],
            "{path} has different content"
        );
    }
    Ok(())
}

async fn outside(fixture: &Fixture<'_>) -> TestResult {
    let node = with_files(
        fixture.node("v0", &with_end(&[Step::Show("/etc/node/file".into())])),
        vec![file("/etc/node/file", "content")],
    );
    let key = fixture.start_cluster(&node).await?;
    let output = fixture.wait_for_output(&key, &node, "done").await?;
    check!(values(&output, "show /etc/node/file") == ["content"], "{output}");
    Ok(())
}

async fn large(fixture: &Fixture<'_>) -> TestResult {
    // Incompressible bytes.
    let mut state = 1_u32;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(2_500_000)
    .collect();
    let digest = hex::encode(Sha256::digest(&content));
    let node = with_files(
        fixture.node("v0", &with_end(&[Step::Digest("/data/large".into())])),
        vec![file("/data/large", content)],
    );
    let key = fixture.start_cluster(&node).await?;
    let output = fixture.wait_for_output(&key, &node, "done").await?;
    check!(
        values(&output, "digest /data/large") == [digest.as_str()],
        "{output}"
    );
    Ok(())
}

async fn changed(fixture: &Fixture<'_>) -> TestResult {
    let show = |path: &str| Step::Show(path.into());
    let first = with_files(
        fixture.node(
            "v0",
            &with_end(&[show("/data/app"), Step::Write("/data/own".into(), "own".into())]),
        ),
        vec![file("/data/app", "app-1")],
    );
    let key = fixture.start_cluster(&first).await?;
    let output = fixture.wait_for_output(&key, &first, "done").await?;
    check!(values(&output, "show /data/app") == ["app-1"], "{output}");
    let steps = with_end(&[
        Step::Say("second".into()),
        show("/data/app"),
        show("/data/new"),
        show("/data/own"),
    ]);
    let second = with_files(
        fixture.node("v0", &steps),
        vec![file("/data/app", "app-2"), file("/data/new", "new")],
    );
    fixture.start(&key, &second).await?;
    let output = fixture.wait_for_output(&key, &second, "show /data/own").await?;
    let last = |path: &str| values(&output, path).last().copied();
    check!(last("show /data/app") == Some("app-2"), "{output}");
    check!(
        last("show /data/new") == Some("new") && last("show /data/own") == Some("own"),
        "{output}"
    );
    Ok(())
}

async fn once(fixture: &Fixture<'_>) -> TestResult {
    let steps = [
        Step::Show("/data/state".into()),
        Step::Write("/data/state".into(), "height-9".into()),
    ];
    let state = || {
        vec![File {
            once: true,
            ..file("/data/state", "height-0")
        }]
    };
    let first = with_files(fixture.node("v0", &with_end(&steps)), state());
    let key = fixture.start_cluster(&first).await?;
    let output = fixture.wait_for_output(&key, &first, "done").await?;
    check!(values(&output, "show /data/state") == ["height-0"], "{output}");
    let mut changed = state();
    changed[0].content = Secret::new(b"height-1".to_vec());
    changed.push(File {
        once: true,
        ..file("/data/more", "more")
    });
    let steps = [
        Step::Say("second".into()),
        Step::Show("/data/state".into()),
        Step::Show("/data/more".into()),
    ];
    let second = with_files(fixture.node("v0", &with_end(&steps)), changed);
    fixture.start(&key, &second).await?;
    let output = fixture
        .wait_for_output(&key, &second, "show /data/more=more")
        .await?;
    check!(
        values(&output, "show /data/state").last() == Some(&"height-9"),
        "the node's own state is lost: {output}"
    );
    Ok(())
}
