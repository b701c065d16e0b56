//! The façade: what access and watchdog may ask of the middle.

use chainpool_agent::Platform;
use std::{path::PathBuf, sync::Arc};

/// How the middle runs.
#[derive(Clone)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// The platforms that hosts may be of.
    pub platforms: Vec<Arc<dyn Platform>>,
}

/// The middle. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Orchestrator {
    pub(crate) config: Arc<Config>,
}
