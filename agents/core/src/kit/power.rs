//! A node runs, rests and starts again as asked, and no more often.

use super::{
    Kept, Promise, Stand,
    program::Step,
    promise, promised,
    stand::{RUN, values},
};
use crate::{NodeSpec, Power};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "made-but-off",
        made_but_off,
        "a node made with power off does not run until it is asked to"
    ),
    promise!(
        "off-and-on",
        off_and_on,
        "a node is stopped and started, and keeps what it had"
    ),
    promise!(
        "restart-once",
        restart_once,
        "a restart that is asked for twice happens once"
    ),
    promise!(
        "restart-of-the-ended",
        restart_of_the_ended,
        "a restart of a life that ended already is a start"
    ),
];

fn counter(stand: &Stand<'_>) -> NodeSpec {
    stand.node("v0", &[Step::Count("/data/lives".into()), Step::Stay])
}

/// How often a node said that it began.
fn lives(said: &str) -> u32 {
    said.lines()
        .filter_map(|line| line.strip_prefix("life ")?.trim().parse().ok())
        .max()
        .unwrap_or(0)
}

async fn made_but_off(stand: &Stand<'_>) -> Kept {
    let (key, node) = (stand.key(), counter(stand));
    stand.network(&key).await?;
    for _ in 0..2 {
        stand.ensure(&key, &node, &Power::Off).await?;
        stand.resting(&key, &node).await?;
    }
    stand.start(&key, &node).await?;
    let said = stand.says(&key, &node, "life 1").await?;
    promised!(lives(&said) == 1, "it ran before it was asked to: {said}");
    Ok(())
}

async fn off_and_on(stand: &Stand<'_>) -> Kept {
    let node = stand.node(
        "v0",
        &[
            Step::Show("/data/left".into()),
            Step::Write("/data/left".into(), "here".into()),
            Step::Say("told".into()),
            Step::Stay,
        ],
    );
    let key = stand.up(&node).await?;
    stand.says(&key, &node, "told").await?;
    let life = stand.life(&key, &node).await?;
    for _ in 0..2 {
        stand.ensure(&key, &node, &Power::Off).await?;
        stand.resting(&key, &node).await?;
    }
    stand.start(&key, &node).await?;
    promised!(
        stand.life(&key, &node).await? != life,
        "it has the life that ended"
    );
    let said = stand.says(&key, &node, "show /data/left=here").await?;
    promised!(values(&said, "show /data/left").last() == Some(&"here"), "{said}");
    Ok(())
}

async fn restart_once(stand: &Stand<'_>) -> Kept {
    let node = counter(stand);
    let key = stand.up(&node).await?;
    stand.says(&key, &node, "life 1").await?;
    let first = stand.life(&key, &node).await?;
    let again = Power::On {
        after: Some(first.clone()),
    };
    stand.ensure(&key, &node, &again).await?;
    let second = stand.another_life(&key, &node, &first).await?;
    stand.says(&key, &node, "life 2").await?;
    for power in [&again, &RUN] {
        stand.ensure(&key, &node, power).await?;
        promised!(stand.life(&key, &node).await? == second, "it was started again");
    }
    let said = stand.says(&key, &node, "life 2").await?;
    promised!(lives(&said) == 2, "it had {} lives", lives(&said));
    Ok(())
}

async fn restart_of_the_ended(stand: &Stand<'_>) -> Kept {
    let node = counter(stand);
    let key = stand.up(&node).await?;
    stand.says(&key, &node, "life 1").await?;
    let first = stand.life(&key, &node).await?;
    stand.ensure(&key, &node, &Power::Off).await?;
    stand.resting(&key, &node).await?;
    stand
        .ensure(
            &key,
            &node,
            &Power::On {
                after: Some(first.clone()),
            },
        )
        .await?;
    stand.another_life(&key, &node, &first).await?;
    let said = stand.says(&key, &node, "life 2").await?;
    promised!(lives(&said) == 2, "it had {} lives", lives(&said));
    Ok(())
}
