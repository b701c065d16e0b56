//! Process 1 of a container. The kernel does not deliver it signals without a handler, and makes it the
//! parent of all orphans. A server as process 1 would ignore SIGTERM by default and would not reap orphans.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, set_child_subreaper, wait};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

/// Exit code if the program does not exist, as in shells.
pub const NOT_FOUND: u8 = 127;
/// Exit code if the program cannot be started for another reason.
pub const NOT_STARTED: u8 = 126;

/// Signals forwarded to the program.
const FORWARDED: [Signal; 7] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
];

/// Runs the program and returns its exit code, or 128 plus the signal number if a signal killed it. Forwards
/// signals and reaps orphans meanwhile.
pub async fn run(program: &OsString, arguments: &[OsString]) -> io::Result<u8> {
    // Install handlers first: a signal during the start of the program must not be lost.
    let mut child_exits = signal(SignalKind::child())?;
    let mut signals = Forwarded::listen()?;
    let me = rustix::process::getpid();
    if !me.is_init() {
        // Not process 1, for example under an engine's own init: become the parent of orphans anyway.
        set_child_subreaper(Some(me))?;
    }
    let child = Command::new(program).args(arguments).spawn()?;
    let child = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidData)?;
    loop {
        tokio::select! {
            _ = child_exits.recv() => {
                if let Some(code) = reap(child)? {
                    return Ok(code);
                }
            }
            received = signals.next() => match kill_process(child, received) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
}

/// Reaps all exited processes. Returns the exit code of the program if it is one of them.
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

/// The streams of all forwarded signals.
struct Forwarded(Vec<(Signal, SignalStream)>);

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
            for (kind, stream) in &mut self.0 {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*kind);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
