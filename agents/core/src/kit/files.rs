//! Files are in a node before its first start, as its spec says.

use super::{
    Kept, Promise, Stand,
    program::Step,
    promise, promised,
    stand::{hashed, values},
};
use crate::{File, NodeSpec, Secret};
use sha2::{Digest, Sha256};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "files",
        files,
        "files and secrets arrive below a volume with their content, mode and owner, under a read-only root too"
    ),
    promise!(
        "file-outside-volumes",
        outside,
        "a file outside every volume arrives with its content"
    ),
    promise!("file-large", large, "files of some MiB arrive whole"),
    promise!(
        "file-changed",
        changed,
        "a replaced node has its new files, and no less of the old volume"
    ),
    promise!(
        "file-once",
        once,
        "a once file is as the node left it after a replacement"
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

fn told(steps: &[Step]) -> Vec<Step> {
    steps
        .iter()
        .cloned()
        .chain([Step::Say("told".into()), Step::Stay])
        .collect()
}

async fn files(stand: &Stand<'_>) -> Kept {
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
    let mut node = stand.node("v0", &told(&steps));
    node.read_only_root = true;
    let node = with_files(node, list);
    let key = stand.up(&node).await?;
    let said = stand.says(&key, &node, "told").await?;
    for File {
        path,
        content,
        mode,
        owner: (user, group),
        ..
    } in &node.files
    {
        let stat = format!("{mode:o} {user} {group}");
        promised!(
            values(&said, &format!("stat {path}")) == [stat.as_str()],
            "{path} is not {stat}: {said}"
        );
        let digest = hex::encode(Sha256::digest(content.expose()));
        promised!(
            values(&said, &format!("digest {path}")) == [digest.as_str()],
            "{path} has another content"
        );
    }
    Ok(())
}

async fn outside(stand: &Stand<'_>) -> Kept {
    let node = with_files(
        stand.node("v0", &told(&[Step::Show("/etc/node/file".into())])),
        vec![file("/etc/node/file", "content")],
    );
    let key = stand.up(&node).await?;
    let said = stand.says(&key, &node, "told").await?;
    promised!(values(&said, "show /etc/node/file") == ["content"], "{said}");
    Ok(())
}

async fn large(stand: &Stand<'_>) -> Kept {
    // Bytes that no compression makes small.
    let mut state = 1_u32;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(2_500_000)
    .collect();
    let digest = hex::encode(Sha256::digest(&content));
    let node = with_files(
        stand.node("v0", &told(&[Step::Digest("/data/large".into())])),
        vec![file("/data/large", content)],
    );
    let key = stand.up(&node).await?;
    let said = stand.says(&key, &node, "told").await?;
    promised!(values(&said, "digest /data/large") == [digest.as_str()], "{said}");
    Ok(())
}

async fn changed(stand: &Stand<'_>) -> Kept {
    let show = |path: &str| Step::Show(path.into());
    let first = with_files(
        stand.node(
            "v0",
            &told(&[show("/data/app"), Step::Write("/data/own".into(), "own".into())]),
        ),
        vec![file("/data/app", "app-1")],
    );
    let key = stand.up(&first).await?;
    let said = stand.says(&key, &first, "told").await?;
    promised!(values(&said, "show /data/app") == ["app-1"], "{said}");
    let steps = told(&[
        Step::Say("second".into()),
        show("/data/app"),
        show("/data/new"),
        show("/data/own"),
    ]);
    let second = with_files(
        stand.node("v0", &steps),
        vec![file("/data/app", "app-2"), file("/data/new", "new")],
    );
    stand.start(&key, &second).await?;
    let said = stand.says(&key, &second, "show /data/own").await?;
    let last = |path: &str| values(&said, path).last().copied();
    promised!(last("show /data/app") == Some("app-2"), "{said}");
    promised!(
        last("show /data/new") == Some("new") && last("show /data/own") == Some("own"),
        "{said}"
    );
    Ok(())
}

async fn once(stand: &Stand<'_>) -> Kept {
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
    let first = with_files(stand.node("v0", &told(&steps)), state());
    let key = stand.up(&first).await?;
    let said = stand.says(&key, &first, "told").await?;
    promised!(values(&said, "show /data/state") == ["height-0"], "{said}");
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
    let second = with_files(stand.node("v0", &told(&steps)), changed);
    stand.start(&key, &second).await?;
    let said = stand.says(&key, &second, "show /data/more=more").await?;
    promised!(
        values(&said, "show /data/state").last() == Some(&"height-9"),
        "the node's own state is gone: {said}"
    );
    Ok(())
}
