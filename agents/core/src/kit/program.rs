//! Programs of the kit's nodes: a few steps, as a shell script and as data.
//!
//! A real platform runs the script. The same steps follow as JSON, an argument that the script never reads,
//! for an agent without a shell (in memory).

use serde::{Deserialize, Serialize};

/// The only program that the kit needs in an image.
const BUSYBOX: &str = "/bin/busybox";

/// One step of a node's program. Prints at most one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Print this.
    Say(String),
    /// Print this to standard error.
    Complain(String),
    /// Print `show PATH=` and the file's content.
    Show(String),
    /// Exit with status 1 unless this file has this content.
    Expect(String, String),
    /// Print `digest PATH=` and the SHA-256 of the file's content.
    Digest(String),
    /// Print `stat PATH=` and the file's mode (octal), user and group.
    Stat(String),
    /// Print `variable NAME=` and the variable's value.
    Variable(String),
    /// Write this text to this path.
    Write(String, String),
    /// Remove the file of this path.
    Remove(String),
    /// Count starts in this file and print `life` and their number.
    Count(String),
    /// Try to write a file outside every volume; print `root held` or `root open`.
    Root,
    /// Try to use this much memory (bytes) at once; print `memory held` or `memory open`. Needs a volume at
    /// `/data`.
    Memory(u64),
    /// Try to run this number of processes at once; print `processes held` or `processes open`.
    Processes(u32),
    /// Compute for four seconds; print `processor held`, or `processor open` if it had more than half of the time.
    Processor,
    /// Print `addresses` and the node's IPv4 addresses.
    Addresses,
    /// Start an echo server on this TCP port.
    Echo(u16),
    /// Ping another node's echo server until it responds, then print `reached` and the node's name.
    Reach(String, u16),
    /// Print this number of numbered lines of about 100 bytes, then `flooded`.
    Flood(u32),
    /// Print `tick` and a number from 1, five times a second, until stopped.
    Tick,
    /// Exit with this code.
    Exit(u8),
    /// Run until stopped.
    Stay,
}

/// The command of a node that runs these steps.
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

/// The steps of a command from [`command`]; `None` for any other command.
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
            Self::Remove(path) => format!("$b rm -f {path}"),
            Self::Count(path) => format!("echo >> {path}; echo \"life $($b wc -l < {path})\""),
            Self::Root => {
                "if (echo > /tmp/kit) 2> /dev/null; then echo 'root open'; else echo 'root held'; fi".into()
            }
            // Some platforms kill only the greedy process, others the whole node, which then restarts.
            Self::Memory(bytes) => format!(
                "if [ -e /data/tried ]; then echo 'memory held'; else echo > /data/tried; \
                 if $b dd if=/dev/zero of=/dev/null bs={bytes} count=1 2> /dev/null; then echo 'memory open'; else echo 'memory held'; fi; fi"
            ),
            // The shell exits when it cannot fork.
            Self::Processes(count) => format!(
                "if (i=0; while [ $i -lt {count} ]; do $b sleep 30 & i=$((i+1)); done) 2> /dev/null; \
                 then echo 'processes open'; else echo 'processes held'; fi"
            ),
            // Hundredths of a second of the shell itself, which has no child processes in the loop.
            Self::Processor => "read start rest < /proc/uptime; now=$start; \
                 while [ $((${now%.*} - ${start%.*})) -lt 4 ]; do read now rest < /proc/uptime; done; \
                 read a b c d e f g h i j k l m user system rest < /proc/$$/stat; \
                 if [ $((user + system)) -gt 200 ]; then echo 'processor open'; else echo 'processor held'; fi"
                .into(),
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
