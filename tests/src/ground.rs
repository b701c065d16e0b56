//! What one Chainpool stands on, also when it is started again: a data folder, ports and networks of its own.

use crate::{
    Engine,
    claim::{Claim, state},
};
use anyhow::{Context, Result};
use std::{fs, fs::File, path::PathBuf};
use tempfile::TempDir;

/// How many tests can run at once on this machine.
const SLOTS: u16 = 40;

/// A data folder with a range of ports and of networks that no other test of this machine uses.
pub struct Ground {
    own: TempDir,
    slot: Slot,
    claim: Option<Claim>,
}

/// A number that no other test of this machine has: a locked file. The lowest free one is given, so that few are in use at any time.
struct Slot {
    number: u16,
    _lock: File,
}

impl Slot {
    fn take() -> Result<Self> {
        let folder = state().join("slots");
        fs::create_dir_all(&folder)?;
        for number in 0..SLOTS {
            let lock = File::create(folder.join(number.to_string()))?;
            if lock.try_lock().is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        Err(anyhow::anyhow!("{SLOTS} tests run at once"))
    }
}

impl Ground {
    /// An empty one.
    pub fn new() -> Result<Self> {
        Ok(Self {
            own: TempDir::new()?,
            slot: Slot::take().context("no ports for this test")?,
            claim: None,
        })
    }

    /// Notes whose objects on the machine's engine stand on this.
    pub(crate) fn claim(&mut self, engine: &Engine, instance: &str) -> Result<()> {
        if self.claim.is_none() {
            self.claim = Some(Claim::take(engine, instance)?);
        }
        Ok(())
    }

    /// Nothing stands on this any more.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.claim.as_mut().map_or(Ok(()), Claim::release)
    }

    /// The file that says so.
    #[must_use]
    pub fn claimed(&self) -> Option<PathBuf> {
        self.claim.as_ref().map(Claim::file)
    }

    /// The data folder.
    pub fn folder(&self) -> PathBuf {
        self.own.path().join("data")
    }

    /// The first and the last port; below those that the product takes by default, so that an installation may be beside the tests.
    pub fn ports(&self) -> (u16, u16) {
        let first = 10_000 + self.slot.number * 250;
        (first, first + 249)
    }

    /// The networks, as many as the ports need; others than those that the product takes by default.
    pub fn subnets(&self) -> String {
        format!(
            "10.{}.{}.0/20",
            216 + self.slot.number / 16,
            (self.slot.number % 16) * 16
        )
    }

    /// The port and the network that Chainpool gives first.
    pub fn first(&self) -> (u16, String) {
        (self.ports().0, self.subnets().replace("/20", "/26"))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Ports and networks are free for the next one when what stood on them is gone.
        drop(self.claim.take());
    }
}
