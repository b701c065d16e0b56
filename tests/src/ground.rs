//! What one Chainpool stands on, also when it is started again: a data folder, ports and networks of its own.

use crate::{Engine, claim::Claim};
use anyhow::Result;
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};
use tempfile::TempDir;

/// The slots in use; the lowest free one is given next, so that few are in use at any time.
static SLOTS: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A data folder with a range of ports and of networks that no other test of this process uses.
pub struct Ground {
    own: TempDir,
    slot: u16,
    claim: Option<Claim>,
}

impl Ground {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let own = TempDir::new()?;
        let mut taken = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = (0..48).find(|slot| !taken.contains(slot)).expect("few tests run at once");
        taken.insert(slot);
        Ok(Self { own, slot, claim: None })
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

    /// The first and the last port.
    pub fn ports(&self) -> (u16, u16) {
        let first = 20_000 + self.slot * 250;
        (first, first + 249)
    }

    /// The networks, as many as the ports need.
    pub fn subnets(&self) -> String {
        format!("10.{}.{}.0/20", 213 + self.slot / 16, (self.slot % 16) * 16)
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
        SLOTS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.slot);
    }
}
