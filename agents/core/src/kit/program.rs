//! What the kit's nodes run: a few steps, as a shell script and as data.
//!
//! A real platform runs the script. The same steps stand behind it as JSON, an argument that the script never reads,
//! so that an agent that runs no shell (one in memory) can do them too.

use serde::{Deserialize, Serialize};

/// The one program that the kit needs in an image.
const BUSYBOX: &str = "/bin/busybox";

/// One thing that a node does. What it says is one line a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Says this.
    Say(String),
    /// Says this on the error output.
    Complain(String),
    /// Says `show PATH=` and the file's content.
    Show(String),
    /// Ends with 1 unless this file has this content.
    Expect(String, String),
    /// Says `digest PATH=` and the SHA-256 of the file's content.
    Digest(String),
    /// Says `stat PATH=` and the file's mode (octal), user and group.
    Stat(String),
    /// Says `variable NAME=` and the value of this variable.
    Variable(String),
    /// Writes this text to this path.
    Write(String, String),
    /// Counts its lives in this file and says `life` and their number.
    Count(String),
    /// Tries to write a file outside every volume; says `root held` or `root open`.
    Root,
    /// Tries to use so many bytes of memory at once; says `memory held` or `memory open`. Needs a volume at `/data`.
    Memory(u64),
    /// Tries to have so many processes at once; says `processes held` or `processes open`.
    Processes(u32),
    /// Says `addresses` and its IPv4 addresses.
    Addresses,
    /// Gives back what comes to this TCP port, from now on.
    Echo(u16),
    /// Sends something to another node's echo until it comes back, then says `reached` and the node's name.
    Reach(String, u16),
    /// Says so many numbered lines of about a hundred bytes, then `flooded`.
    Flood(u32),
    /// Says `tick` and a number from 1 on, five times a second, until it is stopped.
    Tick,
    /// Ends with this code.
    Exit(u8),
    /// Stays until it is told to stop.
    Stay,
}

/// The command of a node that does these steps.
pub fn command(steps: &[Step]) -> Vec<String> {
    let mut script = format!("b={BUSYBOX}; trap 'exit 0' TERM\n");
    for step in steps {
        script += &step.shell();
        script.push('\n');
    }
    let data = serde_json::to_string(steps).expect("steps have only string keys");
    vec![
        BUSYBOX.into(),
        "sh".into(),
        "-c".into(),
        script,
        "node".into(),
        data,
    ]
}

/// The steps of a command that [`command`] made; `None` when it was made otherwise.
pub fn steps(command: &[String]) -> Option<Vec<Step>> {
    serde_json::from_str(command.get(5)?).ok()
}

impl Step {
    fn shell(&self) -> String {
        match self {
            Self::Say(text) => format!("echo {}", quoted(text)),
            Self::Complain(text) => format!("echo {} >&2", quoted(text)),
            Self::Show(path) => format!("echo \"show {path}=$($b cat {path} 2>&1)\""),
            Self::Expect(path, text) => {
                format!(
                    "[ \"$($b cat {path})\" = {} ] || {{ echo '{path} is not what it shall be'; exit 1; }}",
                    quoted(text)
                )
            }
            Self::Digest(path) => {
                format!("echo \"digest {path}=$($b sha256sum {path} 2>&1 | $b cut -d ' ' -f 1)\"")
            }
            Self::Stat(path) => format!("echo \"stat {path}=$($b stat -c '%a %u %g' {path} 2>&1)\""),
            Self::Variable(name) => format!("echo \"variable {name}=${name}\""),
            Self::Write(path, text) => format!("echo {} > {path}", quoted(text)),
            Self::Count(path) => format!("echo >> {path}; echo \"life $($b wc -l < {path})\""),
            Self::Root => {
                "if (echo > /tmp/kit) 2> /dev/null; then echo 'root open'; else echo 'root held'; fi".into()
            }
            // Some platforms end the one process that wants too much, others all of the node, which then starts again.
            Self::Memory(bytes) => format!(
                "if [ -e /data/tried ]; then echo 'memory held'; else echo > /data/tried; \
                 if $b dd if=/dev/zero of=/dev/null bs={bytes} count=1 2> /dev/null; then echo 'memory open'; else echo 'memory held'; fi; fi"
            ),
            // The shell itself gives up when it cannot fork.
            Self::Processes(count) => format!(
                "if (i=0; while [ $i -lt {count} ]; do $b sleep 30 & i=$((i+1)); done) 2> /dev/null; \
                 then echo 'processes open'; else echo 'processes held'; fi"
            ),
            Self::Addresses => {
                "echo addresses $($b ip -4 addr | $b grep -o 'inet [0-9.]*' | $b cut -d ' ' -f 2)".into()
            }
            Self::Echo(port) => format!("$b nc -ll -p {port} -e {BUSYBOX} cat &"),
            Self::Reach(node, port) => format!(
                "until echo ping | $b nc -w 1 {node} {port} 2> /dev/null | $b grep -q ping; do $b sleep 0.1; done; echo 'reached {node}'"
            ),
            Self::Flood(lines) => {
                let rest = "-".repeat(88);
                format!(
                    "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo \"flood $i {rest}\"; done; echo flooded"
                )
            }
            Self::Tick => "i=0; while :; do i=$((i+1)); echo \"tick $i\"; $b sleep 0.2; done".into(),
            Self::Exit(code) => format!("exit {code}"),
            Self::Stay => "while :; do $b sleep 0.1; done".into(),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_keeps_its_steps() {
        let list = vec![
            Step::Say("it's".into()),
            Step::Write("/data/a".into(), "b".into()),
            Step::Exit(3),
        ];
        let made = command(&list);
        assert!(made[3].contains(r"echo 'it'\''s'"), "{}", made[3]);
        assert_eq!(steps(&made), Some(list));
        assert_eq!(steps(&["sh".to_owned()]), None);
    }
}
