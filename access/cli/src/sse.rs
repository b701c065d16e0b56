//! Decoder for server-sent events (WHATWG HTML, "Server-sent events").

/// Assembles events from arbitrary chunks.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Incomplete last line.
    rest: Vec<u8>,
    name: String,
    data: Vec<String>,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Event type; default `message`.
    pub(crate) name: String,
    /// Data lines.
    pub(crate) data: String,
}

impl Decoder {
    /// Adds a chunk and returns the completed events. Ignores comments, ids and retry hints.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        self.rest.extend_from_slice(piece);
        let mut events = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            events.extend(self.line(line.trim_end_matches(['\r', '\n'])));
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let data = std::mem::take(&mut self.data);
            let name = if name.is_empty() {
                "message".to_owned()
            } else {
                name
            };
            return (!data.is_empty()).then(|| Event {
                name,
                data: data.join("\n"),
            });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => self.data.push(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_do_not_depend_on_chunk_boundaries() {
        let stream =
            ": hello\n\nevent: operation\ndata: {\"a\":\ndata: 1}\nid: 7\n\ndata:x\r\n\r\nevent: empty\n\ndata: é\n\ndata: unfinished"
                .as_bytes();
        let expected = [("operation", "{\"a\":\n1}"), ("message", "x"), ("message", "é")];
        for size in 1..stream.len() {
            let mut decoder = Decoder::default();
            let events: Vec<Event> = stream
                .chunks(size)
                .flat_map(|piece| decoder.push(piece))
                .collect();
            let events: Vec<(&str, &str)> = events
                .iter()
                .map(|event| (event.name.as_str(), event.data.as_str()))
                .collect();
            assert_eq!(events, expected, "cut every {size} bytes");
        }
    }
}
