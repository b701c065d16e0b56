//! Resources of one test bed, kept across restarts of its Chainpool: a data folder, a port range and a subnet
//! range.

use crate::{
    Engine,
    instance_lock::{InstanceLock, state_folder},
};
use anyhow::{Context, Result};
use std::{fs, fs::File, path::PathBuf};
use tempfile::TempDir;

/// Maximum number of concurrent beds on this machine.
const SLOTS: u16 = 40;

/// Data folder, port range and subnet range that no other test on this machine uses.
pub struct ResourceLock {
    folder: TempDir,
    slot: Slot,
    instance: Option<InstanceLock>,
}

/// Number that no other test on this machine holds, backed by a locked file. The lowest free number is taken.
struct Slot {
    number: u16,
    _lock: File,
}

impl Slot {
    fn acquire() -> Result<Self> {
        let folder = state_folder().join("slots");
        fs::create_dir_all(&folder)?;
        for number in 0..SLOTS {
            let lock = File::create(folder.join(number.to_string()))?;
            if lock.try_lock().is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        Err(anyhow::anyhow!("all {SLOTS} slots are in use"))
    }
}

impl ResourceLock {
    /// Reserves a slot and creates an empty data folder.
    pub fn new() -> Result<Self> {
        Ok(Self {
            folder: TempDir::new()?,
            slot: Slot::acquire().context("no ports available for this test")?,
            instance: None,
        })
    }

    /// Locks the instance whose objects use these resources.
    pub(crate) fn lock_instance(&mut self, engine: &Engine, instance: &str) -> Result<()> {
        if self.instance.is_none() {
            self.instance = Some(InstanceLock::acquire(engine, instance)?);
        }
        Ok(())
    }

    /// Releases the instance; it has no objects left.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.instance.as_mut().map_or(Ok(()), InstanceLock::release)
    }

    /// Path of the instance's lock file.
    #[must_use]
    pub fn instance_lock_file(&self) -> Option<PathBuf> {
        self.instance.as_ref().map(InstanceLock::file)
    }

    /// Data folder.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// First and last port, below the product's default range, so that tests can run beside an installation.
    pub fn ports(&self) -> (u16, u16) {
        let first = 10_000 + self.slot.number * 250;
        (first, first + 249)
    }

    /// Subnet range, large enough for the ports and outside of the product's default range.
    pub fn subnets(&self) -> String {
        format!(
            "10.{}.{}.0/20",
            216 + self.slot.number / 16,
            (self.slot.number % 16) * 16
        )
    }

    /// Port and subnet that Chainpool allocates first.
    pub fn first(&self) -> (u16, String) {
        (self.ports().0, self.subnets().replace("/20", "/26"))
    }
}

impl Drop for ResourceLock {
    fn drop(&mut self) {
        // Remove the instance's objects before the slot becomes free.
        drop(self.instance.take());
    }
}
