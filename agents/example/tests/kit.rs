//! The conformance kit on the example. Arguments select promises by parts of their names.

mod test_platform;

use chainpool_agent::kit;
use std::{process::ExitCode, sync::Arc};
use test_platform::MemoryTestPlatform;

#[tokio::main]
async fn main() -> ExitCode {
    let platform = MemoryTestPlatform::new(|agent| Arc::new(agent));
    kit::run(&platform, &kit::selected(std::env::args().skip(1)))
        .await
        .finish()
}
