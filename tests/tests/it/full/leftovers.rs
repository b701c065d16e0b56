//! What a test that did not end leaves: nothing, on the engine that all tests share.

use anyhow::{Context, Result, ensure};
use chainpool_tests::{Bed, Options};

/// Runs the script that `make test` begins with.
async fn leftovers(engine: &str) -> Result<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/leftovers.sh");
    let ran = tokio::process::Command::new(script)
        .env("DOCKER_HOST", engine)
        .output()
        .await?;
    ensure!(ran.status.success(), "{ran:?}");
    Ok(String::from_utf8(ran.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_fails_leaves_nothing_and_a_killed_one_is_swept() -> Result<()> {
    let options = Options {
        capacity: 1,
        validators: 1,
        ..Options::default()
    };
    let bed = Bed::start(options.clone()).await?;
    bed.filled().await?;
    let (instance, engine) = (bed.instance().await?, bed.engine.clone());
    let made = engine.ours(&instance).await?;
    ensure!(
        ["container", "network", "volume"]
            .iter()
            .all(|kind| made.iter().any(|object| object.starts_with(kind))),
        "{made:?}"
    );

    let said = leftovers(&engine.address).await?;
    ensure!(
        !said.contains(&instance) && engine.ours(&instance).await? == made,
        "a living test was swept: {said}"
    );
    drop(bed);
    ensure!(
        engine.ours(&instance).await?.is_empty(),
        "a test that did not end left objects"
    );

    let bed = Bed::start(options).await?;
    bed.filled().await?;
    let (instance, file) = (
        bed.instance().await?,
        bed.ground.claimed().context("the bed's claim")?,
    );
    let ground = bed.stop().await?;
    // As the kernel does with the lock of a process that is killed; the file and the objects stay.
    std::mem::forget(ground);
    std::fs::rename(&file, file.with_extension("held"))?;
    std::fs::write(&file, &engine.address)?;
    let said = leftovers(&engine.address).await?;
    ensure!(
        said.contains(&instance) && !file.exists() && engine.ours(&instance).await?.is_empty(),
        "{said}"
    );
    Ok(std::fs::remove_file(file.with_extension("held"))?)
}
