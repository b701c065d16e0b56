//! Waits for an operation and shows its steps. Reconnects to a server that restarts meanwhile: the operation
//! and all missed steps are in its journal.

use crate::{
    args::WaitArgs,
    client::{ApiResponse, Client},
    exit::{Exit, Failure, Result},
    operation_view, output,
    progress::Progress,
    sse,
};
use chainpool_api::{Operation, OperationState};
use reqwest::Response;
use serde::Deserialize;
use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// Maximum time to reconnect to an unreachable server.
const RECONNECT_TIMEOUT: Duration = Duration::from_mins(1);
/// Maximum time without data before the stream is requested again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between attempts to reconnect.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Prints an accepted operation, or waits for its end and prints that.
pub(crate) async fn finish(
    client: &Client,
    json: bool,
    response: ApiResponse<Operation>,
    args: &WaitArgs,
) -> Result<()> {
    if !args.wait {
        return if json {
            output::json(&response.json)
        } else {
            output::line(operation_view::accepted(&response.value))
        };
    }
    let ended = follow(client, response.value.id, args.timeout).await?;
    if json {
        output::json(&ended.json)?;
    } else if ended.value.state == OperationState::Succeeded {
        output::line(operation_view::ended(&ended.value))?;
    }
    check_success(&ended.value)
}

/// Follows an operation to its end.
pub(crate) async fn follow(client: &Client, id: Uuid, limit: Option<u64>) -> Result<ApiResponse<Operation>> {
    let mut hint = InterruptHint { id, ended: false };
    let mut progress = Progress::new();
    let work = follow_to_end(client, id, &mut progress);
    let result = within(limit, id, work).await;
    progress.end();
    hint.ended = true;
    result
}

/// Prints how to resume a wait if dropped before its end.
struct InterruptHint {
    id: Uuid,
    ended: bool,
}

impl Drop for InterruptHint {
    fn drop(&mut self) {
        if !self.ended {
            output::note(resume_hint(self.id));
        }
    }
}

fn resume_hint(id: Uuid) -> String {
    format!("the operation continues; resume waiting with `chainpool operation wait {id}`")
}

/// Fails for a failed operation, and for one superseded by a delete or reset.
pub(crate) fn check_success(operation: &Operation) -> Result<()> {
    match operation.state {
        OperationState::Failed | OperationState::Superseded => {
            Err(Failure::new(Exit::Error, operation_view::ended(operation)))
        }
        _ => Ok(()),
    }
}

async fn within<T>(limit: Option<u64>, id: Uuid, work: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(seconds) = limit else { return work.await };
    let late = |_| {
        Err(Failure::new(
            Exit::Error,
            format!("timed out; {}", resume_hint(id)),
        ))
    };
    timeout(Duration::from_secs(seconds), work)
        .await
        .unwrap_or_else(late)
}

async fn follow_to_end(client: &Client, id: Uuid, progress: &mut Progress) -> Result<ApiResponse<Operation>> {
    let mut unreachable_since: Option<Instant> = None;
    loop {
        let failure = match timeout(IDLE_TIMEOUT, client.operation_events(id)).await {
            Ok(Ok(mut stream)) => match read(&mut stream, progress, &mut unreachable_since).await {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) => None,
                Err(error) => Some(client.lost(&error)),
            },
            Ok(Err(failure)) if failure.exit == Exit::Unreachable => Some(failure),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => Some(Failure::new(
                Exit::Unreachable,
                format!("{} does not respond", client.server()),
            )),
        };
        if let Some(failure) = failure {
            let since = *unreachable_since.get_or_insert_with(|| {
                progress.note("server unreachable; reconnecting");
                Instant::now()
            });
            if since.elapsed() > RECONNECT_TIMEOUT {
                return Err(Failure::new(
                    Exit::Unreachable,
                    format!("{failure}\nresume waiting later with `chainpool operation wait {id}`"),
                ));
            }
        }
        sleep(RETRY_INTERVAL).await;
    }
}

/// Reads one stream. Returns the ended operation, or `None` if the stream ends or stalls first.
async fn read(
    stream: &mut Response,
    progress: &mut Progress,
    unreachable_since: &mut Option<Instant>,
) -> reqwest::Result<Option<ApiResponse<Operation>>> {
    let mut decoder = sse::Decoder::default();
    loop {
        let Ok(piece) = timeout(IDLE_TIMEOUT, stream.chunk()).await else {
            return Ok(None);
        };
        let Some(piece) = piece? else { return Ok(None) };
        for event in decoder
            .push(&piece)
            .into_iter()
            .filter(|event| event.name == "operation")
        {
            // Skip events of a newer server that this client cannot parse; the idle timeout still applies.
            let Ok(json) = serde_json::from_str(&event.data) else {
                continue;
            };
            let Ok(value) = Operation::deserialize(&json) else {
                continue;
            };
            *unreachable_since = None;
            progress.show(&value);
            if value.state.is_over() {
                return Ok(Some(ApiResponse { json, value }));
            }
        }
    }
}
