//! An image for tests: nothing can be pulled, so it is built from a single program.

use anyhow::{Context, Result, ensure};
use bollard::{Docker, body_full, query_parameters::CreateImageOptionsBuilder};
use chainpool_agent::{ImageRef, InstanceId};
use futures::StreamExt;

/// A statically linked set of small programs, the only content of the test image.
const BUSYBOX: &str = "/bin/busybox";

/// Builds an image that contains only busybox.
pub(crate) async fn import(docker: &Docker, instance: InstanceId) -> Result<ImageRef> {
    let program =
        std::fs::read(BUSYBOX).context("/bin/busybox is missing: apt-get install -y busybox-static")?;
    let dynamic = program
        .windows(10)
        .any(|w| w == b"/ld-linux-" || w == b"/ld-musl-x");
    ensure!(
        !dynamic,
        "/bin/busybox is not statically linked: apt-get install -y busybox-static"
    );
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode) in [("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777)] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        tar.append_data(&mut header, path, std::io::empty())?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    tar.append_data(&mut header, "bin/busybox", &program[..])?;
    let name = format!("chainpool-test/{}", instance.0.simple());
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(&name)
        .tag("1")
        .build();
    let mut progress = docker.create_image(Some(options), Some(body_full(tar.into_inner()?.into())), None);
    while progress.next().await.transpose()?.is_some() {}
    let name = format!("{name}:1");
    let id = docker
        .inspect_image(&name)
        .await?
        .id
        .context("an image has an id")?;
    Ok(ImageRef { name, pinned: id })
}
