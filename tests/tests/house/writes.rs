//! Background work gives way to requests at the writer.

use crate::platforms::naming;
use anyhow::{Result, ensure};

/// Where another class is right, `begin_as` names it, with the reason.
#[test]
fn operations_and_health_begin_only_background_transactions() -> Result<()> {
    let named = naming(
        &["orchestrator/src/operations", "orchestrator/src/health"],
        &["store().begin()", "store.begin()"],
        &[],
    )?;
    ensure!(named.is_empty(), "{}", named.join("\n"));
    Ok(())
}
