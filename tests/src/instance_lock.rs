//! Ownership of a test's objects on the machine's engine. Neither a failed nor a killed test leaves ledgers
//! running, which would restart with the engine and slow down every later test.

use crate::Engine;
use anyhow::{Context, Result};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

/// Lock file named after an instance, with the engine's address as its content. The lock is held while this
/// process runs.
///
/// A test releases it after its leak check. Dropping it unreleased removes the instance's objects. The
/// objects of a killed process are removed by scripts/leftovers.sh.
pub(crate) struct InstanceLock {
    engine: String,
    instance: String,
    file: PathBuf,
    _lock: File,
    released: bool,
}

impl InstanceLock {
    /// Locks an instance on the machine's engine.
    pub(crate) fn acquire(engine: &Engine, instance: &str) -> Result<Self> {
        let folder = state_folder().join("tests");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(instance);
        let mut lock = File::create(&file)?;
        lock.try_lock()
            .with_context(|| format!("instance {instance} is locked by another test"))?;
        lock.write_all(engine.address.as_bytes())?;
        Ok(Self {
            engine: engine.address.clone(),
            instance: instance.to_owned(),
            file,
            _lock: lock,
            released: false,
        })
    }

    /// Path of the lock file.
    pub(crate) fn file(&self) -> PathBuf {
        self.file.clone()
    }

    /// Releases the lock; the instance has no objects left.
    pub(crate) fn release(&mut self) -> Result<()> {
        std::fs::remove_file(&self.file)?;
        self.released = true;
        Ok(())
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let removed = block_on_new_runtime(async {
            Engine::at(&self.engine)
                .await?
                .remove_objects_of(&self.instance)
                .await
        });
        match removed.and_then(|count| self.release().map(|()| count)) {
            Ok(count) => eprintln!(
                "a test of instance {} failed; removed {count} objects",
                self.instance
            ),
            Err(error) => eprintln!(
                "cannot remove the objects of instance {}: {error:#}",
                self.instance
            ),
        }
    }
}

/// Runs a future from synchronous code on a new runtime. The caller's runtime may be shutting down.
pub(crate) fn block_on_new_runtime<T: Send>(work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(work)
        });
        waiting
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the clean-up panicked"))
    })
}

/// State folder, shared with scripts/engine.sh.
pub(crate) fn state_folder() -> PathBuf {
    let of = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if let Some(own) = of("CHAINPOOL_STATE") {
        return own;
    }
    let base = of("XDG_STATE_HOME").or_else(|| of("HOME").map(|home| home.join(".local/state")));
    base.unwrap_or_else(|| Path::new("/root/.local/state").to_owned())
        .join("chainpool")
}
