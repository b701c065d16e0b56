//! Whose objects on the machine's engine are a test's: so that neither a failed test nor a killed one leaves ledgers
//! running, which would come up again with the engine and slow down every later test.

use crate::Engine;
use anyhow::{Context, Result};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

/// A file named after an instance that holds the engine's address, locked for as long as this process lives. Released by a test that has counted what is
/// left; dropped unreleased, the instance's objects are removed. What a killed process leaves, scripts/leftovers.sh removes.
pub(crate) struct Claim {
    engine: String,
    instance: String,
    file: PathBuf,
    _lock: File,
    released: bool,
}

impl Claim {
    /// Takes an instance of the machine's engine.
    pub(crate) fn take(engine: &Engine, instance: &str) -> Result<Self> {
        let folder = state().join("tests");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(instance);
        let mut lock = File::create(&file)?;
        lock.try_lock()
            .with_context(|| format!("instance {instance} is another test's"))?;
        lock.write_all(engine.address.as_bytes())?;
        Ok(Self {
            engine: engine.address.clone(),
            instance: instance.to_owned(),
            file,
            _lock: lock,
            released: false,
        })
    }

    /// What says so.
    pub(crate) fn file(&self) -> PathBuf {
        self.file.clone()
    }

    /// Nothing of it is left.
    pub(crate) fn release(&mut self) -> Result<()> {
        std::fs::remove_file(&self.file)?;
        self.released = true;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let swept = apart(async { Engine::at(&self.engine).await?.sweep(&self.instance).await });
        match swept.and_then(|count| self.release().map(|()| count)) {
            Ok(count) => eprintln!(
                "a test of instance {} did not end; {count} objects of it were removed",
                self.instance
            ),
            Err(error) => eprintln!("objects of instance {} are left: {error:#}", self.instance),
        }
    }
}

/// Waits for something in a place that cannot wait, on a runtime of its own: the caller's may be about to end.
pub(crate) fn apart<T: Send>(work: impl Future<Output = Result<T>> + Send) -> Result<T> {
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

/// The folder that engine.sh notes its own in, too.
pub(crate) fn state() -> PathBuf {
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
