//! Waits for an operation and shows its steps as they happen. A server that restarts meanwhile is found again: the
//! operation is in its journal, and so is everything that was missed.

use crate::{
    args::WaitArgs,
    client::{Answer, Client},
    exit::{Exit, Failure, Result},
    operation, output,
    progress::Progress,
    sse,
};
use chainpool_api::{Operation, OperationState};
use reqwest::Response;
use serde::Deserialize;
use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// How long a server may be away before the wait for it ends.
const AWAY: Duration = Duration::from_mins(1);
/// A stream that is silent for so long may be dead: it is asked for again, which shows the truth either way.
const SILENT: Duration = Duration::from_secs(30);
/// Between two tries to reach a server that is away.
const PAUSE: Duration = Duration::from_millis(500);

/// What is done with an accepted operation: it is said, or waited for and its end said.
pub(crate) async fn finish(
    client: &Client,
    json: bool,
    answer: Answer<Operation>,
    args: &WaitArgs,
) -> Result<()> {
    if !args.wait {
        return if json {
            output::json(&answer.json)
        } else {
            output::line(operation::accepted(&answer.value))
        };
    }
    let ended = follow(client, answer.value.id, args.timeout).await?;
    if json {
        output::json(&ended.json)?;
    } else if ended.value.state == OperationState::Succeeded {
        output::line(operation::ended(&ended.value))?;
    }
    verdict(&ended.value)
}

/// Follows an operation to its end.
pub(crate) async fn follow(client: &Client, id: Uuid, limit: Option<u64>) -> Result<Answer<Operation>> {
    let mut interrupted = Interrupted { id, over: false };
    let mut progress = Progress::new();
    let work = to_the_end(client, id, &mut progress);
    let result = within(limit, id, work).await;
    progress.end();
    interrupted.over = true;
    result
}

/// A wait that is dropped before it is over was interrupted: says how to take it up again.
struct Interrupted {
    id: Uuid,
    over: bool,
}

impl Drop for Interrupted {
    fn drop(&mut self) {
        if !self.over {
            output::note(goes_on(self.id));
        }
    }
}

fn goes_on(id: Uuid) -> String {
    format!("the operation goes on: wait again with `chainpool operation wait {id}`")
}

/// A failed operation is a failed command. An end by another's delete or reset is no success either.
pub(crate) fn verdict(operation: &Operation) -> Result<()> {
    match operation.state {
        OperationState::Failed | OperationState::Superseded => {
            Err(Failure::new(Exit::Wrong, operation::ended(operation)))
        }
        _ => Ok(()),
    }
}

async fn within<T>(limit: Option<u64>, id: Uuid, work: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(seconds) = limit else { return work.await };
    let late = |_| {
        Err(Failure::new(
            Exit::Wrong,
            format!("it is not over in time; {}", goes_on(id)),
        ))
    };
    timeout(Duration::from_secs(seconds), work)
        .await
        .unwrap_or_else(late)
}

async fn to_the_end(client: &Client, id: Uuid, progress: &mut Progress) -> Result<Answer<Operation>> {
    let mut away: Option<Instant> = None;
    loop {
        let failure = match timeout(SILENT, client.operation_events(id)).await {
            Ok(Ok(mut stream)) => match read(&mut stream, progress, &mut away).await {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) => None,
                Err(error) => Some(client.lost(&error)),
            },
            Ok(Err(failure)) if failure.exit == Exit::Unreachable => Some(failure),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => Some(Failure::new(
                Exit::Unreachable,
                format!("{} does not answer", client.server()),
            )),
        };
        if let Some(failure) = failure {
            let since = *away.get_or_insert_with(|| {
                progress.say("the server is away; looking for it again");
                Instant::now()
            });
            if since.elapsed() > AWAY {
                return Err(Failure::new(
                    Exit::Unreachable,
                    format!("{failure}\nlater, wait again with `chainpool operation wait {id}`"),
                ));
            }
        }
        sleep(PAUSE).await;
    }
}

/// Reads one stream: the ended operation, or nothing when the stream ends or falls silent before it.
async fn read(
    stream: &mut Response,
    progress: &mut Progress,
    away: &mut Option<Instant>,
) -> reqwest::Result<Option<Answer<Operation>>> {
    let mut decoder = sse::Decoder::default();
    loop {
        let Ok(piece) = timeout(SILENT, stream.chunk()).await else {
            return Ok(None);
        };
        let Some(piece) = piece? else { return Ok(None) };
        for event in decoder
            .push(&piece)
            .into_iter()
            .filter(|event| event.name == "operation")
        {
            // What cannot be read is of a newer server; the stream goes on, and the silence bound ends it.
            let Ok(json) = serde_json::from_str(&event.data) else {
                continue;
            };
            let Ok(value) = Operation::deserialize(&json) else {
                continue;
            };
            *away = None;
            progress.show(&value);
            if value.state.is_over() {
                return Ok(Some(Answer { json, value }));
            }
        }
    }
}
