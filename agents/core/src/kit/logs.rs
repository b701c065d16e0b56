//! Reading a node's output.

use super::{
    fixture::{Fixture, hashed},
    outcome::{Stop, TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{LogQuery, NodeName};
use futures::{StreamExt, TryStreamExt};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::timeout;

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "log-order",
        order,
        "a log has all lines with their line ends, oldest first"
    ),
    promise!("log-tail", tail, "a tail is exactly this number of newest lines"),
    promise!(
        "log-since",
        since,
        "a log since a time has only the lines after it"
    ),
    promise!(
        "log-follow",
        follow,
        "a followed log continues as lines are written"
    ),
    promise!("log-streams", streams, "standard error is marked"),
    promise!(
        "log-limit",
        limit,
        "a log stays within its limits, and keeps the newest lines"
    ),
    promise!(
        "log-absent-node",
        absent_node,
        "the log of an absent node is an error that names it"
    ),
];

async fn order(fixture: &Fixture<'_>) -> TestResult {
    let words = ["one", "two", "three"];
    let steps: Vec<_> = words
        .iter()
        .map(|word| Step::Say((*word).into()))
        .chain([Step::Stay])
        .collect();
    let node = fixture.node("v0", &steps);
    let key = fixture.start_cluster(&node).await?;
    let output = fixture.wait_for_output(&key, &node, "three\n").await?;
    check!(output == "one\ntwo\nthree\n", "{output:?}");
    Ok(())
}

async fn tail(fixture: &Fixture<'_>) -> TestResult {
    let node = fixture.node("v0", &[Step::Flood(50), Step::Stay]);
    let key = fixture.start_cluster(&node).await?;
    fixture.wait_for_output(&key, &node, "flooded").await?;
    for (wanted, first) in [(1, "flooded"), (3, "flood 49 ")] {
        let output = fixture
            .output(
                &key,
                &node,
                LogQuery {
                    tail: Some(wanted),
                    ..LogQuery::default()
                },
            )
            .await?;
        let lines = output.lines().count();
        check!(
            output.starts_with(first) && output.ends_with("flooded\n") && lines == wanted as usize,
            "tail {wanted}: {output}"
        );
    }
    let output = fixture
        .output(
            &key,
            &node,
            LogQuery {
                tail: Some(0),
                ..LogQuery::default()
            },
        )
        .await?;
    check!(output.is_empty(), "tail 0: {output}");
    Ok(())
}

async fn since(fixture: &Fixture<'_>) -> TestResult {
    let node = fixture.node("v0", &[Step::Tick]);
    let key = fixture.start_cluster(&node).await?;
    fixture.wait_for_output(&key, &node, "tick 1\n").await?;
    let start = now()?;
    // Three seconds later, by the clock of `since`.
    fixture
        .wait_until("three seconds pass", async || {
            Ok(now()
                .is_ok_and(|now| now > start + 3)
                .then_some(())
                .ok_or_else(String::new))
        })
        .await?;
    let since = now()? - 1;
    let whole = fixture.output(&key, &node, LogQuery::default()).await?;
    let newest = whole.lines().last().unwrap_or_default().to_owned();
    let late = fixture
        .output(
            &key,
            &node,
            LogQuery {
                since,
                ..LogQuery::default()
            },
        )
        .await?;
    check!(
        whole.contains("tick 1\n") && !late.contains("tick 1\n"),
        "it has older lines: {late}"
    );
    check!(
        late.lines().any(|line| line == newest),
        "it lacks {newest:?}: {late}"
    );
    Ok(())
}

fn now() -> TestResult<i64> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|error| Stop::Failed(error.to_string()))?;
    i64::try_from(since.as_secs()).map_err(|error| Stop::Failed(error.to_string()))
}

async fn follow(fixture: &Fixture<'_>) -> TestResult {
    let node = fixture.node("v0", &[Step::Tick]);
    let key = fixture.start_cluster(&node).await?;
    fixture.wait_for_output(&key, &node, "tick 3\n").await?;
    let mut log = fixture
        .agent
        .logs(
            &key,
            &node.name,
            LogQuery {
                tail: Some(1),
                follow: true,
                ..LogQuery::default()
            },
        )
        .await?;
    let mut numbers = Vec::new();
    while numbers.len() < 4 {
        let line = timeout(fixture.platform.step_timeout(), log.next())
            .await
            .map_err(|_| Stop::Failed(format!("no line after {numbers:?}")))?;
        let line = line.ok_or_else(|| Stop::Failed(format!("it ended after {numbers:?}")))??;
        let text = String::from_utf8_lossy(&line.bytes).into_owned();
        numbers.extend(
            text.lines()
                .filter_map(|line| line.strip_prefix("tick ")?.parse::<u32>().ok()),
        );
    }
    check!(
        numbers[0] >= 3 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
    Ok(())
}

async fn streams(fixture: &Fixture<'_>) -> TestResult {
    let node = fixture.node(
        "v0",
        &[Step::Say("out".into()), Step::Complain("err".into()), Step::Stay],
    );
    let key = fixture.start_cluster(&node).await?;
    fixture.wait_for_output(&key, &node, "out").await?;
    fixture.wait_for_output(&key, &node, "err").await?;
    let lines: Vec<_> = fixture
        .agent
        .logs(&key, &node.name, LogQuery::default())
        .await?
        .try_collect()
        .await?;
    let of = |stderr| {
        lines
            .iter()
            .filter(|line| line.stderr == stderr)
            .map(|line| &line.bytes[..])
            .collect::<Vec<_>>()
            .concat()
    };
    check!(of(false) == b"out\n" && of(true) == b"err\n", "{lines:?}");
    Ok(())
}

async fn limit(fixture: &Fixture<'_>) -> TestResult {
    let mut node = fixture.node("v0", &[Step::Flood(20_000), Step::Stay]);
    (node.log.max_bytes, node.log.max_files) = (100_000, 2);
    let node = hashed(node);
    let key = fixture.start_cluster(&node).await?;
    let output = fixture.wait_for_output(&key, &node, "flooded").await?;
    // Twice the limit leaves room for a platform's overhead a line; the whole output is ten times the limit.
    check!(output.len() <= 400_000, "{} bytes are kept", output.len());
    check!(output.contains("flood 20000 "), "the newest line is missing");
    Ok(())
}

async fn absent_node(fixture: &Fixture<'_>) -> TestResult {
    let (key, name) = (
        fixture.key(),
        NodeName::parse("v7").map_err(|error| Stop::Failed(error.to_string()))?,
    );
    fixture.network(&key).await?;
    let result = match timeout(
        fixture.platform.step_timeout(),
        fixture.agent.logs(&key, &name, LogQuery::default()),
    )
    .await
    {
        Ok(Ok(log)) => log.try_collect::<Vec<_>>().await.map(|lines| lines.len()),
        Ok(Err(error)) => Err(error),
        Err(_) => return Err(Stop::Failed("no answer".into())),
    };
    check!(
        result
            .as_ref()
            .is_err_and(|error| error.to_string().contains("v7")),
        "{result:?}"
    );
    Ok(())
}
