//! A node starts, stops and restarts as requested, and no more often.

use super::{
    fixture::{Fixture, RUN, values},
    outcome::{TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{NodeSpec, Power};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "created-off",
        created_off,
        "a node created with power off does not run until started"
    ),
    promise!(
        "off-and-on",
        off_and_on,
        "a node is stopped and started, and keeps its data"
    ),
    promise!(
        "restart-once",
        restart_once,
        "a restart requested twice happens once"
    ),
    promise!(
        "restart-after-exit",
        restart_after_exit,
        "a restart of an incarnation that has exited is a start"
    ),
];

fn counter(fixture: &Fixture<'_>) -> NodeSpec {
    fixture.node("v0", &[Step::Count("/data/starts".into()), Step::Stay])
}

/// The number of starts in a node's output.
fn starts(output: &str) -> u32 {
    output
        .lines()
        .filter_map(|line| line.strip_prefix("life ")?.trim().parse().ok())
        .max()
        .unwrap_or(0)
}

async fn created_off(fixture: &Fixture<'_>) -> TestResult {
    let (key, node) = (fixture.key(), counter(fixture));
    fixture.network(&key).await?;
    for _ in 0..2 {
        fixture.ensure(&key, &node, &Power::Off).await?;
        fixture.wait_until_stopped(&key, &node).await?;
    }
    fixture.start(&key, &node).await?;
    let output = fixture.wait_for_output(&key, &node, "life 1").await?;
    check!(starts(&output) == 1, "it ran before it was started: {output}");
    Ok(())
}

async fn off_and_on(fixture: &Fixture<'_>) -> TestResult {
    let node = fixture.node(
        "v0",
        &[
            Step::Show("/data/left".into()),
            Step::Write("/data/left".into(), "here".into()),
            Step::Say("done".into()),
            Step::Stay,
        ],
    );
    let key = fixture.start_cluster(&node).await?;
    fixture.wait_for_output(&key, &node, "done").await?;
    let incarnation = fixture.incarnation(&key, &node).await?;
    for _ in 0..2 {
        fixture.ensure(&key, &node, &Power::Off).await?;
        fixture.wait_until_stopped(&key, &node).await?;
    }
    fixture.start(&key, &node).await?;
    check!(
        fixture.incarnation(&key, &node).await? != incarnation,
        "it has the incarnation that exited"
    );
    let output = fixture
        .wait_for_output(&key, &node, "show /data/left=here")
        .await?;
    check!(
        values(&output, "show /data/left").last() == Some(&"here"),
        "{output}"
    );
    Ok(())
}

async fn restart_once(fixture: &Fixture<'_>) -> TestResult {
    let node = counter(fixture);
    let key = fixture.start_cluster(&node).await?;
    fixture.wait_for_output(&key, &node, "life 1").await?;
    let first = fixture.incarnation(&key, &node).await?;
    let again = Power::On {
        after: Some(first.clone()),
    };
    fixture.ensure(&key, &node, &again).await?;
    let second = fixture.next_incarnation(&key, &node, &first).await?;
    fixture.wait_for_output(&key, &node, "life 2").await?;
    for power in [&again, &RUN] {
        fixture.ensure(&key, &node, power).await?;
        check!(
            fixture.incarnation(&key, &node).await? == second,
            "it was restarted again"
        );
    }
    let output = fixture.wait_for_output(&key, &node, "life 2").await?;
    check!(starts(&output) == 2, "it was started {} times", starts(&output));
    Ok(())
}

async fn restart_after_exit(fixture: &Fixture<'_>) -> TestResult {
    let node = counter(fixture);
    let key = fixture.start_cluster(&node).await?;
    fixture.wait_for_output(&key, &node, "life 1").await?;
    let first = fixture.incarnation(&key, &node).await?;
    fixture.ensure(&key, &node, &Power::Off).await?;
    fixture.wait_until_stopped(&key, &node).await?;
    fixture
        .ensure(
            &key,
            &node,
            &Power::On {
                after: Some(first.clone()),
            },
        )
        .await?;
    fixture.next_incarnation(&key, &node, &first).await?;
    let output = fixture.wait_for_output(&key, &node, "life 2").await?;
    check!(starts(&output) == 2, "it was started {} times", starts(&output));
    Ok(())
}
