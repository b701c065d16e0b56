//! Reading of specs.

use crate::{Orchestrator, Result};
use chainpool_agent::ClusterSpec;
use std::sync::Arc;

impl Orchestrator {
    /// Reads the spec of a generation with its keys, without the nodes' secret contents.
    pub(crate) async fn spec(
        &self,
        cluster: uuid::Uuid,
        generation: u32,
    ) -> Result<Option<Arc<ClusterSpec>>> {
        if let Some(spec) = self.inner.specs.get(cluster, generation) {
            return Ok(Some(spec));
        }
        let epoch = self.inner.specs.epoch();
        let read = self.store().read();
        let Some(stored) = read.revision(cluster, generation).await? else {
            return Ok(None);
        };
        let mut spec = stored.public;
        if !spec.keys.is_empty() {
            let Some((opened, _)) = read
                .revision_opened(self.store().master(), cluster, generation)
                .await?
            else {
                return Ok(None);
            };
            spec.keys = opened.keys;
        }
        let spec = Arc::new(spec);
        self.inner
            .specs
            .put(cluster, generation, Arc::clone(&spec), epoch);
        Ok(Some(spec))
    }
}
