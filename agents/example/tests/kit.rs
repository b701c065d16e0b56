//! The conformance kit on the example. Arguments choose promises by parts of their names.

mod ground;

use chainpool_agent::kit;
use ground::MemoryGround;
use std::{process::ExitCode, sync::Arc};

#[tokio::main]
async fn main() -> ExitCode {
    let ground = MemoryGround::new(|agent| Arc::new(agent));
    kit::run(&ground, &kit::asked_for(std::env::args().skip(1))).await.finish()
}
