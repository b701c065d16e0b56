//! Who looks at what, so that a burst of changes costs one look more and not one each.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// The clusters that somebody looks at, and whether another change came meanwhile.
#[derive(Debug, Default)]
pub struct Looks(Mutex<HashMap<Uuid, bool>>);

/// A look at a cluster. It is over when this is dropped.
#[derive(Debug)]
pub struct Looking<'a> {
    looks: &'a Looks,
    cluster: Uuid,
    over: bool,
}

impl Looks {
    /// Begins to look. `None`: somebody does already, and will once more.
    pub fn begin(&self, cluster: Uuid) -> Option<Looking<'_>> {
        let mut looking = self.all();
        if let Some(again) = looking.get_mut(&cluster) {
            *again = true;
            return None;
        }
        looking.insert(cluster, false);
        Some(Looking {
            looks: self,
            cluster,
            over: false,
        })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Looking<'_> {
    /// Whether another change came since this was asked last.
    #[must_use]
    pub fn again(&self) -> bool {
        self.looks
            .all()
            .get_mut(&self.cluster)
            .is_some_and(std::mem::take)
    }

    /// Ends it; `false`: another change came meanwhile, so it is not over.
    #[must_use]
    pub fn end(&mut self) -> bool {
        let mut looking = self.looks.all();
        self.over = !looking.get_mut(&self.cluster).is_some_and(std::mem::take);
        if self.over {
            looking.remove(&self.cluster);
        }
        self.over
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.looks.all().remove(&self.cluster);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_looked_into_by_one_who_looks_again_for_those_that_come_meanwhile() {
        let (looks, cluster) = (Looks::default(), Uuid::now_v7());
        let mut first = looks.begin(cluster).expect("nobody looks");
        assert!(
            looks.begin(Uuid::now_v7()).is_some(),
            "another cluster's is another's"
        );
        assert!(!first.again());
        assert!(looks.begin(cluster).is_none() && looks.begin(cluster).is_none());
        assert!(first.again() && !first.again());
        assert!(looks.begin(cluster).is_none());
        assert!(!first.end() && first.end());
        let second = looks.begin(cluster).expect("the first is over");
        drop(first);
        assert!(
            looks.begin(cluster).is_none(),
            "the end of the first ends no other"
        );
        // One that is broken off leaves the way free.
        drop(second);
        assert!(looks.begin(cluster).is_some());
    }
}
