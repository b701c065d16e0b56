//! The first process of a container. The kernel ignores signals that it has no handler for and leaves every orphan to it;
//! a server that is process 1 itself neither stops on SIGTERM unless it arranges for that, nor reaps what its children leave.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, set_child_subreaper, wait};
use tokio::signal::unix::{Signal as Arrivals, SignalKind, signal};

/// The exit code when the program is not there, as shells have it.
pub const NOT_FOUND: u8 = 127;
/// The exit code when the program cannot be started for another reason.
pub const NOT_STARTED: u8 = 126;

/// What is handed on to the program.
const FORWARDED: [Signal; 7] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
];

/// Runs the program until it ends and answers its exit code; 128 + the number when a signal ended it.
/// Meanwhile every signal is handed on and every orphan is reaped.
pub async fn run(program: &OsString, arguments: &[OsString]) -> io::Result<u8> {
    // Handlers come first: a signal that arrives while the program starts must not be lost.
    let mut ended = signal(SignalKind::child())?;
    let mut arrivals = Forwarded::listen()?;
    let me = rustix::process::getpid();
    if !me.is_init() {
        // Not process 1 (an engine's own init, a shared process namespace): orphans come to us all the same.
        set_child_subreaper(Some(me))?;
    }
    let child = Command::new(program).args(arguments).spawn()?;
    let child = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidData)?;
    loop {
        tokio::select! {
            _ = ended.recv() => {
                if let Some(code) = reap(child)? {
                    return Ok(code);
                }
            }
            arrived = arrivals.next() => match kill_process(child, arrived) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
}

/// Reaps all that have ended; answers the exit code when the program itself is among them.
fn reap(child: Pid) -> io::Result<Option<u8>> {
    let mut code = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => code = Some(exit_code(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(code),
            Err(error) => return Err(error.into()),
        }
    }
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => i32::from(NOT_STARTED),
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// The arrivals of all signals that are handed on.
struct Forwarded(Vec<(Signal, Arrivals)>);

impl Forwarded {
    fn listen() -> io::Result<Self> {
        FORWARDED
            .into_iter()
            .map(|kind| Ok((kind, signal(SignalKind::from_raw(kind.as_raw()))?)))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// The next signal of any kind.
    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (kind, arrivals) in &mut self.0 {
                if arrivals.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*kind);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
