//! A node uses no more than its limits.

use super::{
    fixture::{Fixture, hashed},
    outcome::{TestResult, check},
    program::Step,
    promise::{Promise, promise},
};

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
    promise!(
        "processor-limit",
        processor,
        "a node cannot use more processor time than its limit"
    ),
];

async fn memory(fixture: &Fixture<'_>) -> TestResult {
    let limit = fixture.node("v0", &[]).limits.memory_bytes;
    let greedy = fixture.node("v0", &[Step::Memory(limit * 2), Step::Stay]);
    let modest = fixture.node("v1", &[Step::Memory(limit / 4), Step::Stay]);
    let key = fixture.key();
    fixture.network(&key).await?;
    fixture.ensure(&key, &greedy, &super::fixture::RUN).await?;
    fixture.start(&key, &modest).await?;
    let output = fixture.wait_for_output(&key, &greedy, "memory ").await?;
    check!(
        output.contains("memory held") && !output.contains("memory open"),
        "it got twice the limit: {output}"
    );
    let output = fixture.wait_for_output(&key, &modest, "memory ").await?;
    check!(
        output.contains("memory open"),
        "it did not get a quarter of the limit: {output}"
    );
    Ok(())
}

async fn processes(fixture: &Fixture<'_>) -> TestResult {
    let limit = fixture.node("v0", &[]).limits.processes;
    let greedy = fixture.node("v0", &[Step::Processes(limit * 2), Step::Stay]);
    let modest = fixture.node("v1", &[Step::Processes(limit / 4), Step::Stay]);
    let key = fixture.key();
    fixture.network(&key).await?;
    fixture.ensure(&key, &greedy, &super::fixture::RUN).await?;
    fixture.start(&key, &modest).await?;
    let output = fixture.wait_for_output(&key, &greedy, "processes ").await?;
    check!(
        output.contains("processes held") && !output.contains("processes open"),
        "it got twice the limit: {output}"
    );
    let output = fixture.wait_for_output(&key, &modest, "processes ").await?;
    check!(
        output.contains("processes open"),
        "it did not get a quarter of the limit: {output}"
    );
    Ok(())
}

async fn processor(fixture: &Fixture<'_>) -> TestResult {
    let mut node = fixture.node("v0", &[Step::Processor, Step::Stay]);
    node.limits.cpu_millis = Some(250);
    let node = hashed(node);
    let key = fixture.start_cluster(&node).await?;
    // A busy machine may give it less, so there is nothing to check without a limit.
    let output = fixture.wait_for_output(&key, &node, "processor ").await?;
    check!(
        output.contains("processor held"),
        "limited to a quarter of a processor, it used more than half of one: {output}"
    );
    Ok(())
}
