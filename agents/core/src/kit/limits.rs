//! A node uses no more than its spec says.

use super::{Kept, Promise, Stand, program::Step, promise, promised};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "memory-limit",
        memory,
        "a node cannot use more memory than its limit"
    ),
    promise!(
        "process-limit",
        processes,
        "a node cannot have more processes than its limit"
    ),
];

async fn memory(stand: &Stand<'_>) -> Kept {
    let limit = stand.node("v0", &[]).limits.memory_bytes;
    let greedy = stand.node("v0", &[Step::Memory(limit * 2), Step::Stay]);
    let modest = stand.node("v1", &[Step::Memory(limit / 4), Step::Stay]);
    let key = stand.key();
    stand.network(&key).await?;
    stand.ensure(&key, &greedy, &super::stand::RUN).await?;
    stand.start(&key, &modest).await?;
    let said = stand.says(&key, &greedy, "memory ").await?;
    promised!(
        said.contains("memory held") && !said.contains("memory open"),
        "twice the limit was had: {said}"
    );
    let said = stand.says(&key, &modest, "memory ").await?;
    promised!(
        said.contains("memory open"),
        "a quarter of the limit was not had: {said}"
    );
    Ok(())
}

async fn processes(stand: &Stand<'_>) -> Kept {
    let limit = stand.node("v0", &[]).limits.processes;
    let greedy = stand.node("v0", &[Step::Processes(limit * 2), Step::Stay]);
    let modest = stand.node("v1", &[Step::Processes(limit / 4), Step::Stay]);
    let key = stand.key();
    stand.network(&key).await?;
    stand.ensure(&key, &greedy, &super::stand::RUN).await?;
    stand.start(&key, &modest).await?;
    let said = stand.says(&key, &greedy, "processes ").await?;
    promised!(
        said.contains("processes held") && !said.contains("processes open"),
        "twice the limit was had: {said}"
    );
    let said = stand.says(&key, &modest, "processes ").await?;
    promised!(
        said.contains("processes open"),
        "a quarter of the limit was not had: {said}"
    );
    Ok(())
}
