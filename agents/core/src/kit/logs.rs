//! What a node says can be read.

use super::{Kept, Promise, Stand, outcome::Stop, program::Step, promise, promised, stand::hashed};
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
    promise!(
        "log-tail",
        tail,
        "a tail is the newest lines, so many and no more"
    ),
    promise!(
        "log-since",
        since,
        "a log since a time has what was said after it alone"
    ),
    promise!(
        "log-follow",
        follow,
        "a followed log goes on as lines are written"
    ),
    promise!("log-streams", streams, "the error output is told apart"),
    promise!(
        "log-limit",
        limit,
        "a log grows no larger than its limits, and keeps the newest"
    ),
    promise!(
        "log-of-nobody",
        nobody,
        "the log of a node that is not there is an error that names it"
    ),
];

async fn order(stand: &Stand<'_>) -> Kept {
    let words = ["one", "two", "three"];
    let steps: Vec<_> = words
        .iter()
        .map(|word| Step::Say((*word).into()))
        .chain([Step::Stay])
        .collect();
    let node = stand.node("v0", &steps);
    let key = stand.up(&node).await?;
    let said = stand.says(&key, &node, "three\n").await?;
    promised!(said == "one\ntwo\nthree\n", "{said:?}");
    Ok(())
}

async fn tail(stand: &Stand<'_>) -> Kept {
    let node = stand.node("v0", &[Step::Flood(50), Step::Stay]);
    let key = stand.up(&node).await?;
    stand.says(&key, &node, "flooded").await?;
    for (wanted, first) in [(1, "flooded"), (3, "flood 49 ")] {
        let said = stand
            .said(
                &key,
                &node,
                LogQuery {
                    tail: Some(wanted),
                    ..LogQuery::default()
                },
            )
            .await?;
        let lines = said.lines().count();
        promised!(
            said.starts_with(first) && said.ends_with("flooded\n") && lines == wanted as usize,
            "tail {wanted}: {said}"
        );
    }
    let said = stand
        .said(
            &key,
            &node,
            LogQuery {
                tail: Some(0),
                ..LogQuery::default()
            },
        )
        .await?;
    promised!(said.is_empty(), "tail 0: {said}");
    Ok(())
}

async fn since(stand: &Stand<'_>) -> Kept {
    let node = stand.node("v0", &[Step::Tick]);
    let key = stand.up(&node).await?;
    stand.says(&key, &node, "tick 1\n").await?;
    let began = now()?;
    // Three seconds on, by the clock that `since` is given in.
    stand
        .until("three seconds pass", async || {
            Ok(now()
                .is_ok_and(|now| now > began + 3)
                .then_some(())
                .ok_or_else(String::new))
        })
        .await?;
    let since = now()? - 1;
    let whole = stand.said(&key, &node, LogQuery::default()).await?;
    let newest = whole.lines().last().unwrap_or_default().to_owned();
    let late = stand
        .said(
            &key,
            &node,
            LogQuery {
                since,
                ..LogQuery::default()
            },
        )
        .await?;
    promised!(
        whole.contains("tick 1\n") && !late.contains("tick 1\n"),
        "it has what was said before: {late}"
    );
    promised!(
        late.lines().any(|line| line == newest),
        "it lacks {newest:?}: {late}"
    );
    Ok(())
}

fn now() -> Kept<i64> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|error| Stop::Failed(error.to_string()))?;
    i64::try_from(since.as_secs()).map_err(|error| Stop::Failed(error.to_string()))
}

async fn follow(stand: &Stand<'_>) -> Kept {
    let node = stand.node("v0", &[Step::Tick]);
    let key = stand.up(&node).await?;
    stand.says(&key, &node, "tick 3\n").await?;
    let mut log = stand
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
        let line = timeout(stand.ground.patience(), log.next())
            .await
            .map_err(|_| Stop::Failed(format!("silence after {numbers:?}")))?;
        let line = line.ok_or_else(|| Stop::Failed(format!("it ended after {numbers:?}")))??;
        let text = String::from_utf8_lossy(&line.bytes).into_owned();
        numbers.extend(
            text.lines()
                .filter_map(|line| line.strip_prefix("tick ")?.parse::<u32>().ok()),
        );
    }
    promised!(
        numbers[0] >= 3 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
    Ok(())
}

async fn streams(stand: &Stand<'_>) -> Kept {
    let node = stand.node(
        "v0",
        &[Step::Say("out".into()), Step::Complain("err".into()), Step::Stay],
    );
    let key = stand.up(&node).await?;
    stand.says(&key, &node, "out").await?;
    stand.says(&key, &node, "err").await?;
    let lines: Vec<_> = stand
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
    promised!(of(false) == b"out\n" && of(true) == b"err\n", "{lines:?}");
    Ok(())
}

async fn limit(stand: &Stand<'_>) -> Kept {
    let mut node = stand.node("v0", &[Step::Flood(20_000), Step::Stay]);
    (node.log.max_bytes, node.log.max_files) = (100_000, 2);
    let node = hashed(node);
    let key = stand.up(&node).await?;
    let said = stand.says(&key, &node, "flooded").await?;
    // Twice the limit leaves room for what a platform keeps beside a line; all would be ten times the limit.
    promised!(said.len() <= 400_000, "{} bytes are kept", said.len());
    promised!(said.contains("flood 20000 "), "the newest is not there");
    Ok(())
}

async fn nobody(stand: &Stand<'_>) -> Kept {
    let (key, name) = (
        stand.key(),
        NodeName::parse("v7").map_err(|error| Stop::Failed(error.to_string()))?,
    );
    stand.network(&key).await?;
    let told = match timeout(
        stand.ground.patience(),
        stand.agent.logs(&key, &name, LogQuery::default()),
    )
    .await
    {
        Ok(Ok(log)) => log.try_collect::<Vec<_>>().await.map(|lines| lines.len()),
        Ok(Err(error)) => Err(error),
        Err(_) => return Err(Stop::Failed("no answer".into())),
    };
    promised!(
        told.as_ref().is_err_and(|error| error.to_string().contains("v7")),
        "{told:?}"
    );
    Ok(())
}
