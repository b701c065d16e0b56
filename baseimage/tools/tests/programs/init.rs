//! `chainpool-init` as a process: signals, orphans and exit codes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn init(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_chainpool-init"))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("chainpool-init starts")
}

fn code(mut child: Child) -> Option<i32> {
    child.wait().expect("waiting succeeds").code()
}

#[test]
fn the_exit_code_is_the_programs() {
    assert_eq!(code(init(&["sh", "-c", "exit 0"])), Some(0));
    assert_eq!(code(init(&["sh", "-c", "exit 7"])), Some(7));
    assert_eq!(code(init(&["sh", "-c", "kill -KILL $$"])), Some(128 + 9));
    assert_eq!(code(init(&["/nonexistent/program"])), Some(127));
    assert_eq!(code(init(&["/etc"])), Some(126));
    assert_eq!(code(init(&[])), Some(2));
}

#[test]
fn signals_are_forwarded_to_the_program() {
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("USR1", Signal::USR1),
    ] {
        let script = format!("trap 'kill $!; exit 42' {name}; sleep 60 & echo up; wait");
        let mut child = init(&["sh", "-c", &script]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is a pipe"))
            .read_line(&mut line)
            .expect("the program prints that it is up");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("ids are small")).expect("ids are positive");
        kill_process(pid, signal).expect("the signal can be sent");
        assert_eq!(code(child), Some(42), "{name}");
    }
}

/// Init adopts and reaps orphans, which would stay zombies otherwise.
#[test]
fn orphans_are_reaped() {
    let script = "orphan=$(sh -c 'sleep 0.2 >/dev/null & echo $!'); while [ -e /proc/$orphan ]; do sleep 0.05; done; exit 5";
    assert_eq!(code(init(&["timeout", "20", "sh", "-c", script])), Some(5));
}
