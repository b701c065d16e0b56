//! The limit of concurrent renders.

use std::{num::NonZero, sync::Arc, thread::available_parallelism};
use tokio::sync::Semaphore;

/// Limits the concurrent renders to half of the processors, so that requests are served meanwhile.
pub(crate) struct RenderLimit(pub(super) Arc<Semaphore>);

impl Default for RenderLimit {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Semaphore::new((processors / 2).max(1))))
    }
}
