//! Extents of literals in Rust source.

/// The length of a string literal with its quotes.
pub(crate) fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Start and end of a raw string's content, and the literal's whole length.
pub(crate) fn raw_string(rest: &str, code: &str) -> Option<(usize, usize, usize)> {
    if code.ends_with(|c: char| c.is_alphanumeric() && c != 'b' || c == '_') {
        return None;
    }
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    let start = rest[1 + hashes..].strip_prefix('"').map(|_| 2 + hashes)?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = start + rest[start..].find(&close)?;
    Some((start, end, end + close.len()))
}

/// The length of a character literal, or of a lifetime's apostrophe.
pub(crate) fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let closed = match chars.next() {
        Some((_, '\\')) => chars.skip(1).find(|(_, c)| *c == '\''),
        Some((_, c)) if c != '\'' => chars.next().filter(|(_, c)| *c == '\''),
        _ => None,
    };
    closed.map_or(1, |(at, _)| at + 1)
}
