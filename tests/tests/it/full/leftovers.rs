//! Failed and killed tests leave no objects on the shared engine.

use anyhow::{Context, Result, ensure};
use chainpool_tests::{Bed, Options};

/// Runs the clean-up script that starts `make test`.
async fn remove_leftovers(engine: &str) -> Result<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/leftovers.sh");
    let ran = tokio::process::Command::new(script)
        .env("DOCKER_HOST", engine)
        .output()
        .await?;
    ensure!(ran.status.success(), "{ran:?}");
    Ok(String::from_utf8(ran.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_test_leaves_nothing_and_leftovers_of_a_killed_test_are_removed() -> Result<()> {
    let options = Options {
        capacity: 1,
        validators: 1,
        ..Options::default()
    };
    let bed = Bed::start(options.clone()).await?;
    bed.fill().await?;
    let (instance, engine) = (bed.instance().await?, bed.engine.clone());
    let objects = engine.objects_of(&instance).await?;
    ensure!(
        ["container", "network", "volume"]
            .iter()
            .all(|kind| objects.iter().any(|object| object.starts_with(kind))),
        "{objects:?}"
    );

    let output = remove_leftovers(&engine.address).await?;
    ensure!(
        !output.contains(&instance) && engine.objects_of(&instance).await? == objects,
        "objects of a running test were removed: {output}"
    );
    drop(bed);
    ensure!(
        engine.objects_of(&instance).await?.is_empty(),
        "a failed test left objects"
    );

    let bed = Bed::start(options).await?;
    bed.fill().await?;
    let (instance, file) = (
        bed.instance().await?,
        bed.resources
            .instance_lock_file()
            .context("the bed has no instance lock")?,
    );
    let resources = bed.stop().await?;
    // Simulates a killed process: its lock is gone, its lock file and objects remain.
    std::mem::forget(resources);
    std::fs::rename(&file, file.with_extension("held"))?;
    std::fs::write(&file, &engine.address)?;
    let output = remove_leftovers(&engine.address).await?;
    ensure!(
        output.contains(&instance) && !file.exists() && engine.objects_of(&instance).await?.is_empty(),
        "{output}"
    );
    Ok(std::fs::remove_file(file.with_extension("held"))?)
}
